"""Two rankings into one: `fuse(dense, lexical, method="minmax", dense_weight=0.5)`.

A ranking is an array of numbers, best first, and an array of their scores.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rag.search.numbers import Numbers
from rag.search.settings import Fusion

Scores = NDArray[np.float32]
Ranking = tuple[Numbers, Scores]

# Cormack, Clarke and Büttcher 2009, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
# Methods".
_RRF_K = 60


def fuse(dense: Ranking, lexical: Ranking, *, method: Fusion, dense_weight: float) -> Ranking:
    """All numbers of both rankings, best first, ties by number; scores in [0, 1].

    A score is `dense_weight` times the one in `dense` plus the rest times the one in `lexical`. Both are brought to
    [0, 1] first. By min-max the best of a ranking has 1 and its last 0; all have 1 if they are equal. By reciprocal
    ranks, rank r has 61 / (60 + r). A number that only one ranking found has 0 from the other.
    """
    bring = _minmax if method == "minmax" else _reciprocal_ranks
    numbers = np.union1d(dense[0], lexical[0])
    scores = np.zeros(len(numbers))
    for (found, raw), weight in ((dense, dense_weight), (lexical, 1 - dense_weight)):
        scores[np.searchsorted(numbers, found)] += weight * bring(raw)
    order = np.lexsort((numbers, -scores))
    return numbers[order], scores[order].astype(np.float32)


def _minmax(scores: Scores) -> NDArray[np.float64]:
    if not len(scores):
        return np.empty(0)
    low, high = float(scores.min()), float(scores.max())
    return (scores.astype(np.float64) - low) / (high - low) if high > low else np.ones(len(scores))


def _reciprocal_ranks(scores: Scores) -> NDArray[np.float64]:
    return (_RRF_K + 1) / (_RRF_K + 1 + np.arange(len(scores), dtype=np.float64))
