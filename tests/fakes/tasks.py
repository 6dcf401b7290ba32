"""What a training's process is told, for a tiny base model: `make_task(tiny_base, home)`."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from serving.fine_tuning.task import Task
from tuning.base import ResolvedModel
from tuning.methods.lora import LoraRecipe


def make_task(base: Path, home: Path, **changes: Any) -> Task:
    recipe = LoraRecipe(rank=4, alpha=8, epochs=4, batch_size=2, seed=3)
    usual: dict[str, Any] = {
        "base": ResolvedModel("org/tiny", "r1", str(base)),
        "name": "support",
        "objective": "supervised",
        "recipe": asdict(recipe),
        "rate_factor": None,
        "spreads_looks": True,
        "max_rank": 16,
        "files": {"training_file": "train.jsonl"},
        "adapters": str(home / "adapters"),
        "provenance": {"job": "ftjob-1"},
    }
    return Task(**{**usual, **changes})
