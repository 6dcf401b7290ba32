from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
from fakes.comparison import Comparison

from eval.answers import AnswerRecord
from eval.metrics.labels import Labels
from eval.questions import Question
from eval.report.attribution import (
    CAUSES,
    FAULTS,
    Attribution,
    Cause,
    attribute,
    attribute_question,
    is_format_wrong,
)
from router.answering.arm import Arm
from router.answering.prompts import FEWSHOT
from router.deciding.scorecard import ArmScores, Scorecard

BASE = Arm("base")
RAG = Arm("rag", index="docs")
TUNED = Arm("tuned", adapter="a@1")
TUNED_RAG = Arm("tuned_rag", adapter="a@1", index="docs")
HYBRID = Arm("hybrid", adapter="raft@2", index="docs")
EXAMPLES = Arm("fewshot", index="examples", prompt=FEWSHOT)


def compare(
    scores: dict[Arm, list[float | None]], retrieved: dict[str, list[str]], gold: list[tuple[str, ...]]
) -> tuple[Attribution, ...]:
    """Attribution of made-up scores; `retrieved` maps an arm's name to the one document it saw per question."""
    questions = [Question(f"q{i}", "?", ("x",), names) for i, names in enumerate(gold)]
    ids = tuple(question.id for question in questions)
    nothing = (None,) * len(ids)
    card = Scorecard(
        question_ids=ids,
        clusters=ids,
        primary="f1",
        arms=tuple(ArmScores(arm, {"f1": tuple(values)}, nothing, nothing, nothing) for arm, values in scores.items()),
    )
    records = [
        AnswerRecord(arm, ids[i], "", passage_documents=(name,))
        for arm, names in retrieved.items()
        for i, name in enumerate(names)
    ]
    return attribute(card, questions, records)


@pytest.mark.parametrize(
    ("is_right", "retrieved", "is_known", "cause"),
    [
        (True, "gold", False, "read correctly"),
        (True, "gold", True, "read correctly"),
        (True, "other", False, "known without help"),
        (True, "other", True, "known without help"),
        (False, "other", False, "retrieval missed"),
        (False, "gold", False, "reader missed"),
        (False, "other", True, "misled by noise"),
        (False, "gold", True, "misled by noise"),
    ],
)
def test_every_answer_has_one_cause(is_right: bool, retrieved: str, is_known: bool, cause: Cause) -> None:
    record = AnswerRecord("rag", "q", "wood", passage_documents=("noise", retrieved))
    asked = Question("q", "?", ("cedar",), ("gold",))
    assert attribute_question(asked, record, is_right=is_right, is_known=is_known) == cause


@pytest.mark.parametrize(
    ("is_right", "text", "is_known", "cause"),
    [
        (True, "cedar", False, "known without help"),
        (False, "it is cedar wood", True, "format wrong"),
        (False, "oak", True, "misled by noise"),
        (False, "oak", False, "not known"),
    ],
)
def test_a_question_without_gold_documents_has_a_cause_too(
    is_right: bool, text: str, is_known: bool, cause: Cause
) -> None:
    record = AnswerRecord("rag", "q", text, passage_documents=("noise",))
    asked = Question("q", "?", ("cedar",))
    assert attribute_question(asked, record, is_right=is_right, is_known=is_known) == cause


def test_a_retrieved_gold_document_does_not_hide_a_wrong_form() -> None:
    asked = Question("q", "?", ("cedar",), ("gold",))
    record = AnswerRecord("rag", "q", "The cards are made of cedar.", passage_documents=("gold",))
    assert attribute_question(asked, record, is_right=False, is_known=True) == "format wrong"


LABELS = Labels(["card_arrival", "card_arrival_delay", "refund"])


@pytest.mark.parametrize(
    ("answer", "golds", "labels", "is_wrong"),
    [
        ("Cedar wood, of course", ("cedar",), None, True),
        ("Cedarwood", ("cedar",), None, False),
        ("oak", ("cedar",), None, False),
        ("the second accepted one is larch", ("cedar", "larch"), None, True),
        ('Here it is: {"people": 3}', ('{"people": 3}',), None, True),
        ('```json\n{"people": 3}\n```', ('{"people": 3}',), None, True),
        ('{"people": 4}', ('{"people": 3}',), None, False),
        ('{"people": 3, "day": "Monday"}', ('{"people": 3}',), None, False),
        ("three people", ("[3]",), None, True),
        ("31", ("31.0",), None, False),
        ("the label is: refund", ("refund",), LABELS, True),
        ("delivery", ("refund",), LABELS, True),
        ("card arrival", ("refund",), LABELS, False),
        ("refund or card arrival", ("refund",), LABELS, True),
        ("It is card arrival delay.", ("card_arrival",), LABELS, False),
        ("It is card arrival delay.", ("card_arrival_delay",), LABELS, True),
    ],
)
def test_a_form_is_wrong_where_the_words_are_right(
    answer: str, golds: tuple[str, ...], labels: Labels | None, is_wrong: bool
) -> None:
    assert is_format_wrong(answer, golds, labels) == is_wrong


def test_an_answer_outside_the_labels_of_its_kind_is_wrong_in_form() -> None:
    # Two notes a label: flood and ebb are labels, so an answer that is neither is wrong in form. The facts are not.
    notes = [Question(f"n{i}", "?", (gold,), metadata={"kind": "note"}) for i, gold in enumerate(["flood", "ebb"] * 2)]
    facts = [Question(f"f{i}", "?", (gold,), metadata={"kind": "fact"}) for i, gold in enumerate(["cedar", "nine"])]
    questions = [*notes, *facts]
    ids = tuple(question.id for question in questions)
    nothing = (None,) * len(ids)
    card = Scorecard(ids, ids, "f1", (ArmScores(BASE, {"f1": (0.0,) * len(ids)}, nothing, nothing, nothing),))
    texts = ["the tide rises", "flood", "flooding", "The tide: ebb", "the tide rises", "the tide rises"]
    records = [AnswerRecord("base", name, text) for name, text in zip(ids, texts, strict=True)]
    (found,) = attribute(card, questions, records)
    assert list(found.causes.values()) == [
        "format wrong",
        "not known",
        "format wrong",
        "format wrong",
        "not known",
        "not known",
    ]


def test_all_but_the_causes_of_right_answers_are_faults() -> None:
    assert set(CAUSES) == set(get_args(Cause))
    assert set(FAULTS) == set(CAUSES) - {"read correctly", "known without help"}


def test_the_causes_of_a_rag_arm_are_counted_by_hand() -> None:
    _, found = compare(
        {
            BASE: [0.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            RAG: [0.9, 0.5, 0.2, 0.49, 0.0, 0.0],
        },
        {"rag": ["a", "other", "other", "d", "e", "other"]},
        [("a",), ("b",), ("c",), ("d",), ("e",), ("f",)],
    )
    # 0.9 with its document read correctly; 0.5 is right and its document was missed; c and f were missed;
    # d was retrieved and misread; e is what base knows.
    assert found.causes == {
        "q0": "read correctly",
        "q1": "known without help",
        "q2": "retrieval missed",
        "q3": "reader missed",
        "q4": "misled by noise",
        "q5": "retrieval missed",
    }
    assert found.counts == {
        "read correctly": 1,
        "known without help": 1,
        "retrieval missed": 2,
        "reader missed": 1,
        "misled by noise": 1,
        "format wrong": 0,
        "not known": 0,
    }
    assert (found.arm, found.control, len(found.causes), found.num_wrong, found.num_unknown) == ("rag", "base", 6, 4, 0)
    assert found.main_fault == "retrieval missed"
    assert [name for name, cause in found.causes.items() if cause == "retrieval missed"] == ["q2", "q5"]


def test_arms_without_documents_know_or_do_not(comparison: Comparison) -> None:
    found = {a.arm: a for a in attribute(comparison.scorecard, comparison.questions, comparison.records)}
    # base answers one fact; the other 11 facts and 8 notes are not known.
    assert found["base"].control is None
    assert found["base"].counts == dict.fromkeys(CAUSES, 0) | {"known without help": 1, "not known": 19}
    # fewshot has one fact, two notes and a half-right note; base, its control, knows the fact that it lost.
    assert found["fewshot"].control == "base"
    assert found["fewshot"].counts == dict.fromkeys(CAUSES, 0) | {
        "known without help": 4,
        "misled by noise": 1,
        "not known": 15,
    }


def test_the_comparison_is_attributed_question_by_question(comparison: Comparison) -> None:
    found = {a.arm: a for a in attribute(comparison.scorecard, comparison.questions, comparison.records)}
    hybrid = found["hybrid"]
    # Facts  w r r r r r r r w r h x, documents retrieved r r r r r r r w w r r r, base right on the first only.
    assert hybrid.causes["fact-0"] == "misled by noise"
    assert [hybrid.causes[f"fact-{i}"] for i in (7, 8, 9, 10)] == [
        "known without help",
        "retrieval missed",
        "read correctly",
        "read correctly",
    ]
    assert "fact-11" not in hybrid.causes
    assert hybrid.num_unknown == 1
    # Notes  r r r r r w r r have no gold document.
    assert hybrid.causes["note-5"] == "not known"
    assert hybrid.counts["known without help"] == 1 + 7


def test_any_of_several_gold_documents_counts_as_retrieved() -> None:
    _, found = compare({BASE: [0.0], RAG: [0.0]}, {"rag": ["second"]}, [("first", "second")])
    assert found.counts["reader missed"] == 1


def test_the_control_has_the_same_adapter_where_there_is_one() -> None:
    # tuned knows the answer and base does not: tuned_rag was misled, hybrid with another adapter was not.
    scores: dict[Arm, list[float | None]] = {BASE: [0.0], TUNED: [1.0], TUNED_RAG: [0.0], HYBRID: [0.0]}
    found = compare(scores, {"base": [""], "tuned": [""], "tuned_rag": ["a"], "hybrid": ["a"]}, [("a",)])
    assert [(a.arm, a.control) for a in found] == [
        ("base", None),
        ("tuned", None),
        ("tuned_rag", "tuned"),
        ("hybrid", "base"),
    ]
    assert found[2].causes == {"q0": "misled by noise"}
    assert found[3].causes == {"q0": "reader missed"}


def test_without_a_control_nothing_is_called_noise() -> None:
    (found,) = compare({RAG: [0.0, 1.0]}, {"rag": ["a", "b"]}, [("a",), ("b",)])
    assert found.control is None
    assert (found.counts["reader missed"], found.counts["read correctly"]) == (1, 1)


def test_unscored_and_unkept_answers_are_left_out_and_counted() -> None:
    _, found = compare({BASE: [1.0, 0.0, 0.0], RAG: [None, 0.0, 1.0]}, {"rag": ["a", "b"]}, [("a",), (), ("c",)])
    assert found.causes == {"q1": "not known"}
    assert found.num_unknown == 2


def test_an_answer_that_failed_has_no_cause_though_it_is_scored_0() -> None:
    ids, nothing = ("q0",), (None,)
    rag = ArmScores(RAG, {"f1": (0.0,)}, nothing, nothing, nothing, errors={"q0": "too long"})
    records = [AnswerRecord("rag", "q0", "", error="too long")]
    (found,) = attribute(Scorecard(ids, ids, "f1", (rag,)), [Question("q0", "?", ("x",), ("a",))], records)
    assert (found.causes, found.num_wrong, found.num_unknown) == ({}, 0, 1)


def test_questions_that_a_race_did_not_ask_are_neither_known_nor_unknown() -> None:
    ids, nothing = ("q0", "q1"), (None, None)
    rag = ArmScores(RAG, {"f1": (0.0, None)}, nothing, nothing, nothing, not_asked=("q1",))
    questions = [Question(name, "?", ("x",), ("a",)) for name in ids]
    (found,) = attribute(Scorecard(ids, ids, "f1", (rag,)), questions, [AnswerRecord("rag", "q0", "no")])
    assert (found.causes, found.num_unknown) == ({"q0": "retrieval missed"}, 0)


def test_an_arm_without_wrong_answers_has_no_main_fault() -> None:
    _, found = compare({BASE: [0.0], RAG: [1.0]}, {"rag": ["a"]}, [("a",)])
    assert found.main_fault is None


def test_worked_examples_are_no_gold_documents() -> None:
    # The example happens to have the gold document's id; it is none all the same.
    _, found = compare({BASE: [0.0], EXAMPLES: [0.0]}, {"fewshot": ["a"]}, [("a",)])
    assert found.causes == {"q0": "not known"}


def test_an_answer_that_was_not_kept_has_no_cause() -> None:
    questions = [Question("q0", "?", ("x",), ("a",))]
    nothing = (None,)
    card = Scorecard(("q0",), ("a",), "f1", (ArmScores(RAG, {"f1": (0.6,)}, nothing, nothing, nothing),))
    records = [AnswerRecord("rag", "q0", "", passage_documents=("a",))]
    assert attribute(card, questions, records)[0].counts["read correctly"] == 1
    unkept = [replace(records[0], arm="another")]
    assert attribute(card, questions, unkept)[0].num_unknown == 1


def test_flips_to_and_from_the_control_are_counted_both_ways_with_their_net() -> None:
    base, rag = [1.0] * 4 + [0.0] * 6, [0.0] * 3 + [1.0] + [1.0] * 2 + [0.0] * 4
    found = compare({BASE: base, RAG: rag}, {"rag": ["a"] * 10}, [("a",)] * 10)
    assert (found[0].net, found[0].num_lost, found[0].num_gained) == (None, 0, 0)
    assert (found[1].num_lost, found[1].num_gained, found[1].counts["misled by noise"]) == (3, 2, 3)
    assert found[1].net is not None
    assert found[1].net.mean == pytest.approx(-0.1)
    assert found[1].net.low < 0 < found[1].net.high
