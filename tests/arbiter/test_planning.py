from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from arbiter.config.schema import Config
from arbiter.data import Data
from arbiter.planning import power, race_plan
from eval.errors import EvalError
from eval.questions import Question


def config(*arms: str, **values: Any) -> Config:
    taken = dict.fromkeys(("base", "fewshot", "rag", "tuned", "tuned_rag", "hybrid"))
    return Config.model_validate({"data": "x", "arms": {**taken, **{name: {} for name in arms}}, **values})


def data(num_questions: int) -> Data:
    asked = (Question(f"q{i}", f"Is it {i}?", ("yes",)) for i in range(num_questions))
    return Data(Path("x"), (), (), examples=(), questions=tuple(asked))


def test_more_questions_show_smaller_differences_and_more_arms_need_larger_ones() -> None:
    said, few = power(config("a", "b", "c"), data(100))
    _, many = power(config("a", "b", "c"), data(400))
    assert few["two_arms"] is not None
    assert many["two_arms"] is not None
    # By the root of the number.
    assert many["two_arms"] == pytest.approx(few["two_arms"] / 2, rel=0.1)
    assert few["best_of_all"] is not None
    assert few["best_of_all"] > few["two_arms"]
    shown = f"{few['two_arms']:.2f} between two arms, of {few['best_of_all']:.2f} between the best and all others"
    assert said == f"100 questions can show a difference of {shown} (80% power, arms disagreeing on 20%)"
    assert "the best" not in power(config("a", "b"), data(100))[0]


def test_too_few_questions_show_nothing() -> None:
    said, found = power(config("a", "b"), data(3), 0.5)
    assert said == "3 questions are too few to show a difference (80% power, arms disagreeing on 50%)"
    assert found == {"two_arms": None, "best_of_all": None}


def test_a_race_has_every_question_once_or_is_none() -> None:
    asked = data(60)
    plan = race_plan(config("a", "b"), asked)
    assert plan is not None
    spent = [question.id for batch in plan.batches for question in batch]
    assert sorted(spent) == sorted(question.id for question in asked.questions)
    assert race_plan(config("a", "b", race=None), asked) is None


def test_a_budget_below_a_batch_is_refused() -> None:
    with pytest.raises(EvalError, match=r"race.max_questions \(1\) is smaller than one batch of 2"):
        race_plan(config("a", "b", race={"max_questions": 1}), data(60))
