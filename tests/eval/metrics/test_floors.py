from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from eval.errors import EvalError
from eval.metrics.floors import (
    MAJORITY,
    NEAREST,
    majority_answers,
    measure_floors,
    nearest_training_answers,
)
from eval.metrics.text import TEXT_SCORER
from eval.questions import Question
from eval.scorer import Pair, Progress

# Directions in the plane, in degrees.
ANGLES = {"east": 0, "east again": 0, "north": 90, "nearly east": 10, "nearly north": 80, "between": 45}


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    angles = np.radians([ANGLES[text] for text in texts])
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


EXAMPLES = (
    Question("t1", "north", ("pier",), (), {"kind": "fact"}),
    Question("t2", "east", ("harbour",)),
    Question("t3", "east again", ("quay",)),
    Question("t4", "north", ("quay",)),
)
QUESTIONS = (
    Question("q1", "nearly east", ("the harbour",)),
    Question("q2", "nearly north", ("harbour",), (), {"kind": "fact"}),
    Question("q3", "between", ("pier tower",), (), {"kind": "other"}),
)


def test_the_nearest_training_question_answers_and_the_first_of_equals_wins() -> None:
    records = nearest_training_answers(EXAMPLES, QUESTIONS, embed)
    # q1: "east" before "east again"; q2: "north"; q3 lies at 45 degrees of all, so the first row counts
    assert [record.text for record in records] == ["harbour", "pier", "pier"]
    assert {record.arm for record in records} == {NEAREST}
    assert [record.question_id for record in records] == ["q1", "q2", "q3"]


def test_the_majority_is_that_of_the_questions_kind_or_of_all() -> None:
    # without a kind: harbour, quay, quay; facts: pier; "other" has no training rows, so all count: quay twice
    assert [record.text for record in majority_answers(EXAMPLES, QUESTIONS)] == ["quay", "pier", "quay"]
    tied = [Question("t1", "a", ("first",)), Question("t2", "b", ("second",))]
    assert majority_answers(tied, QUESTIONS[:1])[0].text == "first"


def test_a_floor_is_scored_by_the_metric_of_the_arms() -> None:
    # exact match forgives the article; token F1 of "pier" against "pier tower" is 2/3
    found = measure_floors(EXAMPLES, QUESTIONS, embed, [TEXT_SCORER], "exact_match")
    assert found == {NEAREST: (1.0, 0.0, 0.0), MAJORITY: (0.0, 0.0, 0.0)}
    found = measure_floors(EXAMPLES, QUESTIONS, embed, [TEXT_SCORER], {"default": "exact_match", "other": "token_f1"})
    assert found[NEAREST] == (1.0, 0.0, pytest.approx(2 / 3))


class Judge:
    """A scorer that must not be asked for nothing."""

    names = ("judge_faithfulness",)

    def score(self, pairs: Sequence[Pair], progress: Progress | None = None) -> dict[str, list[float | None]]:
        raise AssertionError("asked")

    def diagnostics(self) -> tuple[str, ...]:
        return ()


def test_scorers_of_other_metrics_are_not_asked() -> None:
    found = measure_floors(EXAMPLES, QUESTIONS, embed, [Judge(), TEXT_SCORER], "exact_match")
    assert found == {NEAREST: (1.0, 0.0, 0.0), MAJORITY: (0.0, 0.0, 0.0)}


def test_a_metric_that_nobody_gives_is_named() -> None:
    with pytest.raises(EvalError, match="no metric 'json_f1'"):
        measure_floors(EXAMPLES, QUESTIONS, embed, [TEXT_SCORER], "json_f1")


def test_without_training_rows_there_is_no_floor() -> None:
    assert measure_floors((), QUESTIONS, embed, [TEXT_SCORER], "exact_match") == {}


def test_many_questions_keep_their_order() -> None:
    asked = [Question(f"q{i}", "nearly east" if i % 2 else "nearly north", ("x",)) for i in range(600)]
    records = nearest_training_answers(EXAMPLES, asked, embed)
    assert [record.text for record in records] == ["pier", "harbour"] * 300
