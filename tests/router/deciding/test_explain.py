"""Tests of a decision in words."""

from __future__ import annotations

import pytest

from router.deciding.decision import Further
from router.deciding.explain import further_words


@pytest.mark.parametrize(
    ("better", "words"),
    [
        (Further(200, 1_500), "200 to 1,500 more questions"),
        (Further(90_000, 140_000), "90,000 to more than 100,000 more questions"),
        (Further(6_178_692, 10_046_258), "more than 100,000 more questions"),
    ],
)
def test_more_questions_than_anybody_asks_are_not_counted(better: Further, words: str) -> None:
    assert further_words(0, better, None).startswith(f"{words} would show which is better")


def test_without_an_expectation_the_number_stands_in() -> None:
    assert further_words(1, None, None) == "about 1 more question would settle it"
    assert further_words(2_000_000, None, None) == "more than 100,000 more questions would settle it"
