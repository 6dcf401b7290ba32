from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from arbiter.config.loading import load_config
from arbiter.sweep.target import resolve_sweep


@pytest.fixture(scope="module")
def sweeps() -> Any:
    """The benchmark's module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
        yield importlib.import_module("tuned_sweeps")


def card(**scores: list[float | None]) -> Any:
    arms = [SimpleNamespace(arm=SimpleNamespace(name=name), scores={"f1": column}) for name, column in scores.items()]
    return SimpleNamespace(primary="f1", arms=arms, clusters=[str(i) for i in range(len(arms[0].scores["f1"]))])


@pytest.fixture
def answered(sweeps: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes every evaluation give a card, and keeps the config that was asked for."""
    asked: list[Any] = []

    def give(found: Any) -> list[Any]:
        def pipeline(config: Any, **_: Any) -> Any:
            asked.append(config)
            return SimpleNamespace(evaluate=lambda: SimpleNamespace(scorecard=lambda: found))

        monkeypatch.setattr(sweeps, "Pipeline", pipeline)
        return asked

    return give


def test_a_set_is_swept_for_one_adapter_with_the_usual_space(sweeps: Any, tmp_path: Path) -> None:
    words = sweeps.overrides(tmp_path, "token_f1", 40, 100)
    config = load_config(None, [*words, "sweep.arm=tuned"])
    assert (list(config.arms), list(config.adapters)) == (["tuned"], ["closed_book"])
    space = resolve_sweep(config, config.sweep).space
    assert {key.removeprefix("adapters.closed_book.") for key in space} == {
        "rank",
        "learning_rate",
        "epochs",
        "batch_size",
    }


def test_the_best_settings_stand_beside_the_defaults_on_the_same_questions(
    sweeps: Any, answered: Any, tmp_path: Path
) -> None:
    asked = answered(card(tuned=[0.0, 0.0, 1.0, None], swept=[1.0, 0.0, 1.0, 1.0]))
    report = SimpleNamespace(words=lambda: ["adapters.closed_book.epochs=2"])
    usual, swept, gain = sweeps.tested(sweeps.overrides(tmp_path, "token_f1", 40, 100), report, tmp_path)
    assert (usual[:4], swept[:4], gain[:6]) == ("0.33", "0.67", "+0.333")
    assert (asked[0].adapters["swept"].epochs, asked[0].arms["swept"].adapter) == (2, "swept")
    assert asked[0].adapters["closed_book"].epochs != 2


def test_defaults_that_are_the_best_gain_nothing(sweeps: Any, answered: Any, tmp_path: Path) -> None:
    asked = answered(card(tuned=[0.0, 1.0]))
    found = list(sweeps.tested(sweeps.overrides(tmp_path, "token_f1", 40, 100), SimpleNamespace(words=list), tmp_path))
    assert found[0][:4] == found[1][:4] == "0.50"
    assert found[2] == "0"
    assert list(asked[0].arms) == ["tuned"]
