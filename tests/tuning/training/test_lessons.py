"""Trainings that learn how likely a larger model finds each token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fakes import trainings
from fakes.distilling import TinyTeacher
from fakes.trainings import ROWS, TRAINED, skip_without_gpu

from storage.folders import read_manifest
from tuning.errors import TuningError
from tuning.methods.lora import LoraRecipe
from tuning.methods.registry import METHODS
from tuning.objectives.distilled import Distill, Gkd
from tuning.recipe import CheckRows, Teacher
from tuning.training.run import forecast_training

# It trains.
pytestmark = pytest.mark.slow

RECIPE = LoraRecipe(rank=4, alpha=8, learning_rate=0.03, epochs=24.0, batch_size=5, seed=3)
OFF, ON, BOTH = (Gkd(lmbda=share, beta=beta, top_k=6, max_tokens=4) for share, beta in ((0, 0), (1, 1), (0.5, 0.5)))
NAMES = ["off-policy", "on-policy", "both"]


@pytest.fixture(scope="module")
def teacher(tiny_base: Path) -> TinyTeacher:
    return TinyTeacher(tiny_base)


def train(folder: Path, home: Path, objective: Any, teacher: Teacher | None, **changes: Any) -> dict[str, Any]:
    """The manifest of an adapter."""
    recipe = replace(changes.pop("recipe", RECIPE), objective=objective)
    return read_manifest(trainings.train(folder, home, teacher=teacher, recipe=recipe, **changes).path)


def distance(folder: Path, teacher: TinyTeacher, adapter: Path | None = None) -> float:
    """The mean KL from the whole distributions of the teacher to a model's, over the rows' answers."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from tuning.objectives.supervised import encode_completion

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    total, count = 0.0, 0
    for row in ROWS:
        encoded = encode_completion(teacher.tokenizer, row)
        start = sum(label == -100 for label in encoded.labels)
        with torch.no_grad():
            own = model.eval()(torch.tensor([encoded.input_ids])).logits[0].log_softmax(-1)
        theirs = teacher.log_probs(encoded.input_ids)
        apart = (theirs.exp() * (theirs - own)).sum(-1)[start - 1 : -1]
        total, count = total + float(apart.sum()), count + len(apart)
    return total / count


@pytest.mark.parametrize("objective", [OFF, ON, BOTH], ids=NAMES)
def test_the_model_comes_nearer_to_the_teacher(
    objective: Gkd, tiny_base: Path, teacher: TinyTeacher, tmp_path: Path
) -> None:
    manifest = train(tiny_base, tmp_path, objective, teacher.as_told())
    before = distance(tiny_base, teacher)
    after = distance(tiny_base, teacher, tmp_path / "adapters" / manifest["name"])
    assert after < (0.35 if objective == OFF else 0.7) * before
    assert sum(manifest["loss_curve"][-4:]) < 0.7 * sum(manifest["loss_curve"][:4])
    assert (manifest["objective"], manifest["teacher"]) == ("gkd", "tiny teacher")


def test_the_first_loss_is_the_divergence_at_the_beginning(
    tiny_base: Path, teacher: TinyTeacher, tmp_path: Path
) -> None:
    manifest = train(tiny_base, tmp_path, replace(OFF, top_k=99), teacher.as_told())
    assert manifest["loss_curve"][0] == pytest.approx(distance(tiny_base, teacher), rel=1e-3)


@pytest.mark.parametrize("objective", [OFF, ON, BOTH], ids=NAMES)
def test_a_training_that_was_stopped_ends_with_the_same_weights(
    objective: Gkd, tiny_base: Path, teacher: TinyTeacher, tmp_path: Path
) -> None:
    given: dict[str, Any] = {
        "recipe": replace(RECIPE, keep="best", look_every=2.0, epochs=4.0, batch_size=2),
        "dev": CheckRows(ROWS[:2]),
    }
    whole = train(tiny_base, tmp_path / "whole", objective, teacher.as_told(), **given)
    again = partial(train, tiny_base, tmp_path / "parts", objective, teacher.as_told(), **given)
    trainings.interrupted(partial(again, checkpoint_every_s=0.0), 3, 4, 7)
    parts = again()
    assert (parts["name"], parts["looks"]) == (whole["name"], whole["looks"])


def test_a_batch_in_parts_one_after_the_other_learns_the_same(
    tiny_base: Path, teacher: TinyTeacher, tmp_path: Path
) -> None:
    recipes = [replace(RECIPE, accumulate=n, batch_size=4, epochs=4.0, learning_rate=1e-3) for n in (1, 2)]
    whole, parts = (
        train(tiny_base, tmp_path / f"{one.accumulate}", BOTH, teacher.as_told(), recipe=one) for one in recipes
    )
    assert parts["loss_curve"] == pytest.approx(whole["loss_curve"], abs=1e-4)


@pytest.mark.parametrize("method", TRAINED)
def test_every_method_learns_from_a_teacher(method: str, tiny_base: Path, teacher: TinyTeacher, tmp_path: Path) -> None:
    skip_without_gpu(method)
    kind = METHODS[method].recipe
    rank = {"rank": 4} if "rank" in kind.__dataclass_fields__ else {}
    usual = {"epochs": 2.0, "batch_size": 5, "learning_rate": 1e-3}
    recipe = kind(**(rank | usual | trainings.NUMBERS.get(method, {})))
    manifest = train(tiny_base, tmp_path, BOTH, teacher.as_told(), recipe=recipe)
    assert manifest["num_steps"] == 2


def test_other_tokens_are_refused_before_anything_is_trained(
    tiny_base: Path, teacher: TinyTeacher, tmp_path: Path
) -> None:
    def spell(text: str) -> Sequence[tuple[int, str]]:
        return [(id_ + 1 if word == "what" else id_, word) for id_, word in teacher.spell(text)]

    shifted = Teacher("tiny teacher", spell, teacher.read)
    with pytest.raises(TuningError, match=r"reads 'what' \(\d+\) where that reads 'what' \(\d+\); name a teacher"):
        train(tiny_base, tmp_path, BOTH, shifted)
    short = Teacher("tiny teacher", lambda text: teacher.spell(text)[:-1], teacher.read)
    with pytest.raises(TuningError, match="of one text it reads no more where that reads"):
        train(tiny_base, tmp_path, BOTH, short)
    assert not (tmp_path / "adapters").exists()


def test_without_a_teacher_it_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match=r"objective gkd learns from a teacher, and there is none; set distill"):
        train(tiny_base, tmp_path, Gkd(), None)


def test_a_forecast_asks_nobody_and_another_teacher_makes_another_adapter(
    tiny_base: Path, teacher: TinyTeacher, tmp_path: Path
) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("the teacher was asked")

    nobody, recipe = Teacher("tiny teacher", refuse, refuse), replace(RECIPE, epochs=1.0, objective=BOTH)
    given = trainings.arguments(tiny_base, tmp_path, recipe=recipe)
    assert forecast_training(**given, teacher=nobody) is not None
    first, second = (
        train(tiny_base, tmp_path / name, BOTH, teacher.as_told(name), recipe=recipe) for name in ("a", "b")
    )
    assert first["recipe_hash"] != second["recipe_hash"]


def test_answers_alone_are_learned_as_any_others(tiny_base: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=3.0)
    own = train(tiny_base, tmp_path / "own", Distill(), None, recipe=recipe)
    plain = read_manifest(trainings.train(tiny_base, tmp_path / "plain", recipe=recipe).path)
    assert own["loss_curve"] == plain["loss_curve"]
    assert own["recipe_hash"] != plain["recipe_hash"]
