from __future__ import annotations

import pytest

from eval.answers import AnswerRecord
from eval.errors import EvalError
from eval.metrics.catalogue import (
    all_metric_names,
    built_in_names,
    check_declared,
    check_scorable,
    metrics_of,
    plain_metric_names,
    plain_scorers,
    primary_column,
    source_scorer,
    unused_kinds,
)
from eval.metrics.labels import label_sets
from eval.metrics.ragas import JUDGE_METRICS
from eval.questions import Question

QUESTIONS = [
    Question("q1", "?", ("x",), (), {"kind": "fact"}),
    Question("q2", "?", ("x",), (), {"kind": "format"}),
    Question("q3", "?", ("x",)),
    Question("q4", "?", ("x",), (), {"kind": 7}),
]
COLUMNS = {"token_f1": [0.1, 0.2, 0.3, None], "exact_match": [0.0, 1.0, 0.0, 1.0]}


def test_the_plain_scorers_give_just_the_plain_metrics() -> None:
    question = Question("q", "Who?", ("Ada",))
    scorers = plain_scorers({})
    assert tuple(name for scorer in scorers for name in scorer.names) == plain_metric_names()
    columns = {}
    for scorer in scorers:
        columns |= scorer.score([(question, AnswerRecord("base", "q", "Ada"))])
        assert scorer.diagnostics() == ()
    assert tuple(columns) == plain_metric_names()


def test_no_name_stands_for_two_metrics() -> None:
    assert len(set(built_in_names())) == len(built_in_names())
    assert "primary" in built_in_names()


def test_a_policy_may_name_every_metric_but_those_that_only_describe() -> None:
    names = all_metric_names(["own"])
    assert {"label_accuracy", "json_f1", "rouge_l", "semantic_similarity", "own"} <= set(names)
    assert "abstained" not in names
    assert not set(JUDGE_METRICS) & set(names)
    assert set(JUDGE_METRICS) <= set(all_metric_names(has_judge=True))


def test_one_metric_for_all_is_its_own_column() -> None:
    assert primary_column(QUESTIONS, COLUMNS, "token_f1") == ([0.1, 0.2, 0.3, None], {})


def test_each_row_is_scored_by_the_metric_of_its_kind() -> None:
    declared = {"default": "token_f1", "format": "exact_match"}
    assert primary_column(QUESTIONS, COLUMNS, declared) == ([0.1, 1.0, 0.3, None], declared)
    declared = {"default": "token_f1", "7": "exact_match"}
    assert primary_column(QUESTIONS, COLUMNS, declared)[0] == [0.1, 0.2, 0.3, 1.0]


def test_an_unscored_row_stays_unscored() -> None:
    column, _ = primary_column(QUESTIONS[:1], {"token_f1": [None], "exact_match": [1.0]}, {"default": "token_f1"})
    assert column == [None]


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (
            "token_f2",
            r"no metric 'token_f2' for policy.metric \(did you mean 'token_f1'\?\); choose one of: token_f1, ex",
        ),
        (
            {"default": "token_f1", "a": "bleu", "b": "chrf"},
            "no metric 'bleu', 'chrf' for policy.metric; choose one of",
        ),
        ({"format": "token_f1"}, "policy.metric maps format and has no 'default'; add that key"),
        ({}, "policy.metric maps nothing and has no 'default'"),
    ],
)
def test_a_wrong_declaration_is_named(declared: str | dict[str, str], message: str) -> None:
    with pytest.raises(EvalError, match=message):
        check_declared(declared, ("token_f1", "exact_match"))
    with pytest.raises(EvalError, match=message):
        primary_column(QUESTIONS, COLUMNS, declared)


def test_declared_metrics_are_listed_once() -> None:
    assert metrics_of("token_f1") == ("token_f1",)
    assert metrics_of({"default": "a", "x": "b", "y": "a"}) == ("a", "b")


def test_kinds_that_no_question_has_are_told() -> None:
    assert unused_kinds({"default": "a", "fact": "b", "formal": "b"}, QUESTIONS) == ("formal",)
    assert unused_kinds("a", QUESTIONS) == ()


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


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        ("label_accuracy", "labels are 2 to 100 different answers, each given 2 times on average"),
        ("json_f1", "no gold answer is a JSON object or array"),
        ({"default": "json_f1", "fact": "json_exact"}, "'json_f1' and 'json_exact' scores none of the 4 questions"),
    ],
)
def test_a_metric_that_scores_no_answer_is_refused(metric: str | dict[str, str], reason: str) -> None:
    with pytest.raises(EvalError, match=reason):
        check_scorable(metric, QUESTIONS, label_sets(QUESTIONS))


@pytest.mark.parametrize(
    "metric",
    ["token_f1", "retrieval_recall", "judge_correctness", "own", {"default": "json_f1", "fact": "exact_match"}],
)
def test_a_metric_that_may_score_some_answer_is_taken(metric: str | dict[str, str]) -> None:
    check_scorable(metric, QUESTIONS, label_sets(QUESTIONS))


def test_few_questions_have_the_labels_of_all() -> None:
    every = [Question(f"q{i}", "?", (label,)) for i, label in enumerate(["card", "cash"] * 2)]
    check_scorable("label_accuracy", every[:2], label_sets(every))
    with pytest.raises(EvalError, match="scores none of the 2 questions"):
        check_scorable("label_accuracy", every[:2], label_sets(every[:2]))
    check_scorable("label_accuracy", [], {})
