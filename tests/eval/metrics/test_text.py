from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.answers import AnswerRecord
from eval.metrics.text import (
    METRICS,
    TEXT_SCORER,
    contains,
    exact_match,
    normalise,
    rouge_l,
    token_f1,
)
from eval.questions import Question


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Loan Desk, please!", "loan desk please"),
        ("a U.S. state", "us state"),
        ("anthem", "anthem"),  # articles go as words, not as letters
        ("card_arrival", "cardarrival"),  # SQuAD deletes punctuation, it does not split at it
        ("A", "a"),
        ("A.", "a"),
        ("The", "the"),
        ("+", "+"),
        ("  ", ""),
    ],
)
def test_normalisation_is_squads_except_where_it_would_leave_nothing(text: str, normal: str) -> None:
    assert normalise(text) == normal


@pytest.mark.parametrize(
    ("metric", "answer", "gold", "score"),
    [
        (exact_match, "the Eiffel Tower.", "Eiffel tower", 1.0),
        (exact_match, "Eiffel", "Eiffel tower", 0.0),
        (exact_match, "", "A", 0.0),
        (exact_match, "the", "A", 0.0),
        # said {big, red, dog}, wanted {red, dog}: precision 2/3, recall 1, F1 0.8
        (token_f1, "a big red dog", "the red dog", 0.8),
        # said {red, red}, wanted {red}: one token in common, precision 1/2, recall 1
        (token_f1, "red red", "red", 2 / 3),
        (token_f1, "blue", "red", 0.0),
        (token_f1, "", "red", 0.0),
        (token_f1, "B", "A", 0.0),
        (contains, "It opens at 9 a.m. on Monday", "9 am", 1.0),
        (contains, "It opens at 19", "9", 0.0),  # whole words only
        (contains, "", "the", 0.0),
        # "the ferry leaves" is common in order: precision 3/5, recall 3/4
        (rouge_l, "the ferry leaves at noon", "At: the ferry leaves", 2 / 3),
        (rouge_l, "ferry the leaves", "the ferry leaves", 2 / 3),  # two words in order, articles count
        (rouge_l, "Überfähre, früh", "früh Überfähre", 0.5),  # letters of any script make words
        (rouge_l, "", "the ferry", 0.0),
        (rouge_l, "+", "+", 1.0),
        (rouge_l, "-", "+", 0.0),
    ],
)
def test_scores_worked_by_hand(metric: Callable[[str, str], float], answer: str, gold: str, score: float) -> None:
    assert metric(answer, gold) == pytest.approx(score)


def test_the_best_gold_answer_counts() -> None:
    question = Question("q", "Which seasons?", answers=("3, 4, & 5", "seasons 3, 4, & 5"))
    scores = TEXT_SCORER.score([(question, AnswerRecord("base", "q", "seasons 3 4 5"))])
    assert scores == {"exact_match": [1.0], "token_f1": [1.0], "contains": [1.0], "rouge_l": [1.0]}


def test_a_failed_answer_is_as_wrong_as_an_empty_one() -> None:
    question = Question("q", "When?", answers=("2009",))
    failed = AnswerRecord("base", "q", "", error="the engine answered 500")
    empty = AnswerRecord("base", "q", "")
    scores = TEXT_SCORER.score([(question, failed), (question, empty)])
    assert scores == {name: [0.0, 0.0] for name in METRICS}


def test_progress_counts_answers() -> None:
    question = Question("q", "When?", answers=("2009",))
    seen: list[tuple[int, int]] = []
    pairs = [(question, AnswerRecord("base", "q", "2009"))] * 3
    TEXT_SCORER.score(pairs, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


@given(st.text(max_size=40), st.text(min_size=1, max_size=40))
def test_every_score_lies_between_zero_and_one_and_a_gold_answer_scores_one(answer: str, gold: str) -> None:
    for metric in METRICS.values():
        assert 0.0 <= metric(answer, gold) <= 1.0
    if normalise(gold):
        assert all(metric(gold, gold) == 1.0 for metric in METRICS.values())


def test_long_texts_are_compared_in_little_memory() -> None:
    text = " ".join(f"w{i % 500}" for i in range(10_000))
    tracemalloc.start()
    try:
        assert rouge_l(text, f"first {text} last") == pytest.approx(2 * 10_000 / 20_002)
        assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    finally:
        tracemalloc.stop()
