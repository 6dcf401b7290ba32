"""A search in a vector store: several queries over one index, each passage once.

found = search_index(index, asked, SearchSettings())
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from rag.index import Index
from rag.passage import Passage
from rag.search.settings import SearchSettings
from serving.vector_stores.request import Search


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave: the queries as they were searched, and passages, best first."""

    queries: tuple[str, ...]
    passages: tuple[Passage, ...]


def search_index(index: Index, asked: Search, settings: SearchSettings) -> Found:
    """At most `asked.k` passages for all queries, ranked by the best score that one of them gave. Raises RagError."""
    if not asked.has_reranker:
        settings = replace(settings, reranker=None)
    if asked.threshold is not None:
        settings = replace(settings, threshold=asked.threshold)
    best: dict[str, Passage] = {}
    for query in asked.queries:
        for passage in index.search(query, asked.k, settings=settings, filters=asked.filters):
            known = best.get(passage.chunk_id)
            if known is None or passage.score > known.score:
                best[passage.chunk_id] = passage
    if len(asked.queries) == 1:
        return Found(asked.queries, tuple(best.values()))
    ranked = sorted(best.values(), key=lambda passage: (-passage.score, passage.rank, passage.chunk_id))
    return Found(asked.queries, tuple(ranked[: asked.k]))
