"""Training rows in groups that ask of the same: `find_topics(vectors, TopicSettings(count=8), seed=0)`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from storage.settings import NUMBER, Count, settings
from tuning.data.selection import clusters_of
from tuning.errors import TuningError

# Of the numbers of a centroid that are kept, which are also those that rows are assigned by.
_DECIMALS = 6


@settings(TuningError)
class TopicSettings:
    """An adapter that is a set: one for each topic of its training rows, the nearest of which answers a question."""

    count: Annotated[int, Field(ge=2), NUMBER] = 8
    """How many topics the training rows are divided into, by what their questions mean to the embedder."""
    least_rows: Count = 8
    """The rows of a topic that has fewer join the topics that are nearest to them."""
    threshold: Annotated[float, Field(ge=-1, le=1), NUMBER] = 0.2
    """The base model answers a question whose cosine with the nearest topic's centroid is lower; -1 always takes the
    nearest."""


@dataclass(frozen=True, slots=True)
class TopicRows:
    """The places of a topic's rows, in order, and the unit vector in their middle."""

    rows: tuple[int, ...]
    centroid: tuple[float, ...]


def find_topics(vectors: NDArray[np.float32], numbers: TopicSettings, *, seed: int) -> list[TopicRows]:
    """Divide n rows by their (n, dimension) unit vectors with k-means; every row is in the topic whose centroid is
    nearest to it, and topics are in the order of their first rows. The same vectors and seed give the same topics.

    Raises TuningError where no two topics have enough rows.
    """
    own, _ = clusters_of(vectors, min(numbers.count, len(vectors)), seed)
    while True:
        centroids = np.stack([_middle(vectors[own == cluster]) for cluster in np.unique(own)])
        own = (vectors @ centroids.T).argmax(axis=1)  # as a question is assigned
        sizes = np.bincount(own, minlength=len(centroids))
        if sizes.min() >= numbers.least_rows or len(centroids) == 1:
            break
        own = (vectors @ np.delete(centroids, sizes.argmin(), axis=0).T).argmax(axis=1)
    if len(centroids) < 2:
        raise TuningError(
            f"the questions of {len(vectors)} training rows make no two topics of {numbers.least_rows} rows each "
            "(least_rows); lower it, add rows, or train one adapter"
        )
    rows = [tuple(map(int, np.flatnonzero(own == topic))) for topic in range(len(centroids))]
    middles = [tuple(map(float, centroid)) for centroid in centroids]
    return sorted(map(TopicRows, rows, middles), key=lambda topic: topic.rows)


def _middle(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    mean = vectors.mean(axis=0, dtype=np.float64)
    middle: NDArray[np.float64] = np.round(mean / max(float(np.linalg.norm(mean)), 1e-12), _DECIMALS)
    return middle
