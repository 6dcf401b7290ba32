"""Chunks by number: sorted int64 arrays, which take 8 bytes a chunk, and where numbers stand in them; their vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Vectors = NDArray[np.float32]

NOTHING: Numbers = np.empty(0, dtype=np.int64)


def best(numbers: Numbers, scores: Vectors, k: int | None = None) -> tuple[Numbers, Vectors]:
    """The k numbers of the highest scores, None for all, and these, best first, ties by number."""
    order = np.lexsort((numbers, -scores))[:k]
    return numbers[order], scores[order]


def is_in(numbers: Numbers, ascending: Numbers) -> NDArray[np.bool_]:
    """For each number whether it is in an ascending array."""
    if not len(ascending):
        return np.zeros(len(numbers), dtype=np.bool_)
    places = np.minimum(np.searchsorted(ascending, numbers), len(ascending) - 1)
    found: NDArray[np.bool_] = ascending[places] == numbers
    return found


def positions_of(ascending: Numbers, numbers: Numbers) -> NDArray[np.int64]:
    """The positions, in an ascending array, of those of the numbers (ascending) that are in it."""
    if len(ascending) and ascending[-1] - ascending[0] + 1 == len(ascending):
        first, last = np.searchsorted(numbers, [ascending[0], ascending[-1] + 1])
        return np.asarray(numbers[first:last] - ascending[0], dtype=np.int64)
    places = np.searchsorted(ascending, numbers)
    places = places[places < len(ascending)]
    return np.asarray(places[ascending[places] == numbers[: len(places)]], dtype=np.int64)
