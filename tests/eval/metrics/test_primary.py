from __future__ import annotations

import pytest

from eval.errors import EvalError
from eval.metrics.primary import check_declared, metrics_of, primary_column, unused_kinds
from eval.questions import Question

QUESTIONS = [
    Question("q1", "?", ("x",), (), {"kind": "fact"}),
    Question("q2", "?", ("x",), (), {"kind": "format"}),
    Question("q3", "?", ("x",)),
    Question("q4", "?", ("x",), (), {"kind": 7}),
]
COLUMNS = {"token_f1": [0.1, 0.2, 0.3, None], "exact_match": [0.0, 1.0, 0.0, 1.0]}


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
