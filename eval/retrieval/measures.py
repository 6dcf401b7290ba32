"""Scores of document rankings, by pytrec_eval: `score_rankings([["a"]], [["b", "a"]])["mrr@10"]  # (0.5,)`.

Hit@5 is 1 where a gold document is among the first 5. Recall@k is the share of a question's gold documents among the
first k, MRR@10 one over the rank of the first gold document (0 below rank 10). nDCG@10 counts every gold document alike
with a log2 discount (Järvelin and Kekäläinen 2002). All lie in [0, 1].
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Literal, get_args

from rag.passage import Passage

DEPTH = 10
Measure = Literal["hit@5", "recall@1", "recall@3", "recall@5", "recall@10", "mrr@10", "ndcg@10"]
MEASURES: tuple[Measure, ...] = get_args(Measure)

# What pytrec_eval calls them.
_NAMES = ("success_5", "recall_1", "recall_3", "recall_5", "recall_10", "recip_rank", "ndcg_cut_10")


def rank_documents(passages: Iterable[Passage]) -> tuple[str, ...]:
    """The documents of ranked passages, each at the rank of its best passage, the first ten of them."""
    return tuple(dict.fromkeys(passage.document_id for passage in passages))[:DEPTH]


def score_rankings(
    golds: Sequence[Collection[str]], rankings: Sequence[Sequence[str]]
) -> dict[Measure, tuple[float, ...]]:
    """Every measure for every question, in their order. `golds` and `rankings` hold document ids, best first, without
    repeats; each question has a gold document.
    """
    import pytrec_eval

    judged = {str(number): dict.fromkeys(gold, 1) for number, gold in enumerate(golds)}
    ranked = {
        str(number): {name: float(DEPTH - place) for place, name in enumerate(ranking[:DEPTH])}
        for number, ranking in enumerate(rankings)
    }
    found = pytrec_eval.RelevanceEvaluator(judged, set(_NAMES)).evaluate(ranked)
    return {
        measure: tuple(float(found[str(number)][name]) for number in range(len(golds)))
        for measure, name in zip(MEASURES, _NAMES, strict=True)
    }
