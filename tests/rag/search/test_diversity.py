from __future__ import annotations

import numpy as np
import pytest

from rag.search.diversity import pick_diverse

# Places 0 and 1 say the same, 2 something else.
VECTORS = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
RELEVANCE = np.array([0.9, 0.8, 0.5], dtype=np.float32)


@pytest.mark.parametrize(
    ("weight", "k", "chosen"),
    [
        (1.0, 3, [0, 1, 2]),  # likeness to the query alone
        (0.5, 3, [0, 2, 1]),  # 2: 0.25 - 0; 1: 0.4 - 0.5
        (0.5, 1, [0]),
        (0.5, 9, [0, 2, 1]),
        (0.0, 2, [0, 2]),
    ],
)
def test_choices_weigh_relevance_against_what_was_chosen(weight: float, k: int, chosen: list[int]) -> None:
    assert pick_diverse(RELEVANCE, VECTORS, k, weight) == chosen


def test_nothing_is_chosen_of_nothing() -> None:
    assert pick_diverse(RELEVANCE[:0], VECTORS[:0], 3, 0.5) == []
