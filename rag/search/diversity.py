"""Maximal marginal relevance: passages that answer the query without saying the same thing again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pick_diverse(relevance: NDArray[np.float32], vectors: NDArray[np.float32], k: int, weight: float) -> list[int]:
    """Places of k of n candidates in the order of their choice; ties go to the earlier candidate.

    Each choice is the candidate with the largest `weight` times its relevance, (n,), minus the rest times its largest
    cosine to one chosen before; vectors are (n, d) unit rows. Carbonell and Goldstein 1998, "The Use of MMR".
    """
    likeness = vectors @ vectors.T
    nearest_chosen = np.zeros(len(relevance))
    open_places = np.ones(len(relevance), dtype=np.bool_)
    chosen: list[int] = []
    while len(chosen) < min(k, len(relevance)):
        gain = weight * relevance - (1 - weight) * nearest_chosen
        place = int(np.argmax(np.where(open_places, gain, -np.inf)))
        nearest_chosen = np.maximum(nearest_chosen, likeness[place]) if chosen else likeness[place].astype(np.float64)
        open_places[place] = False
        chosen.append(place)
    return chosen
