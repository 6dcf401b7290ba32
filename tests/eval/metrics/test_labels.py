from __future__ import annotations

import pytest

from eval.answers import AnswerRecord
from eval.metrics.labels import Labels, label_scorer, label_sets, labels_of
from eval.questions import Question

CARDS = Labels(["card_payment", "card_payment_fee_charged", "Refund_not_showing_up", "lost card?"])
LETTERS = Labels(["A", "B", "C"])
VERDICTS = Labels(["yes", "no", "maybe"])


@pytest.mark.parametrize(
    ("labels", "answer", "label"),
    [
        (CARDS, "card_payment", "card payment"),
        (CARDS, "Card payment.", "card payment"),
        (CARDS, "lost_card", "lost card"),
        (CARDS, "The intent is card_payment_fee_charged.", "card payment fee charged"),  # the longest, not its part
        (CARDS, "card_payment or lost card", None),  # two labels
        (CARDS, "card_payments", None),  # whole words only
        (CARDS, "card_payment, yes: card_payment", "card payment"),  # one label, named twice
        (CARDS, "", None),
        (VERDICTS, "Yes, it does.", "yes"),
        (VERDICTS, "There is no evidence, so yes", None),
        (VERDICTS, "It is unknown", None),
        (LETTERS, "a", "a"),
        (LETTERS, "(B)", "b"),
        (LETTERS, "The answer is B, a safe choice", "b"),  # the article is no label
        (LETTERS, "A or B", None),
        (Labels(["+", "-"]), "+", "+"),
        (Labels([]), "anything", None),
    ],
)
def test_an_answer_names_one_label_or_none(labels: Labels, answer: str, label: str | None) -> None:
    assert labels.find(answer) == label


def test_every_row_has_its_label_and_its_kind_where_there_are_several() -> None:
    yes = [Question(f"{i}", "Is it?", (("yes", "no")[i % 2],), metadata={"kind": "verdict"}) for i in range(4)]
    free = [Question(f"f{i}", "Who?", (f"name {i}",)) for i in range(4)]
    assert labels_of([*yes[:3], *free, yes[3]]) == ["yes", "no", "yes", None, None, None, None, "no"]
    topics = [Question(f"t{i}", "What?", (("card", "cash")[i % 2],), metadata={"kind": "topic"}) for i in range(4)]
    assert labels_of([*yes[:2], *topics, *yes[2:]])[1:4] == ["verdict: no", "topic: card", "topic: cash"]
    assert labels_of(free) == [None] * 4


def asked(golds: list[str], kind: str | None = None) -> list[Question]:
    metadata = {} if kind is None else {"kind": kind}
    return [Question(f"{kind}-{i}", f"{i}?", (gold,), (), metadata) for i, gold in enumerate(golds)]


@pytest.mark.parametrize(
    ("golds", "labels"),
    [
        (["yes", "no", "Yes.", "no"], {"yes", "no"}),
        (["yes", "no", "maybe"], None),  # each but once: free answers for all we know
        (["yes"] * 4, None),  # one gold is no choice
        ([f"label_{i % 100}" for i in range(200)], {f"label {i}" for i in range(100)}),
        ([f"label_{i % 101}" for i in range(404)], None),
    ],
)
def test_golds_are_labels_when_they_are_few_and_used_often(golds: list[str], labels: set[str] | None) -> None:
    sets = label_sets(asked(golds))
    assert sets[None].forms == labels if labels else not sets


def test_each_kind_of_question_has_labels_of_its_own() -> None:
    facts = asked(["cedar", "Ada", "nine", "blue wax"], "fact")
    sets = label_sets([*facts, *asked(["TALLY/ebb", "TALLY/flood"] * 2, "format")])
    assert {kind: labels.forms for kind, labels in sets.items()} == {"format": {"tally ebb", "tally flood"}}


def test_training_rows_bring_further_labels_of_their_kind_only_where_theirs_are_labels() -> None:
    questions = asked(["yes", "no"] * 2)
    rows = [Question(f"t{i}", "?", (answer,)) for i, answer in enumerate(["yes", "maybe"] * 2)]
    assert label_sets(questions, rows)[None].forms == {"yes", "no", "maybe"}
    free = [Question(f"t{i}", "?", (f"answer {i}",)) for i in range(4)]
    assert label_sets(questions, free)[None].forms == {"yes", "no"}
    assert label_sets(asked(["cedar", "Ada"]), rows) == {}


def test_accuracy_is_scored_on_label_questions_only() -> None:
    label, other, fact = (
        Question("q1", "1?", ("card_payment", "lost card?"), (), {"kind": "intent"}),
        Question("q2", "2?", ("card_payment",), (), {"kind": "intent"}),
        Question("q3", "3?", ("cedar",), (), {"kind": "fact"}),
    )
    pairs = [
        (label, AnswerRecord("base", "q1", "It is the lost card intent")),
        (label, AnswerRecord("base", "q1", "no idea")),
        (label, AnswerRecord("base", "q1", "", error="the engine answered 500")),
        (other, AnswerRecord("base", "q2", "lost card")),
        (fact, AnswerRecord("base", "q3", "cedar")),
        (fact, AnswerRecord("base", "q3", "", error="the engine answered 500")),
    ]
    seen: list[int] = []
    scorer = label_scorer({"intent": CARDS})
    found = scorer.score(pairs, lambda done, _: seen.append(done))
    assert found == {"label_accuracy": [1.0, 0.0, 0.0, 0.0, None, None]}
    assert seen == [1, 2, 3, 4, 5, 6]


def test_a_gold_that_is_no_label_of_the_given_set_is_unscored() -> None:
    pair = (Question("q", "?", ("another intent",)), AnswerRecord("base", "q", "another intent"))
    assert label_scorer({None: CARDS}).score([pair]) == {"label_accuracy": [None]}
