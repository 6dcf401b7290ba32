"""The weights that move, written and read: `save_trained(prepared, path)`, `load_trained(prepared, path, ...)`."""

from __future__ import annotations

from pathlib import Path

import torch

from tuning.errors import TuningError
from tuning.recipe import Prepared, Recipe


def save_trained(prepared: Prepared, path: Path) -> None:
    """Every weight that moves, whatever the method, and the method's own state."""
    moved = {name: value.detach() for name, value in prepared.model.named_parameters() if value.requires_grad}
    torch.save({"weights": moved, "state": prepared.state()}, path)


def load_trained(prepared: Prepared, *paths: Path) -> None:
    """Take the weights of a file into the model; of several files their mean, and the state of the last."""
    stored = [torch.load(path, map_location=prepared.model.device, weights_only=False) for path in paths]
    parameters = dict(prepared.model.named_parameters())
    with torch.no_grad():
        for name in stored[0]["weights"]:
            values = [one["weights"][name] for one in stored]
            mean = values[0] if len(values) == 1 else torch.stack([value.float() for value in values]).mean(0)
            parameters[name].copy_(mean)
    prepared.restore(stored[-1]["state"])


def refuse_unfit_mean(prepared: Prepared, recipe: Recipe) -> None:
    """Raise TuningError for a mean of weights of a method that keeps more than weights, which has no mean."""
    if recipe.keep == "mean" and prepared.state():
        raise TuningError(f"keep: mean does not fit {recipe.method}, which keeps more than weights; use best or last")
