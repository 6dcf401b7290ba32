"""Trainings that learn from answers which the model draws itself."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fakes import trainings
from fakes.lazy import Lazy
from fakes.trainings import NUMBERS, TRAINED, skip_without_gpu

from storage.folders import read_manifest
from tuning.data.rows import PairRow, TrainingRow
from tuning.errors import TuningError
from tuning.export.adapters import load_adapter
from tuning.methods.lora import LoraRecipe
from tuning.methods.registry import METHODS
from tuning.objectives.drawn import DrawnSettings, Grpo, Ppo, Rloo
from tuning.objectives.registry import OBJECTIVES
from tuning.objectives.reward import Reward
from tuning.recipe import CheckRows, Worth
from tuning.training.progress import Forecast
from tuning.training.run import forecast_training

if TYPE_CHECKING:
    import torch
else:
    torch = Lazy("torch")

# It trains.
pytestmark = pytest.mark.slow

WORDS = ("sea", "north", "south", "one", "two", "three")
ROWS = [TrainingRow(({"role": "user", "content": f"what {word}"},), "red") for word in WORDS]
RECIPE = LoraRecipe(rank=4, alpha=8, learning_rate=0.02, epochs=10.0, batch_size=6, seed=3, warmup_fraction=0.0)
# A share of reds is easy to come by, and a model of eight words draws one by chance.
DRAWN: list[DrawnSettings] = [
    Rloo(samples=8, max_tokens=4, beta=0.01),
    Grpo(samples=8, max_tokens=4, beta=0.01),
    Ppo(samples=8, max_tokens=4, beta=0.01),
]


def share_of_red(_: Sequence[int], answers: Sequence[str]) -> list[float]:
    return [answer.split().count("red") / 4 for answer in answers]


RED = Worth("share of red", share_of_red)


def train(folder: Path, home: Path, objective: Any, **changes: Any) -> dict[str, Any]:
    """The manifest of an adapter."""
    recipe = replace(changes.pop("recipe", RECIPE), objective=objective)
    given: dict[str, Any] = {"rows": ROWS, "worth": RED, "recipe": recipe, **changes}
    return read_manifest(trainings.train(folder, home, **given).path)


@pytest.mark.parametrize("objective", DRAWN, ids=lambda one: one.name)
def test_a_planted_reward_rises_and_the_departure_is_told(
    objective: DrawnSettings, tiny_base: Path, tmp_path: Path
) -> None:
    manifest = train(tiny_base, tmp_path, objective)
    told = manifest["drawn"]
    assert manifest["num_steps"] == 10 * objective.steps_per_draw == len(told["reward"])
    assert told["reward"][-1] > 2 * told["reward"][0] + 0.1
    assert told["departure"][0] == pytest.approx(0, abs=1e-5)
    assert told["departure"][-1] > 0.1
    assert (manifest["objective"], manifest["recipe"]["objective"]) == (objective.name, asdict(objective))
    adapter = load_adapter(next((tmp_path / "adapters").iterdir()))
    assert adapter.drawn is not None
    assert list(adapter.drawn.reward) == told["reward"]
    assert adapter.parity is not None


@pytest.mark.parametrize("objective", DRAWN, ids=lambda one: one.name)
def test_a_dear_departure_is_a_small_one(objective: DrawnSettings, tiny_base: Path, tmp_path: Path) -> None:
    free, dear = (
        train(tiny_base, tmp_path / str(beta), replace(objective, beta=beta))["drawn"]["departure"][-1]
        for beta in (0.0, 2.0)
    )
    assert dear < free / 2


@pytest.mark.parametrize("objective", DRAWN, ids=lambda one: one.name)
def test_a_training_that_was_stopped_ends_with_the_same_weights(
    objective: DrawnSettings, tiny_base: Path, tmp_path: Path
) -> None:
    objective = replace(objective, steps_per_draw=2)
    given: dict[str, Any] = {
        "recipe": replace(RECIPE, keep="best", look_every=2.0, epochs=3.0, batch_size=3),
        "dev": CheckRows(ROWS[:2]),
    }
    whole = train(tiny_base, tmp_path / "whole", objective, **given)
    again = partial(train, tiny_base, tmp_path / "parts", objective, checkpoint_every_s=0.0, **given)
    trainings.interrupted(again, 3, 4, 7)
    parts = train(tiny_base, tmp_path / "parts", objective, **given)
    assert parts["name"] == whole["name"]
    assert parts["drawn"] == whole["drawn"]
    assert parts["looks"] == whole["looks"]


@pytest.mark.parametrize("objective", DRAWN, ids=lambda one: one.name)
def test_a_batch_in_parts_one_after_the_other_learns_the_same(
    objective: DrawnSettings, tiny_base: Path, tmp_path: Path
) -> None:
    recipes = [replace(RECIPE, accumulate=n, epochs=3.0, learning_rate=1e-3) for n in (1, 3)]
    whole, parts = (train(tiny_base, tmp_path / f"{one.accumulate}", objective, recipe=one) for one in recipes)
    assert parts["drawn"]["reward"] == pytest.approx(whole["drawn"]["reward"], abs=1e-6)
    assert parts["loss_curve"] == pytest.approx(whole["loss_curve"], abs=1e-4)


@pytest.mark.parametrize(
    "method", [one for one in TRAINED if not isinstance(one, str) or one not in OBJECTIVES["ppo"].unfit]
)
def test_every_method_learns_by_reward_and_what_it_exports_has_no_head(
    method: str, tiny_base: Path, tmp_path: Path
) -> None:
    skip_without_gpu(method)
    kind = METHODS[method].recipe
    rank = {"rank": 4} if "rank" in kind.__dataclass_fields__ else {}
    recipe = kind(**(rank | {"epochs": 1.0, "batch_size": 6, "learning_rate": 1e-3} | NUMBERS.get(method, {})))
    # Any two answers differ in it, so that every method has something to learn.
    letters = Worth("letters", lambda _, answers: [sum(map(ord, answer)) / 1000 for answer in answers])
    manifest = train(tiny_base, tmp_path, Ppo(samples=2, max_tokens=3), recipe=recipe, worth=letters)
    assert len(manifest["drawn"]["reward"]) == 2
    from safetensors import safe_open

    for path in (tmp_path / "adapters" / manifest["name"]).glob("*.safetensors"):
        with safe_open(path, "pt") as stored:
            assert not [name for name in stored.keys() if "value_head" in name]  # noqa: SIM118  # no mapping


def test_a_reward_model_learns_pairs_and_its_rewards_are_learned(tiny_base: Path, tmp_path: Path) -> None:
    pairs = [PairRow(row.prompt, "red red", "blue green") for row in ROWS]
    held_out = CheckRows(
        [PairRow(({"role": "user", "content": f"what {w}"},), "red red", "blue") for w in ("is", "what")]
    )
    recipe = replace(RECIPE, batch_size=3, epochs=12.0)
    taste = train(tiny_base, tmp_path, Reward(), recipe=recipe, rows=pairs, held_out=held_out, worth=None, name="taste")
    assert taste["loss_curve"][-1] < 0.1 < taste["loss_curve"][0]
    assert taste["preference"]["accuracy"]["mean"] == 1.0
    worth = Worth(taste["name"], adapter=tmp_path / "adapters" / taste["name"])
    learned = train(tiny_base, tmp_path, Rloo(samples=8, max_tokens=4, beta=0.0), worth=worth, name="learned")
    first, last = learned["drawn"]["reward"][0], learned["drawn"]["reward"][-1]
    assert last > first + 1


def test_what_is_worth_something_is_part_of_what_an_adapter_is(tiny_base: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=1.0)
    first = train(tiny_base, tmp_path, Grpo(samples=2, max_tokens=2), recipe=recipe)
    blue = Worth("blue", lambda _, answers: [float("blue" in answer) for answer in answers])
    second = train(tiny_base, tmp_path, Grpo(samples=2, max_tokens=2), recipe=recipe, worth=blue)
    assert first["recipe_hash"] != second["recipe_hash"]
    nothing = Worth("nothing", lambda _, answers: [0.0] * len(answers))
    with pytest.raises(
        TuningError, match=r"all answers that were drawn to a prompt were worth the same \(0 in the last"
    ):
        train(tiny_base, tmp_path, Grpo(samples=2, max_tokens=2), recipe=recipe, worth=nothing)
    with pytest.raises(TuningError, match="objective grpo learns from what answers are worth, and nothing says it"):
        train(tiny_base, tmp_path, Grpo(), worth=None)


def test_a_forecast_counts_the_drawing(tiny_base: Path, tmp_path: Path) -> None:
    def foretold(tokens: int) -> Forecast:
        recipe = replace(RECIPE, objective=Grpo(samples=2, max_tokens=tokens), epochs=4.0)
        found = forecast_training(**trainings.arguments(tiny_base, tmp_path, rows=ROWS, worth=RED, recipe=recipe))
        assert found is not None
        return found

    assert foretold(48).seconds > 2 * foretold(1).seconds


@pytest.mark.parametrize(
    ("objective", "numbers", "gigabytes"),
    [
        # Four prompts are drawn to at once, and six answers learned from, as in every step: what is measured, 0.4.
        (Grpo(samples=8, max_tokens=2), {"batch_size": 6}, 1.4),
        (Ppo(samples=8, max_tokens=2), {"batch_size": 6, "accumulate": 3}, 1.4),
        # Eight, with 32 answers; 48 are learned from at once.
        (Rloo(samples=4, max_tokens=2), {"batch_size": 48}, 1.6),
        (Rloo(samples=4, max_tokens=2), {"batch_size": 48, "accumulate": 2}, 1.4),
    ],
)
def test_what_is_drawn_is_not_held_for_each_prompt_of_a_batch(
    objective: DrawnSettings,
    numbers: dict[str, int],
    gigabytes: float,
    tiny_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU learns from all answers of a part at once")
    from tuning.training import forecast

    peaks = itertools.cycle((1_100_000_000, 1_400_000_000))
    monkeypatch.setattr(forecast.Memory, "now", lambda self: 1_000_000_000)
    monkeypatch.setattr(forecast.Memory, "peak", lambda self: next(peaks))
    monkeypatch.setattr(forecast, "free_bytes", lambda: 10_000_000_000)
    recipe = replace(RECIPE, objective=objective, **numbers)
    found = forecast_training(**trainings.arguments(tiny_base, tmp_path, rows=ROWS, worth=RED, recipe=recipe))
    assert found is not None
    assert found.memory_bytes == pytest.approx(gigabytes * 1e9, rel=0.001)


def test_the_memory_of_drawing_is_foretold(tiny_base: Path, tmp_path: Path) -> None:
    numbers: dict[str, Any] = {"batch_size": 8, "epochs": 4.0, "learning_rate": 1e-4}
    manifest = train(tiny_base, tmp_path, Grpo(samples=4, max_tokens=400), recipe=replace(RECIPE, **numbers))
    foretold, peak = manifest["forecast"]["memory_bytes"], manifest["peak_memory_bytes"]
    assert abs(foretold - peak) < 0.1 * peak
