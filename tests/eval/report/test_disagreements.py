from __future__ import annotations

from dataclasses import replace

from eval.answers import AnswerRecord
from eval.questions import Question
from eval.report.attribution import Cause
from eval.report.disagreements import pick_disagreements
from router.answering.arm import Arm
from router.deciding.scorecard import ArmScores, Scorecard

Scores = dict[str, tuple[float | None, ...]]


def card(scores: Scores) -> tuple[Scorecard, list[Question]]:
    size = len(next(iter(scores.values())))
    questions = [Question(f"q{i}", f"question {i}", ("gold",), ("doc",)) for i in range(size)]
    ids = tuple(question.id for question in questions)
    nothing = (None,) * size
    arms = tuple(ArmScores(Arm(name), {"f1": values}, nothing, nothing, nothing) for name, values in scores.items())
    return Scorecard(ids, ids, "f1", arms), questions


def test_worst_losses_come_first_then_the_clearest_gains() -> None:
    #                                0    1    2    3    4
    scorecard, questions = card({"a": (0.5, 0.0, 1.0, 0.4, 0.4), "b": (0.7, 1.0, 0.0, 0.4, 0.3)})
    shown = pick_disagreements(scorecard, questions, [], chosen="a")
    assert [(d["question"], round(d["lead"], 2)) for d in shown] == [
        ("q1", -1.0),
        ("q0", -0.2),
        ("q2", 1.0),
        ("q4", 0.1),
    ]


def test_questions_that_all_arms_score_alike_or_the_chosen_arm_lacks_are_not_shown() -> None:
    scorecard, questions = card({"a": (0.5, None, 1.0), "b": (0.5, 1.0, None)})
    assert pick_disagreements(scorecard, questions, [], chosen="a") == []


def test_losses_and_gains_are_limited() -> None:
    scorecard, questions = card({"a": (0.0, 0.1, 0.2, 1.0, 0.9), "b": (1.0, 1.0, 1.0, 0.0, 0.0)})
    shown = pick_disagreements(scorecard, questions, [], chosen="a", num_losses=2, num_others=1)
    assert [d["question"] for d in shown] == ["q0", "q1", "q3"]


def test_answers_are_shown_best_first_with_their_documents() -> None:
    scorecard, questions = card({"a": (0.0,), "b": (1.0,), "c": (None,)})
    records = [
        AnswerRecord("a", "q0", "wrong", passage_documents=("other", "doc", "other")),
        AnswerRecord("b", "q0", "gold", passage_documents=("doc",), cited_documents=("doc",)),
        AnswerRecord("c", "q0", "", error="the engine answered 500"),
    ]
    (shown,) = pick_disagreements(scorecard, questions, records, chosen="a")
    assert [(a["arm"], a["score"], a["error"]) for a in shown["answers"]] == [
        ("b", 1.0, None),
        ("a", 0.0, None),
        ("c", None, "the engine answered 500"),
    ]
    assert shown["answers"][0]["documents"] == [{"id": "doc", "is_gold": True, "is_cited": True}]
    assert shown["answers"][1]["documents"] == [
        {"id": "other", "is_gold": False, "is_cited": False},
        {"id": "doc", "is_gold": True, "is_cited": False},
    ]


def test_an_answer_that_was_not_kept_is_said_to_be_missing() -> None:
    scorecard, questions = card({"a": (0.0,), "b": (1.0,)})
    (shown,) = pick_disagreements(scorecard, questions, [], chosen="a")
    assert {answer["error"] for answer in shown["answers"]} == {"the answer was not kept"}


def test_answers_show_their_cause_where_it_is_known() -> None:
    scorecard, questions = card({"a": (0.0,), "b": (1.0,)})
    causes: dict[str, dict[str, Cause]] = {"a": {"q0": "not known"}, "b": {}}
    (shown,) = pick_disagreements(scorecard, questions, [], chosen="a", causes=causes)
    assert [(answer["arm"], answer["cause"]) for answer in shown["answers"]] == [("b", None), ("a", "not known")]


def test_arms_that_were_not_asked_are_not_shown() -> None:
    scorecard, questions = card({"a": (0.0,), "b": (1.0,), "c": (None,)})
    dropped = replace(scorecard.by_name("c"), not_asked=("q0",))
    raced = replace(scorecard, arms=(*scorecard.arms[:2], dropped))
    (shown,) = pick_disagreements(raced, questions, [], chosen="a")
    assert [answer["arm"] for answer in shown["answers"]] == ["b", "a"]
