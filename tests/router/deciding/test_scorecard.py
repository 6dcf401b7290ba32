import json
from dataclasses import asdict, replace

import pytest

from router.answering.arm import Arm
from router.deciding.costs import Usage, mean_usage
from router.deciding.scorecard import ArmScores, Drop, RaceRecord, Scorecard, quantile
from router.errors import RouterError
from storage.records import from_json


def arm_scores(name: str, scores: tuple[float | None, ...], metric: str = "token_f1") -> ArmScores:
    return ArmScores(
        arm=Arm(name),
        scores={metric: scores},
        latency_ms=(10.0, 30.0, None),
        prompt_tokens=(5, 7, None),
        generated_tokens=(1, 2, None),
        errors={"q3": "too long"},
    )


def card(*arms: ArmScores) -> Scorecard:
    return Scorecard(question_ids=("q1", "q2", "q3"), clusters=("d1", "d2", "d3"), primary="token_f1", arms=arms)


def test_unscored_is_counted_and_never_zero() -> None:
    scorecard = card(arm_scores("base", (1.0, 0.5, None)))
    scores = scorecard.by_name("base")
    assert scores.num_unscored("token_f1") == 1
    interval = scorecard.interval(scores, "token_f1")
    assert interval is not None
    assert interval.mean == 0.75


def test_costs_are_means_over_answered_questions() -> None:
    scores = arm_scores("base", (1.0, 0.5, None))
    assert mean_usage(scores) == Usage(6.0, 1.5, None)
    assert scores.total_tokens() == 15
    assert quantile(scores.latency_ms, 0.5) == 20.0


def test_an_arm_without_scores_has_no_interval() -> None:
    scorecard = card(arm_scores("base", (None, None, None)))
    assert scorecard.interval(scorecard.arms[0], "token_f1") is None


def test_a_scorecard_survives_json() -> None:
    scorecard = card(arm_scores("base", (1.0, 0.5, None)), arm_scores("rag", (0.0, None, 1.0)))
    assert from_json(Scorecard, json.dumps(asdict(scorecard))) == scorecard


def test_arms_on_different_questions_are_refused() -> None:
    with pytest.raises(RouterError, match="'base' has 2 values of 'token_f1' for 3 questions"):
        card(arm_scores("base", (1.0, 0.5)))


def test_an_arm_without_the_primary_metric_is_refused() -> None:
    with pytest.raises(RouterError, match="not scored by the primary metric 'token_f1'"):
        card(arm_scores("base", (1.0, 0.5, 0.0), metric="exact_match"))


def test_an_unknown_arm_lists_the_known_ones() -> None:
    with pytest.raises(RouterError, match="no arm 'rga' in the scorecard; it has base"):
        card(arm_scores("base", (1.0, 0.5, None))).by_name("rga")


def raced_card() -> Scorecard:
    """Three questions raced, one held out; base was dropped after two."""
    names = ("q1", "q2", "q3", "q4")
    base = ArmScores(
        Arm("base"), {"f1": (0.0, 0.0, None, None)}, (9.0, 9.0, None, None), (5, 5, None, None), (1, 1, None, None),
        ttft_ms=(3.0, None, None, None), engine_s=(0.1, 0.3, None, None), retrieval_s=(0.2, 0.4, None, None),
        cached_tokens=(1, 3, None, None), not_asked=("q3", "q4"),
    )  # fmt: skip
    rag = ArmScores(
        Arm("rag", index="docs"), {"f1": (1.0, 1.0, None, 0.5)}, (8.0, 4.0, 6.0, 2.0), (7,) * 4, (1,) * 4,
        errors={"q3": "too long"},
    )  # fmt: skip
    record = RaceRecord(
        ends=(2, 3), num_raced=3, held_out=("q4",), drops=(Drop("base", "rag", 2, 0.01),), stopped="one arm left",
        num_answers=6, num_possible=8, largest=2,
    )  # fmt: skip
    return Scorecard(
        names, ("d1", "d1", "d2", "d3"), "f1", (base, rag), floors={"nearest": (0.0, 1.0, None, 1.0)}, race=record,
        labelled="f1", metric_of={"default": "f1"}, evaluation_s=12.5,
    )  # fmt: skip


def test_a_raced_scorecard_survives_json() -> None:
    card = raced_card()
    assert from_json(Scorecard, json.dumps(asdict(card))) == card


def test_what_decided_and_what_was_held_out_are_parts() -> None:
    card = raced_card()
    raced, held_out = card.raced(), card.held_out()
    assert held_out is not None
    assert (raced.question_ids, held_out.question_ids) == (("q1", "q2", "q3"), ("q4",))
    assert raced.by_name("rag").errors == {"q3": "too long"}
    assert held_out.by_name("rag").errors == {}
    assert held_out.by_name("rag").scores == {"f1": (0.5,)}
    assert raced.by_name("base").not_asked == ("q3",)
    assert (raced.floors["nearest"], raced.clusters) == ((0.0, 1.0, None), ("d1", "d1", "d2"))
    assert raced.by_name("base").ttft_ms == (3.0, None, None)
    assert raced.by_name("rag").ttft_ms == ()


def test_a_question_that_was_not_asked_is_not_unscored() -> None:
    base, rag = raced_card().arms
    assert (base.num_asked, base.num_unscored("f1")) == (2, 0)
    assert (rag.num_asked, rag.num_unscored("f1")) == (4, 1)


def test_quantiles_and_means_by_hand() -> None:
    base, rag = raced_card().arms
    assert quantile(rag.latency_ms, 0.5) == 5.0  # between the 4 and the 6 of 2, 4, 6, 8
    assert quantile(rag.latency_ms, 0.95) == pytest.approx(7.7)  # 0.95 of three steps: 6 + 0.85 * 2
    assert (quantile(base.ttft_ms, 0.5), quantile(rag.ttft_ms, 0.5)) == (3.0, None)
    assert (mean_usage(base).engine_s, mean_usage(rag).engine_s) == (0.2, None)


def test_given_documents_are_no_clusters_until_they_change() -> None:
    card = replace(raced_card(), documents_given=True)
    assert card.for_churn(0.0).clusters == ("question:q1", "question:q2", "question:q3", "question:q4")
    assert card.for_churn(0.1).clusters == ("d1", "d1", "d2", "d3") == raced_card().for_churn(0.0).clusters
    assert from_json(Scorecard, json.dumps(asdict(card))) == card


def test_every_question_decides_without_a_race() -> None:
    card = replace(raced_card(), race=None)
    assert card.raced() is card
    assert card.held_out() is None
