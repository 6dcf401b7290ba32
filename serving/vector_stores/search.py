"""A search in a vector store: several queries over one index, each passage once.

passages = search_index(index, SearchFields(query=["When does the desk open?"]), SearchSettings())
"""

from __future__ import annotations

from dataclasses import replace

from rag.index import Index
from rag.passage import Passage
from rag.search.settings import SearchSettings
from serving.vector_stores.request import RankingOptions, SearchFields


def search_index(index: Index, asked: SearchFields, settings: SearchSettings) -> list[Passage]:
    """As many passages as are asked for, of all queries together, ranked by the best score that one of them gave.

    Raises RagError.
    """
    options, k = asked.ranking_options or RankingOptions(), asked.max_num_results
    if options.ranker == "none":
        settings = replace(settings, reranker=None)
    if options.score_threshold is not None:
        settings = replace(settings, threshold=options.score_threshold)
    best: dict[str, Passage] = {}
    for query in asked.query:
        for passage in index.search(query, k, settings=settings, filters=asked.filters):
            known = best.get(passage.chunk_id)
            if known is None or passage.score > known.score:
                best[passage.chunk_id] = passage
    if len(asked.query) == 1:
        return list(best.values())
    return sorted(best.values(), key=lambda passage: (-passage.score, passage.rank, passage.chunk_id))[:k]
