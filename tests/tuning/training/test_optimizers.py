"""Every optimizer, for real on the tiny base: it learns, what is exported answers as what was trained, and a training
that was stopped ends with the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import trainings

from storage.folders import read_manifest
from tuning.errors import TuningError
from tuning.export.adapters import Adapter
from tuning.methods.registry import METHODS
from tuning.optimizers.registry import OPTIMIZERS
from tuning.training.progress import TrainProgress

# It trains.
pytestmark = pytest.mark.slow

OTHERS = [name for name in OPTIMIZERS if name != "adamw"]
# Rates that suit AdamW on a model of two blocks of 32, and each method's own numbers.
NUMBERS: dict[str, dict[str, Any]] = {
    "lora": {"learning_rate": 0.01, "rank": 8},
    "full": {"learning_rate": 0.003},
    "adalora": {"learning_rate": 0.03, "rank": 2, "first_rank": 4},
    "pissa": {"learning_rate": 0.01, "rank": 4},
    "dora": {"learning_rate": 0.03, "rank": 4},
    "vblora": {"learning_rate": 0.1, "rank": 4, "vectors": 16, "length": 8},
    "delta_lora": {"learning_rate": 0.03, "rank": 4, "start_step": 4},
    "ln": {"learning_rate": 0.1},
    "freeze": {"learning_rate": 0.003, "blocks": 1},
}


def train(
    optimizer: str,
    base: Path,
    home: Path,
    *,
    method: str = "lora",
    progress: Callable[[TrainProgress], object] = lambda _: None,
    checkpoint_every_s: float = 60.0,
    **numbers: Any,
) -> Adapter:
    """Skips the test where the optimizer cannot train."""
    if obstacle := OPTIMIZERS[optimizer].obstacle():
        pytest.skip(obstacle)
    given = {"epochs": 6, "batch_size": 2, "seed": 3, **NUMBERS[method], **numbers}
    if optimizer == "lomo":  # gradients are not clipped
        given["learning_rate"] /= 3
    return trainings.train(
        base,
        home,
        recipe=METHODS[method].recipe(optimizer=optimizer, **given),
        name=method,
        progress=progress,
        checkpoint_every_s=checkpoint_every_s,
    )


@pytest.mark.parametrize("method", ["lora", "full"])  # thin matrices; all, vectors and a table of tokens
@pytest.mark.parametrize("optimizer", OTHERS)
def test_it_learns_and_what_is_served_answers_as_what_was_trained(
    optimizer: str, method: str, tiny_base: Path, tmp_path: Path
) -> None:
    adapter = train(optimizer, tiny_base, tmp_path, method=method)

    manifest = read_manifest(adapter.path)
    curve, parity = manifest["loss_curve"], manifest["parity"]
    assert sum(curve[-4:]) < 0.8 * sum(curve[:4])
    assert parity["largest"] <= 1e-4 < 0.05 < parity["effect"]
    package = OPTIMIZERS[optimizer].package
    assert not package or package in manifest["packages"]


class Stop(Exception):
    """A kill."""


@pytest.mark.parametrize("optimizer", OTHERS)
def test_a_stopped_training_ends_with_the_same_bytes(optimizer: str, tiny_base: Path, tmp_path: Path) -> None:
    whole = train(optimizer, tiny_base, tmp_path / "whole", method="full")

    def stop(progress: TrainProgress) -> None:
        if progress.step == 9:
            raise Stop

    with pytest.raises(Stop):
        train(optimizer, tiny_base, tmp_path / "stopped", method="full", progress=stop, checkpoint_every_s=0)
    seen: list[int] = []
    again = train(
        optimizer,
        tiny_base,
        tmp_path / "stopped",
        method="full",
        progress=lambda progress: seen.append(progress.step),
    )

    assert seen[0] == 9
    assert trainings.served_files(again) == trainings.served_files(whole)


def test_what_was_stopped_before_the_mean_was_taken_ends_with_it(tiny_base: Path, tmp_path: Path) -> None:
    import torch

    def stop(progress: TrainProgress) -> None:
        if progress.step == progress.num_steps:
            raise Stop

    whole = train("schedule_free", tiny_base, tmp_path / "whole", epochs=2)
    with pytest.raises(Stop):
        train("schedule_free", tiny_base, tmp_path / "stopped", epochs=2, progress=stop, checkpoint_every_s=0)
    (checkpoint, *_) = (tmp_path / "stopped").glob("training/*/checkpoint-*")
    state = torch.load(checkpoint / "optimizer.pt", weights_only=True)
    assert [group["train_mode"] for group in state["param_groups"]] == [True]
    again = train("schedule_free", tiny_base, tmp_path / "stopped", epochs=2)
    assert trainings.served_files(again) == trainings.served_files(whole)


@pytest.mark.parametrize(
    ("optimizer", "method"),
    [
        ("muon", "adalora"),
        ("galore", "pissa"),
        ("apollo", "dora"),
        ("adam_mini", "vblora"),
        ("adamw_8bit", "delta_lora"),
        ("schedule_free", "ln"),
        ("lomo", "freeze"),
    ],
)
def test_it_takes_what_other_methods_train(optimizer: str, method: str, tiny_base: Path, tmp_path: Path) -> None:
    curve = read_manifest(train(optimizer, tiny_base, tmp_path, method=method).path)["loss_curve"]
    assert sum(curve[-4:]) < 0.9 * sum(curve[:4])


def test_without_its_package_nothing_is_trained(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tuning.training.trainer  # noqa: F401  # libraries ask for packages while they are imported

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    recipe = METHODS["lora"].recipe(optimizer="schedule_free")
    with pytest.raises(TuningError, match="optimizer schedule_free needs the package schedulefree; install it: pip "):
        trainings.train(tiny_base, tmp_path, recipe=recipe, name="lora")
