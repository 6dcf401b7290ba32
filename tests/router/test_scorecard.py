import json

import pytest

from router.arm import Arm
from router.errors import RouterError
from router.scorecard import ArmScores, Scorecard


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
    assert scores.mean_tokens() == (6.0, 1.5)
    assert scores.total_tokens() == 15
    assert scores.median_latency_ms() == 30.0


def test_an_arm_without_scores_has_no_interval() -> None:
    scorecard = card(arm_scores("base", (None, None, None)))
    assert scorecard.interval(scorecard.arms[0], "token_f1") is None


def test_a_scorecard_survives_json() -> None:
    scorecard = card(arm_scores("base", (1.0, 0.5, None)), arm_scores("rag", (0.0, None, 1.0)))
    assert Scorecard.from_dict(json.loads(json.dumps(scorecard.to_dict()))) == scorecard


def test_arms_on_different_questions_are_refused() -> None:
    with pytest.raises(RouterError, match="'base' has 2 values of 'token_f1' for 3 questions"):
        card(arm_scores("base", (1.0, 0.5)))


def test_an_arm_without_the_primary_metric_is_refused() -> None:
    with pytest.raises(RouterError, match="not scored by the primary metric 'token_f1'"):
        card(arm_scores("base", (1.0, 0.5, 0.0), metric="exact_match"))


def test_an_unknown_arm_lists_the_known_ones() -> None:
    with pytest.raises(RouterError, match="no arm 'rga' in the scorecard; it has base"):
        card(arm_scores("base", (1.0, 0.5, None))).by_name("rga")
