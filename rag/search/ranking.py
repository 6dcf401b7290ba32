"""From a query to ranked chunk numbers, the same steps for every index:

retrieve(query, vector, 5, SearchSettings(mode="hybrid"), dense=..., lexical=..., allowed=None, texts_of=...)

What is not needed is not loaded: the views, the query's vector and the texts come from functions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag.chunking.duplicates import near_duplicates
from rag.errors import RagError
from rag.search.dense import VectorView
from rag.search.lexical import LexicalView
from rag.search.numbers import Numbers, Vectors, best
from rag.search.settings import Fusion, SearchSettings
from rag.torch_threads import silent_loading

# Numbers, best first, and their scores.
Ranking = tuple[Numbers, NDArray[np.float32]]

# Cormack, Clarke and Büttcher 2009, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
# Methods".
_RRF_K = 60


def retrieve(
    query: str,
    vector: Callable[[], Vectors],
    k: int,
    settings: SearchSettings,
    *,
    dense: Callable[[], VectorView],
    lexical: Callable[[], LexicalView],
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
        given = np.array(reranker.scores(query, texts_of(numbers.tolist())), dtype=np.float32)
        numbers, scores = best(numbers, given)
    if settings.threshold is not None:
        is_fused = settings.mode == "hybrid" and settings.reranker is None
        # A fused score says only how the candidates of one query compare: the best has a high one whatever it is.
        likeness = dense().vectors_of(numbers) @ vector() if is_fused and len(numbers) else scores
        kept = likeness >= settings.threshold
        numbers, scores = numbers[kept], scores[kept]
    if settings.distinct and len(numbers):
        repeated = [place for place, _, _ in near_duplicates(texts_of(numbers.tolist()))]
        numbers, scores = np.delete(numbers, repeated), np.delete(scores, repeated)
    if settings.mmr is not None and len(numbers):
        # BM25 has no upper end; the others are at most 1.
        relevance = scores / max(1.0, float(scores.max()))
        places = pick_diverse(relevance, dense().vectors_of(numbers), k, settings.mmr)
        numbers, scores = numbers[places], scores[places]
    return list(zip(numbers[:k].tolist(), scores[:k].tolist(), strict=True))


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


def pick_diverse(relevance: NDArray[np.float32], vectors: Vectors, k: int, weight: float) -> list[int]:
    """Maximal marginal relevance: candidates that answer the query without saying the same thing again.

    Gives places of k of n candidates in the order of their choice; ties go to the earlier candidate.

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


def _minmax(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    if not len(scores):
        return np.empty(0)
    low, high = float(scores.min()), float(scores.max())
    return (scores.astype(np.float64) - low) / (high - low) if high > low else np.ones(len(scores))


def _reciprocal_ranks(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    return (_RRF_K + 1) / (_RRF_K + 1 + np.arange(len(scores), dtype=np.float64))


class Reranker:
    """A sentence-transformers CrossEncoder with one output, which becomes a score by the logistic function.

    It reads query and passage together: slower than comparing vectors and better at it, so it ranks only the candidates
    that a search has found. May be called from several threads.
    """

    def __init__(self, model: str) -> None:
        """`model` is a folder or a model id. Raises RagError if it cannot be loaded or has several outputs."""
        if model.startswith(("/", ".", "~")) and not Path(model).expanduser().is_dir():
            raise RagError(f"no reranker in {model!r}; give a folder or an id of a sentence-transformers CrossEncoder")
        from sentence_transformers import CrossEncoder

        with silent_loading():
            try:
                self._model: Any = CrossEncoder(str(Path(model).expanduser()) if model.startswith("~") else model)
                num_outputs = self._model.num_labels
            except Exception as error:
                # The libraries raise a dozen types for a missing or broken model; each ends here with its own words.
                reason = str(error).split("\n", 1)[0]
                raise RagError(
                    f"reranker {model!r} cannot be loaded ({reason}); give a sentence-transformers CrossEncoder"
                ) from error
        if num_outputs != 1:
            raise RagError(f"reranker {model!r} has {num_outputs} outputs; give a CrossEncoder with one")
        self._name = model
        # A tokenizer must not be reconfigured while another thread uses it.
        self._lock = threading.Lock()

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers the query, in [0, 1]. Raises RagError if the model gives what is no number."""
        import torch

        pairs = [(query, text) for text in texts]
        with self._lock:
            raw = self._model.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False)
        logits = raw.astype(np.float64)
        if not np.isfinite(logits).all():
            raise RagError(f"reranker {self._name!r} gives scores that are no numbers; use another model")
        # In float64 a clear difference stays one where float32's logistic function has reached 1.
        return [float(score) for score in 1 / (1 + np.exp(-np.clip(logits, -500, 500)))]


# Each is loaded once.
load_reranker = lru_cache(maxsize=4)(Reranker)
