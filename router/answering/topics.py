"""Which adapter of a set answers a question: that of the topic whose centroid is nearest.

chooser = TopicChooser.of(adapter, embedder)
chooser.choose("When does the loan desk open?")     # "memory-topic-2@3f9c01ab", or None for the base model
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag.embedding.embedder import Embedder
from router.errors import RouterError
from tuning.export.adapters import Adapter


@dataclass(frozen=True, slots=True, eq=False)
class TopicChooser:
    """`adapters` and the rows of `centroids`, (n, dimension), are in one order. Safe to call from several threads."""

    adapters: tuple[str, ...]
    centroids: NDArray[np.float64]
    threshold: float
    embedder: Embedder

    @classmethod
    def of(cls, adapter: Adapter, embedder: Embedder) -> TopicChooser:
        """That of a set. Raises RouterError where another embedder compared its questions."""
        topics = adapter.topics
        assert topics is not None, "only a set has topics"
        if topics.embedder != embedder.name:
            raise RouterError(
                f"adapter {adapter.name!r} chooses by embedder {topics.embedder!r}, and this one is {embedder.name!r}; "
                "give the config that names it, or train again"
            )
        centroids = np.array([topic.centroid for topic in topics.topics])
        return cls(tuple(topic.adapter for topic in topics.topics), centroids, topics.threshold, embedder)

    def choose(self, question: str) -> str | None:
        """The name of the adapter that answers a question; None where no topic is as near as the threshold."""
        # As the rows were embedded, whatever prefix the embedder has for what is searched.
        (vector,) = self.embedder.embed([question])
        cosines = self.centroids @ vector
        nearest = int(cosines.argmax())
        return self.adapters[nearest] if cosines[nearest] >= self.threshold else None


def choosers(adapters: Iterable[Adapter], embedder: Embedder) -> dict[str, TopicChooser]:
    """One for each set among adapters, by its name. Raises RouterError."""
    return {one.name: TopicChooser.of(one, embedder) for one in adapters if one.topics is not None}
