"""Real trainings of the tiny base: `train(tiny_base, tmp_path, recipe=LoraRecipe(rank=4))`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.hashes import hash_files
from tuning.base import MODEL_CARD, ResolvedModel
from tuning.data.rows import TrainingRow
from tuning.export.adapters import Adapter
from tuning.methods.registry import METHODS
from tuning.training.progress import TrainProgress
from tuning.training.run import train_adapter

COLOURS = {"sea": "blue", "north": "red", "south": "green", "one": "two", "two": "three"}
ROWS = [TrainingRow(({"role": "user", "content": f"what is {word}"},), answer) for word, answer in COLOURS.items()]
# Numbers that suit a model of two blocks of 32.
NUMBERS: dict[str, dict[str, Any]] = {
    "eva": {"rho": 2.0},
    "adalora": {"rank": 2, "first_rank": 4},
    "vera": {"rank": 16, "learning_rate": 0.3},
    "loha": {"rank": 2},
    "lokr": {"rank": 2, "factor": 4},
    "miss": {"rank": 8},
    "delora": {"rank": 4},
    "tinylora": {"learning_rate": 0.3},
    "vblora": {"vectors": 16, "length": 8, "learning_rate": 0.1},
    "unilora": {"numbers": 1024, "learning_rate": 0.1},
    "psoft": {"rank": 8},
    "delta_lora": {"start_step": 4},
    "oft": {"block": 8},
    "hra": {"rank": 4},
    "ia3": {"learning_rate": 0.3},
    "fourierft": {"frequencies": 100, "learning_rate": 0.1},
    "waveft": {"frequencies": 100},
    "c3a": {"block": 8, "learning_rate": 0.3},
    "ln": {"learning_rate": 0.1},
    "shira": {"rank": 4},
    "road": {"learning_rate": 0.1, "group": 16},
    "half": {"learning_rate": 0.01},
    "freeze": {"learning_rate": 0.01, "blocks": 1},
    "full": {"learning_rate": 0.01},
    "pruned": {"learning_rate": 0.01, "sparsity": 0.3},
    "prompt": {"num_tokens": 8, "learning_rate": 0.3},
    "p_tuning": {"num_tokens": 8, "hidden": 32},
    "prefix": {"num_tokens": 6, "learning_rate": 0.1},
    "bottleneck": {"width": 8},
}
# Those that only a CUDA GPU trains are marked so. One only rounds.
TRAINED = [
    pytest.param(name, marks=pytest.mark.gpu) if one.needs_cuda else name
    for name, one in METHODS.items()
    if name != "quantized"
]


def interrupted(train: Callable[..., object], *steps: int) -> None:
    """Start a training, `train(progress=...)`, once for each of these steps, rising, and interrupt it there."""
    left = list(steps)

    def interrupt(progress: TrainProgress) -> None:
        if left and progress.step == left[0]:
            del left[0]
            raise KeyboardInterrupt

    while left:
        with pytest.raises(KeyboardInterrupt):
            train(progress=interrupt)


def skip_without_gpu(method: str) -> None:
    """Skip the test of a method that only a CUDA GPU trains, where there is none."""
    if METHODS[method].needs_cuda and (obstacle := METHODS[method].obstacle()):
        pytest.skip(obstacle)


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


def served_files(adapter: Adapter) -> dict[str, str]:
    """The hashes of an adapter's files by name, its card aside, which tells of seconds."""
    return {name: digest for name, digest in hash_files(adapter.path).items() if name != MODEL_CARD}
