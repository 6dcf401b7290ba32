"""From a query to ranked chunk numbers, the same steps for every index:

retrieve(query, vector, 5, SearchSettings(mode="hybrid"), dense=..., lexical=..., allowed=None, texts_of=...)

What is not needed is not loaded: the views, the query's vector and the texts come from functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rag.chunking.duplicates import drop_near_duplicates
from rag.search.diversity import pick_diverse
from rag.search.fusion import Ranking, fuse
from rag.search.numbers import Numbers
from rag.search.rerank import Reranker, load_reranker
from rag.search.settings import SearchSettings


class DenseSearch(Protocol):
    """What a ranking by vectors needs of a view."""

    def search(self, vector: NDArray[np.float32], k: int, allowed: Numbers | None = None) -> Ranking: ...

    def vectors_of(self, numbers: Numbers) -> NDArray[np.float32]: ...


class LexicalSearch(Protocol):
    """What a ranking by words needs of a view."""

    def search(self, query: str, k: int, allowed: Numbers | None = None) -> Ranking: ...


def retrieve(
    query: str,
    vector: Callable[[], NDArray[np.float32]],
    k: int,
    settings: SearchSettings,
    *,
    dense: Callable[[], DenseSearch],
    lexical: Callable[[], LexicalSearch],
    allowed: Numbers | None,
    texts_of: Callable[[Sequence[int]], Sequence[str]],
    reranker: Reranker | None = None,
) -> list[tuple[int, float]]:
    """The k best numbers with their scores, best first; fewer if fewer are found.

    Scores are those of the last step that ranked: the reranker's in [0, 1], the fusion's in [0, 1], cosines in [-1, 1],
    or BM25's above 0. They decide the order, ties go by number; MMR alone orders otherwise, and leaves the scores.
    `texts_of` gives the texts of numbers in their order. `reranker` stands in for loading the one that the settings
    name.
    """
    if allowed is not None and not len(allowed):
        return []
    needs_candidates = settings.reranker is not None or settings.mmr is not None or settings.distinct
    depth = max(k, settings.candidates) if needs_candidates or settings.mode == "hybrid" else k
    rankings = []
    if settings.mode != "bm25":
        rankings.append(dense().search(vector(), depth, allowed))
    if settings.mode != "dense":
        rankings.append(lexical().search(query, depth, allowed))
    numbers, scores = rankings[0]
    if len(rankings) == 2:
        numbers, scores = fuse(*rankings, method=settings.fusion, dense_weight=settings.dense_weight)
        numbers, scores = numbers[:depth], scores[:depth]
    if settings.reranker is not None and len(numbers):
        reranker = reranker or load_reranker(settings.reranker)
        scores = np.array(reranker.scores(query, texts_of(numbers.tolist())), dtype=np.float32)
        order = np.lexsort((numbers, -scores))
        numbers, scores = numbers[order], scores[order]
    if settings.threshold is not None:
        is_fused = settings.mode == "hybrid" and settings.reranker is None
        # A fused score says only how the candidates of one query compare: the best has a high one whatever it is.
        likeness = dense().vectors_of(numbers) @ vector() if is_fused and len(numbers) else scores
        kept = likeness >= settings.threshold
        numbers, scores = numbers[kept], scores[kept]
    if settings.distinct and len(numbers):
        places = drop_near_duplicates(texts_of(numbers.tolist()))
        numbers, scores = numbers[places], scores[places]
    if settings.mmr is not None and len(numbers):
        # BM25 has no upper end; the others are at most 1.
        relevance = scores / max(1.0, float(scores.max()))
        places = pick_diverse(relevance, dense().vectors_of(numbers), k, settings.mmr)
        numbers, scores = numbers[places], scores[places]
    return list(zip(numbers[:k].tolist(), scores[:k].tolist(), strict=True))
