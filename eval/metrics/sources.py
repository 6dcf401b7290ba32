"""Scores of sources against the gold documents: what was cited, and what was retrieved. No model is asked.

source_scorer(lambda name: bool(index.chunks_of(name))).score(pairs)
"""

from __future__ import annotations

from collections.abc import Callable

from eval.answers import AnswerRecord
from eval.questions import Question
from eval.scorer import Scorer


def source_scorer(is_document: Callable[[str], bool] | None = None) -> Scorer:
    """Set precision and recall over document ids.

    `retrieval_recall` is the share of the gold documents among the retrieved ones (recall@k at the arm's own k),
    `citation_recall` their share among the cited ones, `citation_precision` the share of cited documents that are gold
    (as ALCE's citation quality, Gao et al. 2023, with gold documents in the place of its entailment model).

    Unscored where the answer failed, where no gold document is known, where the answer rests on no documents (nothing
    was retrieved, or worked examples were), and precision where nothing is cited. `is_document(id)` says whether an id
    is one of the documents; without it every retrieved id is.
    """

    def score(question: Question, record: AnswerRecord) -> tuple[float | None, ...]:
        gold, cited = set(question.document_ids), set(record.cited_documents)
        retrieved = {name for name in record.passage_documents if is_document is None or is_document(name)}
        if not gold or not retrieved:
            return None, None, None
        return (
            len(cited & gold) / len(cited) if cited else None,
            len(cited & gold) / len(gold),
            len(retrieved & gold) / len(gold),
        )

    names = ("citation_precision", "citation_recall", "retrieval_recall")
    return Scorer(names, score, when_failed=[None] * len(names))
