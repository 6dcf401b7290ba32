import json
from dataclasses import replace
from typing import Any

import pytest
from fakes import priced
from fakes.comparison import Comparison
from fakes.decided import card_of, raced_card, usual_card, valued_card

from eval.answers import AnswerRecord
from eval.questions import Question
from eval.report.attribution import Cause
from eval.report.card import Card, make_card, pick_disagreements
from eval.report.tables import to_markdown
from router.answering.arm import Arm
from router.deciding.arm_table import make_table
from router.deciding.policy import Limits, Policy, Prices
from router.deciding.recommend import recommend
from router.deciding.scorecard import ArmScores, Scorecard


@pytest.mark.slow
def test_a_card_is_what_json_gives_back() -> None:
    for card in (usual_card(), raced_card(), valued_card()):
        assert json.loads(json.dumps(card, allow_nan=False)) == card


def test_a_card_is_the_same_every_time(comparison: Comparison) -> None:
    decided_again = recommend(make_table(comparison.scorecard, comparison.policy))
    assert card_of(comparison, decided_again) == usual_card()


def test_a_card_holds_the_decision_and_its_evidence(comparison: Comparison) -> None:
    card = usual_card()
    assert card["decision"]["arm"] == "hybrid"
    assert card["policy"]["prices"]["prompt"] == 0.1
    assert card["questions"]["num"] == card["questions"]["num_decided"] == 20
    assert [row["other"] for row in card["comparisons"]["rows"]] == [c.other for c in comparison.decision.comparisons]
    assert card["comparisons"]["correction"] == "Holm"
    # base and tuned cost the same and tuned is better; hybrid is better than all.
    assert {member["arm"] for member in card["front"] if member["is_on_front"]} == {"tuned", "hybrid"}
    # hybrid answered 19 of 20, and three of those are wrong; the one that failed has no cause, and is scored 0.
    own = next(found for found in card["attributions"] if found["arm"] == "hybrid")
    assert (len(own["causes"]), own["num_wrong"], own["num_unknown"]) == (19, 3, 1)
    assert card["scored"]["token_f1"] == dict.fromkeys(("base", "fewshot", "rag", "tuned", "tuned_rag", "hybrid"), 20)
    assert [(found["name"], found["value"]) for found in slices_of(card)] == [("kind", "fact"), ("kind", "format")]
    assert card["failures"]["hybrid"] == {"fact-11": "the prompt is longer than the engine's limit of 2048 tokens"}


def test_the_map_of_winners_is_told_in_runs() -> None:
    found = usual_card()["sensitivity"]
    assert found is not None
    num_columns = len(found["map"]["volumes"])
    assert len(found["map"]["winners"]) == len(found["map"]["churns"])
    for runs in found["map"]["winners"]:
        assert runs == [["hybrid", num_columns]]


def test_a_race_has_its_record_and_corrects_for_looking() -> None:
    card = raced_card()
    assert card["race"] is not None
    assert [drop["arm"] for drop in card["race"]["drops"]] == ["base", "fewshot", "tuned", "rag"]
    assert card["comparisons"]["correction"] == "all looks"
    assert (card["questions"]["num_decided"], card["questions"]["num_held_out"]) == (15, 5)
    beaten_by = {row["other"]: row["beaten_by"] for row in card["comparisons"]["rows"]}
    assert beaten_by["tuned"] in (None, "rag")


def test_a_decision_by_utility_has_outcomes_and_currency() -> None:
    card = valued_card()
    hybrid = card["arms"][0]
    assert hybrid["arm"] == "hybrid"
    # 16 right and 4 wrong of 20, the failed one among them; nobody abstains.
    assert hybrid["outcomes"] == {"right": 0.8, "wrong": 0.2, "abstain": 0.0}
    assert (card["metric"]["name"], card["metric"]["primary"], card["metric"]["is_currency"]) == (
        "utility",
        "token_f1",
        True,
    )
    found = card["comparisons"]["rows"][0]
    assert found["other"] == "tuned_rag"
    # 12 against -4, of 20.
    assert found["mean"] == pytest.approx(16 / 20, abs=1e-4)


def test_costs_that_were_not_measured_are_null_and_named(comparison: Comparison) -> None:
    card = card_of(replace(comparison, policy=Policy(margin=0.03, prices=Prices(engine_hour=1.0))))
    for row in card["costs"]["arms"]:
        assert (row["per_1k"], row["amortised_per_1k"], row["missing"]) == (None, None, ["engine seconds"])
    assert {row["outcome"] for row in card["costs"]["break_even"]} == {"unknown"}
    assert card["costs"]["evaluation"] is None


def test_metrics_of_a_doubted_judge_are_diagnostics_and_shown_texts_are_bounded(comparison: Comparison) -> None:
    arms = tuple(replace(s, scores={**s.scores, "judge_correctness": (1.0,) * 20}) for s in comparison.scorecard.arms)
    line = "the judge 'small' failed its certification: its metrics are diagnostics; too few labels"
    scorecard = replace(comparison.scorecard, arms=arms, diagnostics=(line,))
    records = tuple(replace(record, text=record.text + " word" * 2000) for record in comparison.records)
    card = card_of(replace(comparison, scorecard=scorecard, records=records))
    assert card["metric"]["diagnostic"] == ["judge_correctness"]
    assert usual_card()["metric"]["diagnostic"] == []
    assert max(len(answer["text"]) for shown in card["examples"] for answer in shown["answers"]) == 280


def test_one_question_makes_a_card(comparison: Comparison) -> None:
    one = replace(
        comparison, questions=comparison.questions[1:2], scorecard=comparison.scorecard.part([1]), policy=Policy()
    )
    card = card_of(one)
    assert card["questions"]["num"] == 1
    assert "1 question is too few to count on seeing any difference." in card["summary"]["warnings"]


def test_all_arms_but_one_excluded_leave_it_without_a_rival(comparison: Comparison) -> None:
    card = card_of(replace(comparison, policy=Policy(limits=Limits(score=0.5))))
    assert card["decision"]["arm"] == "hybrid"
    assert (card["decision"]["runner_up"], card["summary"]["lead"], card["summary"]["break_even"]) == (None, None, None)
    assert card["summary"]["meaning"] == "every other arm is excluded"
    assert card["sensitivity"] is None
    assert [row["arm"] for row in card["arms"] if row["excluded"]] == ["tuned_rag", "tuned", "rag", "fewshot", "base"]


def test_the_parts_of_an_arm_are_named_with_their_hash(comparison: Comparison) -> None:
    parts = usual_card()["parts"]
    assert [part["arm"] for part in parts] == [scores.arm.name for scores in comparison.scorecard.arms]
    assert parts[-1]["fingerprint"] == comparison.scorecard.arms[-1].arm.fingerprint()[:12]
    assert (parts[0]["top_k"], parts[2]["top_k"]) == (None, 2)


def slices_of(card: Card) -> list[dict[str, Any]]:
    assert card["slices"] is not None
    found: list[dict[str, Any]] = card["slices"]["slices"]
    return found


def test_what_was_trained_is_told_with_the_arms_that_answer_with_it(comparison: Comparison) -> None:
    shown = card_of(comparison)["adapters"]
    assert [row["adapter"] for row in shown] == ["closed_book@3f9c", "raft@81aa"]
    assert shown[0]["arms"] == [
        scores.arm.name for scores in comparison.scorecard.arms if scores.arm.adapter == "closed_book@3f9c"
    ]
    assert (shown[0]["num_bytes"], shown[0]["parity"]["largest"]) == (19_540_000, 2.1e-5)
    # Of a run from before there were other objectives.
    assert (shown[0]["objective"], shown[0]["preference"]) == ("supervised", None)
    assert (shown[1]["objective"], shown[1]["preference"]["accuracy"]["mean"]) == ("dpo", 0.71)
    assert "adapters" not in card_of(comparison)["provenance"]
    # One that no arm answers with is not told, and a run from before it was kept has none.
    bare = replace(comparison, scorecard=replace(comparison.scorecard, provenance={"seed": 7}))
    assert card_of(bare)["adapters"] == []
    alone = tuple(scores for scores in comparison.scorecard.arms if scores.arm.adapter != "raft@81aa")
    kept = card_of(replace(comparison, scorecard=replace(comparison.scorecard, arms=alone)))["adapters"]
    assert [row["adapter"] for row in kept] == ["closed_book@3f9c"]


def test_one_mean_reads_the_same_in_the_headline_the_reason_and_the_table() -> None:
    # Added up in order these are 3.8, added up in pairs a little more: 0.475 is on the edge between 0.47 and 0.48.
    column = [0.3, 0.1, 0.3, 0.4, 0.9, 0.2, 0.9, 0.7]
    table = make_table(priced.make_card(priced.make_scores(priced.BASE, column)), Policy())
    decision = recommend(table)
    questions = [Question(name, "?", ("x",)) for name in table.scorecard.question_ids]
    card = make_card(table, decision, questions, (), title="t", command="c")
    assert "0.48 f1" in card["summary"]["headline"]
    assert decision.reason.startswith("base scored 0.48 f1")
    assert "| 0.48 | " in to_markdown(card)


def compared(scores: dict[str, tuple[float | None, ...]]) -> tuple[Scorecard, list[Question]]:
    size = len(next(iter(scores.values())))
    questions = [Question(f"q{i}", f"question {i}", ("gold",), ("doc",)) for i in range(size)]
    ids = tuple(question.id for question in questions)
    nothing = (None,) * size
    arms = tuple(ArmScores(Arm(name), {"f1": values}, nothing, nothing, nothing) for name, values in scores.items())
    return Scorecard(ids, ids, "f1", arms), questions


def test_worst_losses_come_first_then_the_clearest_gains() -> None:
    #                                0    1    2    3    4
    scorecard, questions = compared({"a": (0.5, 0.0, 1.0, 0.4, 0.4), "b": (0.7, 1.0, 0.0, 0.4, 0.3)})
    shown = pick_disagreements(scorecard, questions, [], chosen="a")
    assert [(d["question"], round(d["lead"], 2)) for d in shown] == [
        ("q1", -1.0),
        ("q0", -0.2),
        ("q2", 1.0),
        ("q4", 0.1),
    ]


def test_questions_that_all_arms_score_alike_or_the_chosen_arm_lacks_are_not_shown() -> None:
    scorecard, questions = compared({"a": (0.5, None, 1.0), "b": (0.5, 1.0, None)})
    assert pick_disagreements(scorecard, questions, [], chosen="a") == []


def test_losses_and_gains_are_limited() -> None:
    scorecard, questions = compared({"a": (0.0, 0.1, 0.2, 1.0, 0.9), "b": (1.0, 1.0, 1.0, 0.0, 0.0)})
    shown = pick_disagreements(scorecard, questions, [], chosen="a", num_losses=2, num_others=1)
    assert [d["question"] for d in shown] == ["q0", "q1", "q3"]


def test_answers_are_shown_best_first_with_their_documents() -> None:
    scorecard, questions = compared({"a": (0.0,), "b": (1.0,), "c": (None,)})
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
    scorecard, questions = compared({"a": (0.0,), "b": (1.0,)})
    (shown,) = pick_disagreements(scorecard, questions, [], chosen="a")
    assert {answer["error"] for answer in shown["answers"]} == {"the answer was not kept"}


def test_answers_show_their_cause_where_it_is_known() -> None:
    scorecard, questions = compared({"a": (0.0,), "b": (1.0,)})
    causes: dict[str, dict[str, Cause]] = {"a": {"q0": "not known"}, "b": {}}
    (shown,) = pick_disagreements(scorecard, questions, [], chosen="a", causes=causes)
    assert [(answer["arm"], answer["cause"]) for answer in shown["answers"]] == [("b", None), ("a", "not known")]


def test_arms_that_were_not_asked_are_not_shown() -> None:
    scorecard, questions = compared({"a": (0.0,), "b": (1.0,), "c": (None,)})
    dropped = replace(scorecard.by_name("c"), not_asked=("q0",))
    raced = replace(scorecard, arms=(*scorecard.arms[:2], dropped))
    (shown,) = pick_disagreements(raced, questions, [], chosen="a")
    assert [answer["arm"] for answer in shown["answers"]] == ["b", "a"]


def test_a_decision_on_generated_questions_says_so_at_its_top(comparison: Comparison) -> None:
    told = [{"reviewed": None}, {"reviewed": "2026-01-01T00:00:00+00:00"}]
    marked = [
        replace(row, metadata={**row.metadata, "generated": one})
        for row, one in zip(comparison.questions, told, strict=False)
    ]
    questions = (*marked, *comparison.questions[2:])
    card = make_card(comparison.table, comparison.decision, questions, comparison.records, title="t", command="c")
    warning = card["summary"]["warnings"][0]
    assert warning.startswith("2 of the 20 questions were written by a model from the documents; 1 of them was not")
    assert card["summary"]["wrong_if"][-1].startswith("If people ask otherwise than the model that wrote 2 of the 20")
    assert warning in to_markdown(card)
