"""Why recipes cannot be trained, before anything is loaded: what this machine lacks, an adapter that is not continued
so, or a base model that their numbers do not fit.

obstacles({"turned": settled(C3aRecipe(block=60))}, base, adapters_dir)
# {"turned": "block (60) must divide the sides of the base model's layers (192, 576, 1536); set it to 48"}
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tuning.base import ResolvedModel
from tuning.errors import TuningError
from tuning.export.adapters import Adapter
from tuning.export.admission import chat_template_hash
from tuning.methods.registry import METHODS, obstacle
from tuning.methods.size import is_known, shapes_of
from tuning.recipe import Occasion, Recipe
from tuning.training.start import find_start, refuse_unfit


def obstacles(recipes: Mapping[str, Recipe], base: ResolvedModel, adapters_dir: Path) -> dict[str, str]:
    """What stands against each settled recipe that cannot be trained, in a line, by its key; a training says the same.
    Of a base that is not on this disk only the machine is looked at. Raises TuningError for one that cannot be read.
    """
    shapes, found = cache(shapes_of), {}
    for key, recipe in recipes.items():
        reason, start = obstacle(recipe), None
        if reason is None and base.path and recipe.continue_from:
            try:
                start = find_start(recipe, base, adapters_dir, chat_template_hash(base.path))
            except TuningError as error:
                reason = str(error)
        if reason is None and base.path:
            # To look at a base takes ten seconds, most of them until torch and PEFT are there.
            is_sure = start is None and METHODS[recipe.method].fits_all(recipe) and is_known(base.path)
            reason = None if is_sure else misfit(shapes(base.path), recipe, start)
        if reason is not None:
            found[key] = reason
    return found


def misfit(shapes: Any, recipe: Recipe, start: Adapter | None = None) -> str | None:
    """Why a settled recipe does not fit a model, or the adapter that it continues, in a line; None where it does.
    `shapes` is a model without weights, as `shapes_of` gives it, and is left as it is.

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
                made = method.fit(model, recipe)
            else:
                no_rows = Occasion(batches=lambda _size, _count: [], num_steps=100)
                prepared = method.prepare(model, recipe, no_rows)
                refuse_unfit_mean(prepared, recipe)
                made = prepared.model
    except TuningError as error:
        return None if "meta" in str(error).lower() else str(error)
    except RuntimeError:  # an operation that the device does not have
        return None
    if start is not None and start.form == "lora" and not method.merges_start:
        try:
            refuse_unfit(made, start, is_final=method.fit is None)
        except TuningError as error:
            return str(error)
    return None
