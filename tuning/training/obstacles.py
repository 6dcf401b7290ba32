"""Why recipes cannot be trained, before anything is loaded: what this machine lacks, or a base model that their numbers
do not fit.

obstacles({"turned": C3aRecipe(block=60)}, base.path, num_rows=300)
# {"turned": "block (60) must divide the sides of the base model's layers (192, 576, 1536); set it to 48"}
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from typing import Any

from tuning.automatic import settled
from tuning.errors import TuningError
from tuning.methods.registry import METHODS, obstacle
from tuning.methods.size import shapes_of
from tuning.recipe import Occasion, Recipe


def obstacles(recipes: Mapping[str, Recipe], base_path: str, *, num_rows: int) -> dict[str, str]:
    """What stands against each recipe that cannot be trained on so many rows, in a line, by its key; a training says
    the same. Without a `base_path` only the machine is looked at. Raises TuningError for a base that cannot be read.
    """
    shapes, found = cache(shapes_of), {}
    for key, recipe in recipes.items():
        reason = obstacle(recipe)
        if reason is None and base_path:
            reason = misfit(shapes(base_path), settled(recipe, num_rows))
        if reason is not None:
            found[key] = reason
    return found


def misfit(shapes: Any, recipe: Recipe) -> str | None:
    """Why a settled recipe does not fit a model, in a line; None where it does. `shapes` is a model without weights, as
    `shapes_of` gives it, and is left as it is.

    It is prepared as for a training, on torch's meta device. What only weights can tell is left to the training.
    """
    import peft  # noqa: F401  # whose own tensors must not come to lie on the device below
    import torch

    from tuning.training.libraries import quiet
    from tuning.training.weights import refuse_unfit_mean

    method, model = METHODS[recipe.method], copy.deepcopy(shapes)
    try:
        with quiet(), torch.device("meta"):
            if method.fit is not None:
                method.fit(model, recipe)
            else:
                no_rows = Occasion(batches=lambda _size, _count: [], num_steps=100)
                refuse_unfit_mean(method.prepare(model, recipe, no_rows), recipe)
    except TuningError as error:
        return None if "meta" in str(error).lower() else str(error)
    except RuntimeError:  # an operation that the device does not have
        return None
    return None
