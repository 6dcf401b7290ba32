from __future__ import annotations

from dataclasses import replace

import pytest

from eval.answers import AnswerRecord
from eval.attribution import CAUSES, MEANING, NEXT_ACTION, Attribution, Cause, attribute, cause_of
from eval.questions import Question
from router.arm import Arm
from router.prompts import FEWSHOT
from router.scorecard import ArmScores, Scorecard

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
    ("is_right", "is_retrieved", "is_known", "cause"),
    [
        (True, True, False, "read correctly"),
        (True, True, True, "read correctly"),
        (True, False, False, "known without help"),
        (True, False, True, "known without help"),
        (False, False, False, "retrieval missed"),
        (False, True, False, "reader missed"),
        (False, False, True, "misled by noise"),
        (False, True, True, "misled by noise"),
    ],
)
def test_every_answer_has_one_cause(is_right: bool, is_retrieved: bool, is_known: bool, cause: Cause) -> None:
    assert cause_of(is_right=is_right, is_retrieved=is_retrieved, is_known=is_known) == cause


def test_every_cause_has_a_meaning_and_a_next_action() -> None:
    assert set(CAUSES) == set(MEANING) == set(NEXT_ACTION)


def test_the_causes_of_a_rag_arm_are_counted_by_hand() -> None:
    (found,) = compare(
        {
            BASE: [0.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            RAG: [0.9, 0.5, 0.2, 0.49, 0.0, 0.0],
        },
        {"rag": ["a", "other", "other", "d", "e", "other"]},
        [("a",), ("b",), ("c",), ("d",), ("e",), ("f",)],
    )
    # 0.9 with its document read correctly; 0.5 is right and its document was missed; c and f were missed;
    # d was retrieved and misread; e is what base knows.
    assert found.counts == {
        "read correctly": 1,
        "known without help": 1,
        "retrieval missed": 2,
        "reader missed": 1,
        "misled by noise": 1,
    }
    assert (found.arm, found.control, found.num_known, found.num_wrong, found.num_unknown) == ("rag", "base", 6, 4, 0)
    assert found.main_fault == "retrieval missed"


def test_any_of_several_gold_documents_counts_as_retrieved() -> None:
    (found,) = compare({BASE: [0.0], RAG: [0.0]}, {"rag": ["second"]}, [("first", "second")])
    assert found.counts["reader missed"] == 1


def test_the_control_has_the_same_adapter_where_there_is_one() -> None:
    # tuned knows the answer and base does not: tuned_rag was misled, hybrid with another adapter was not.
    scores: dict[Arm, list[float | None]] = {BASE: [0.0], TUNED: [1.0], TUNED_RAG: [0.0], HYBRID: [0.0]}
    found = compare(scores, {"tuned_rag": ["a"], "hybrid": ["a"]}, [("a",)])
    assert [(a.arm, a.control) for a in found] == [("tuned_rag", "tuned"), ("hybrid", "base")]
    assert found[0].counts["misled by noise"] == 1
    assert found[1].counts["reader missed"] == 1


def test_without_a_control_nothing_is_called_noise() -> None:
    (found,) = compare({RAG: [0.0, 1.0]}, {"rag": ["a", "b"]}, [("a",), ("b",)])
    assert found.control is None
    assert (found.counts["reader missed"], found.counts["read correctly"]) == (1, 1)


def test_unscored_answers_and_questions_without_gold_documents_are_left_out() -> None:
    (found,) = compare({BASE: [1.0, 0.0, 0.0], RAG: [None, 0.0, 1.0]}, {"rag": ["a", "b", "c"]}, [("a",), (), ("c",)])
    assert found.num_unknown == 2
    assert found.num_known == 1


def test_an_arm_without_wrong_answers_has_no_main_fault() -> None:
    (found,) = compare({BASE: [0.0], RAG: [1.0]}, {"rag": ["a"]}, [("a",)])
    assert found.main_fault is None


def test_arms_without_documents_are_not_attributed() -> None:
    found = compare({BASE: [0.0], TUNED: [0.0], EXAMPLES: [0.0], RAG: [0.0]}, {"rag": ["a"]}, [("a",)])
    assert [a.arm for a in found] == ["rag"]


def test_nothing_is_attributed_when_no_question_names_its_documents() -> None:
    assert compare({BASE: [0.0], RAG: [0.0]}, {"rag": ["a"]}, [()]) == ()


def test_the_bar_for_right_can_be_set() -> None:
    questions = [Question("q0", "?", ("x",), ("a",))]
    nothing = (None,)
    card = Scorecard(("q0",), ("a",), "f1", (ArmScores(RAG, {"f1": (0.6,)}, nothing, nothing, nothing),))
    records = [AnswerRecord("rag", "q0", "", passage_documents=("a",))]
    assert attribute(card, questions, records)[0].counts["read correctly"] == 1
    assert attribute(card, questions, records, right_at=0.7)[0].counts["reader missed"] == 1
    unkept = [replace(records[0], arm="another")]
    assert attribute(card, questions, unkept)[0].num_unknown == 1
