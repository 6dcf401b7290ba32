"""Scores of sources against the gold documents: what was cited, and what was retrieved. No model is asked.

SourceScorer(lambda name: bool(index.chunks_of(name))).score(pairs)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from eval.answers import AnswerRecord
from eval.questions import Question
from eval.scorer import Pair, Progress


class SourceScorer:
    """Set precision and recall over document ids.

    `retrieval_recall` is the share of the gold documents among the retrieved ones (recall@k at the arm's own k),
    `citation_recall` their share among the cited ones, `citation_precision` the share of cited documents that are gold
    (as ALCE's citation quality, Gao et al. 2023, with gold documents in the place of its entailment model).

    Unscored where no gold document is known, where the answer rests on no documents (nothing was retrieved, or worked
    examples were), and precision where nothing is cited.
    """

    names: tuple[str, ...] = ("citation_precision", "citation_recall", "retrieval_recall")

    def __init__(self, is_document: Callable[[str], bool] | None = None) -> None:
        """`is_document(id)` says whether an id is one of the documents; without it every retrieved id is."""
        self._is_document = is_document or (lambda _: True)

    def score(self, pairs: Sequence[Pair], progress: Progress | None = None) -> dict[str, list[float | None]]:
        """Scores of every answer; a failed answer is None."""
        scores: dict[str, list[float | None]] = {name: [] for name in self.names}
        for done, (question, record) in enumerate(pairs, start=1):
            for name, value in zip(self.names, self._score(question, record), strict=True):
                scores[name].append(value)
            if progress is not None:
                progress(done, len(pairs))
        return scores

    def diagnostics(self) -> tuple[str, ...]:
        """Nothing is lost: what is unscored here is undefined."""
        return ()

    def _score(self, question: Question, record: AnswerRecord) -> tuple[float | None, float | None, float | None]:
        gold, cited = set(question.document_ids), set(record.cited_documents)
        retrieved = {name for name in record.passage_documents if self._is_document(name)}
        if not gold or not retrieved or record.error is not None:
            return None, None, None
        return (
            len(cited & gold) / len(cited) if cited else None,
            len(cited & gold) / len(gold),
            len(retrieved & gold) / len(gold),
        )
