from __future__ import annotations

import pytest

from eval.answers import AnswerRecord
from eval.metrics.sources import source_scorer
from eval.questions import Question

DOCUMENTS = {"desk", "hours", "boats", "rules"}


def scores_of(
    gold: tuple[str, ...], retrieved: tuple[str, ...], cited: tuple[str, ...], error: str | None = None
) -> list[float | None]:
    """Citation precision, citation recall, retrieval recall."""
    record = AnswerRecord("rag", "q", "x", passage_documents=retrieved, cited_documents=cited, error=error)
    scores = source_scorer(DOCUMENTS.__contains__).score([(Question("q", "?", ("x",), gold), record)])
    return [scores[name][0] for name in ("citation_precision", "citation_recall", "retrieval_recall")]


@pytest.mark.parametrize(
    ("gold", "retrieved", "cited", "scores"),
    [
        (("desk",), ("desk", "boats"), ("desk",), [1.0, 1.0, 1.0]),
        # one of two cited is gold, one of two gold ones is cited, both were retrieved
        (("desk", "hours"), ("desk", "hours", "boats"), ("desk", "boats"), [0.5, 0.5, 1.0]),
        # two chunks of one document are one document
        (("desk", "hours"), ("desk", "desk"), ("desk", "desk"), [1.0, 0.5, 0.5]),
        (("desk",), ("boats", "rules"), ("boats",), [0.0, 0.0, 0.0]),
        (("desk",), ("desk",), (), [None, 0.0, 1.0]),  # nothing is cited
        ((), ("desk",), ("desk",), [None, None, None]),  # no gold document is known
        (("desk",), (), (), [None, None, None]),  # the arm has no documents
        (("desk",), ("example-1", "example-2"), ("example-1",), [None, None, None]),  # worked examples
    ],
)
def test_sources_are_scored_as_sets_of_documents(
    gold: tuple[str, ...], retrieved: tuple[str, ...], cited: tuple[str, ...], scores: list[float | None]
) -> None:
    assert scores_of(gold, retrieved, cited) == scores


def test_a_failed_answer_is_unscored() -> None:
    assert scores_of(("desk",), ("desk",), ("desk",), error="the engine answered 500") == [None, None, None]


def test_without_a_predicate_every_retrieved_id_is_a_document() -> None:
    question = Question("q", "?", ("x",), ("new",))
    record = AnswerRecord("rag", "q", "x", passage_documents=("new",))
    assert source_scorer().score([(question, record)])["retrieval_recall"] == [1.0]
