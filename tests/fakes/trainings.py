"""Real trainings of the tiny base: `train(tiny_base, tmp_path, recipe=LoraRecipe(rank=4))`."""

from pathlib import Path
from typing import Any

from tuning.base import ResolvedModel
from tuning.data.rows import TrainingRow
from tuning.export.adapters import Adapter
from tuning.training.run import train_adapter

COLOURS = {"sea": "blue", "north": "red", "south": "green", "one": "two", "two": "three"}
ROWS = [TrainingRow(({"role": "user", "content": f"what is {word}"},), answer) for word, answer in COLOURS.items()]


def arguments(folder: Path, home: Path, **changes: Any) -> dict[str, Any]:
    """What `train_adapter` is given, the recipe aside."""
    usual: dict[str, Any] = {
        "base": ResolvedModel("org/tiny", "r1", str(folder)),
        "rows": ROWS,
        "name": "closed-book",
        "adapters_dir": home / "adapters",
        "work_dir": home / "training",
        "provenance": {},
    }
    return usual | changes


def train(folder: Path, home: Path, **changes: Any) -> Adapter:
    """An adapter in a data directory of its own; `changes` are further arguments of `train_adapter`, and others."""
    return train_adapter(**arguments(folder, home, **changes))
