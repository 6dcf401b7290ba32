from __future__ import annotations

import numpy as np
import pytest

from rag.search.numbers import is_in, positions_of


@pytest.mark.parametrize(
    ("ascending", "numbers", "positions"),
    [
        ([2, 3, 7], [3, 7], [1, 2]),
        ([2, 3, 7], [1, 4, 8, 9], []),
        ([4, 5, 6], [1, 5, 9], [1]),  # without gaps: no search
        ([4, 5, 6], [4, 6], [0, 2]),
        ([], [1], []),
        ([1], [], []),
    ],
)
def test_positions_are_those_of_the_numbers_that_are_there(
    ascending: list[int], numbers: list[int], positions: list[int]
) -> None:
    found = positions_of(np.array(ascending, dtype=np.int64), np.array(numbers, dtype=np.int64))
    assert found.tolist() == positions
    assert found.dtype == np.int64


def test_is_in_tells_for_each_number_in_its_order() -> None:
    ascending = np.array([2, 3, 7])
    assert is_in(np.array([7, 8, 1, 2]), ascending).tolist() == [True, False, False, True]
    assert is_in(np.array([7]), ascending[:0]).tolist() == [False]
