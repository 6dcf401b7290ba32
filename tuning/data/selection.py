"""Few rows that stand for many: "less is more" (Zhou et al. 2023, LIMA, arXiv 2305.11206) by clusters of embeddings.

chosen = select(vectors, 300, labels=labels, num_faults=num_faults)
chosen.places            # 300 places, in order
chosen.stands_for[7]     # the place of the chosen row that is like the one at 7
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuning.errors import TuningError

Vectors = NDArray[np.float32]

# Products of rows and clusters from which on batches are clustered: the whole would take minutes.
_MANY = 50_000_000
_ITERATIONS = 25


@dataclass(frozen=True, slots=True)
class Selection:
    """The places of the chosen rows, in order, and of every row the chosen one of its cluster; its own where it was
    chosen itself.
    """

    places: tuple[int, ...]
    stands_for: tuple[int, ...]


def select(
    vectors: Vectors,
    count: int,
    *,
    labels: Sequence[Hashable] | None = None,
    num_faults: Sequence[int] | None = None,
    seed: int = 0,
) -> Selection:
    """`count` of n rows by their unit vectors (n, d): k-means makes as many clusters as rows are wanted, and of each
    the row with the fewest faults is taken, of several the one nearest to its middle.

    Each label gets its share of the rows, and one at least where there is room. Deterministic in its arguments. Raises
    TuningError for a count that is not in 1 to n.
    """
    if not 1 <= count <= len(vectors):
        raise TuningError(f"{count} rows cannot be chosen of {len(vectors)}; give a number from 1 to {len(vectors)}")
    groups: dict[Hashable, list[int]] = {}
    for place, label in enumerate(labels if labels is not None else [None] * len(vectors)):
        groups.setdefault(label, []).append(place)
    faults = np.asarray(num_faults if num_faults is not None else np.zeros(len(vectors)), dtype=np.int64)
    stands_for = np.zeros(len(vectors), dtype=np.int64)
    for label, wanted in share_out({label: len(places) for label, places in groups.items()}, count).items():
        places = np.asarray(groups[label])
        if wanted:
            of_group = _of_group(vectors[places], faults[places], wanted, seed)
            stands_for[places] = places[of_group]
        else:  # too few rows are wanted for every label to have one
            stands_for[places] = -1
    chosen = {int(place) for place in stands_for if place >= 0}
    return Selection(tuple(sorted(chosen)), tuple(int(place) for place in stands_for))


def share_out(sizes: dict[Hashable, int], count: int) -> dict[Hashable, int]:
    """How many of `count` each group gets: one as long as there is room, the largest first, and the rest by size
    (Sainte-Laguë's rule); none more than it has.
    """
    order = sorted(sizes, key=lambda group: (-sizes[group], str(group)))
    given: Counter[Hashable] = Counter(order[:count])
    for _ in range(count - given.total()):
        open_groups = [group for group in order if given[group] < sizes[group]]
        given[max(open_groups, key=lambda group: sizes[group] / (2 * given[group] + 1))] += 1
    return {group: given[group] for group in sizes}


def _of_group(vectors: Vectors, faults: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Of each row the place of the chosen one that stands for it."""
    clusters, distances = clusters_of(vectors, count, seed)
    chosen: list[int] = []
    for cluster in np.unique(clusters):
        (members,) = np.nonzero(clusters == cluster)
        best = members[np.lexsort((members, distances[members], faults[members]))[0]]
        chosen.append(int(best))
    # Rows that are the same make fewer clusters than were wanted: the others are those farthest from what was chosen.
    while len(chosen) < count:
        nearest = _products(vectors, vectors[chosen]).max(axis=1)
        nearest[chosen] = np.inf
        chosen.append(int(np.lexsort((nearest, faults))[0]) if np.isfinite(nearest).all() else int(nearest.argmin()))
    places = np.asarray(sorted(chosen))
    own: NDArray[np.int64] = places[_products(vectors, vectors[places]).argmax(axis=1)]
    own[places] = places
    return own


def clusters_of(vectors: Vectors, count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The cluster of each row, and its distance to the middle."""
    if count == len(vectors):
        return np.arange(count), np.zeros(count, dtype=np.float32)
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    made: Any = KMeans if len(vectors) * count <= _MANY else MiniBatchKMeans
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer clusters than wanted are dealt with
        model = made(count, n_init=1, max_iter=_ITERATIONS, random_state=seed).fit(vectors)
    clusters: NDArray[np.int64] = model.labels_.astype(np.int64)
    middles = model.cluster_centers_[clusters]
    return clusters, np.linalg.norm(vectors - middles, axis=1)


def _products(rows: Vectors, others: Vectors) -> NDArray[np.float64]:
    return np.asarray(rows @ others.T, dtype=np.float64)
