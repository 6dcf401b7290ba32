from dataclasses import replace

import numpy as np
import pytest
from fakes.priced import BASE, RAG, TUNED, make_card, make_scores
from hypothesis import given, settings
from hypothesis import strategies as st

from router.deciding.arm_table import make_table
from router.deciding.policy import Policy, Prices, Traffic, Utility
from router.deciding.scorecard import ArmScores
from router.deciding.utility import (
    OUTCOMES,
    UTILITY,
    Scale,
    count_outcomes,
    question_outcomes,
    with_utility,
)
from router.errors import RouterError

FREE = Prices(prompt=0.0, generated=0.0)
# 100 prompt tokens at 1,000 per million: 0.1 a question.
DEAR = Prices(prompt=1000.0, generated=0.0)
VALUES = Utility(right=1.0, wrong=-3.0, abstain=-0.5)


def four(**kwargs: object) -> ArmScores:
    """Right, half right, wrong and abstained, unscored and abstained."""
    return make_scores(BASE, [1.0, 0.5, 0.2, None], abstained=[0.0, 0.0, 1.0, 1.0], **kwargs)  # type: ignore[arg-type]


def test_an_answer_is_right_wrong_or_abstained_and_unscored_stays_so() -> None:
    right, wrong, abstain, unscored = *range(len(OUTCOMES)), -1
    found = question_outcomes(four().column("f1"), four().column("abstained"))
    assert found.tolist() == [right, right, abstain, unscored]
    assert question_outcomes(np.array([0.49, 0.5])).tolist() == [wrong, right]


def test_an_abstention_that_scored_right_is_right() -> None:
    assert [OUTCOMES[place] for place in question_outcomes(np.array([1.0]), np.array([1.0]))] == ["right"]


def test_shares_are_of_scored_questions() -> None:
    assert count_outcomes(four(), "f1") == {"right": 2 / 3, "wrong": 0.0, "abstain": 1 / 3}
    assert count_outcomes(make_scores(BASE, [None]), "f1") is None


def test_the_scale_runs_from_the_worst_answer_at_the_dearest_question_to_the_best_at_the_cheapest() -> None:
    card = make_card(four(), make_scores(RAG, [1.0] * 4, prompt=200))
    policy = Policy(prices=DEAR, utility=VALUES)
    scaled, _, scale = with_utility(card, policy)
    assert (scale.low, scale.high) == pytest.approx((-3.2, 0.9))
    column = scaled.arms[0].scores[UTILITY]
    assert column[:3] == pytest.approx((1.0, 1.0, (-0.6 + 3.2) / 4.1))
    assert column[3] is None


def test_with_utility_decides_by_utility_on_a_scaled_margin() -> None:
    card = replace(make_card(four(), make_scores(RAG, [1.0] * 4)), floors={"majority": (1.0, 0.0, None, 0.0)})
    scaled, margin, _ = with_utility(card, Policy(margin=0.1, prices=FREE, utility=VALUES))
    assert scaled.primary == UTILITY
    assert scaled.arms[0].scores[UTILITY] == (1.0, 1.0, pytest.approx(2.5 / 4), None)
    assert scaled.arms[0].scores["f1"] == card.arms[0].scores["f1"]
    # A tenth of the questions right instead of wrong is 0.4 of a width of 4.
    assert margin == pytest.approx(0.1)
    assert scaled.floors == {"majority": (1.0, 0.0, None, 0.0)}
    assert card.primary == "f1"


def test_an_abstention_worth_less_than_a_wrong_answer_widens_the_scale_and_narrows_the_margin() -> None:
    policy = Policy(margin=0.1, prices=FREE, utility=Utility(right=1.0, wrong=0.0, abstain=-1.0))
    assert with_utility(make_card(four()), policy)[1] == pytest.approx(0.05)


def test_a_mean_on_the_scale_is_expected_utility() -> None:
    card = make_card(four())
    policy = Policy(prices=DEAR, utility=VALUES)
    scaled, _, scale = with_utility(card, policy)
    column = [v for v in scaled.arms[0].scores[UTILITY] if v is not None]
    # Two right and one abstained of three, at 0.1 a question.
    assert scale.to_currency(sum(column) / len(column)) == pytest.approx((1.0 + 1.0 - 0.5) / 3 - 0.1)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (Policy(), "says nothing of what answers are worth"),
        (Policy(utility=Utility(right=0.0, wrong=0.0)), r"right \(0\) must be worth more than wrong \(0\)"),
        (
            Policy(prices=Prices(engine_hour=1.0), utility=VALUES),
            "arm 'base' needs its cost, but nobody measured its engine seconds",
        ),
    ],
)
def test_what_cannot_be_valued_is_refused(policy: Policy, message: str) -> None:
    with pytest.raises(RouterError, match=message):
        with_utility(make_card(four()), policy)


def test_an_answer_that_failed_is_worth_what_a_wrong_one_is() -> None:
    failed = replace(make_scores(BASE, [1.0, 0.0], prompt=None), errors={"q1": "too long"}, prompt_tokens=(100, None))
    dead = replace(make_scores(RAG, [0.0, 0.0], prompt=None), errors={"q0": "too long", "q1": "too long"})
    scaled, _, scale = with_utility(make_card(failed, dead), Policy(prices=DEAR, utility=VALUES))
    assert [scale.to_currency(score or 0.0) for score in scaled.arms[0].scores[UTILITY]] == pytest.approx([0.9, -3.0])
    assert scaled.arms[1].scores[UTILITY] == pytest.approx((0.1 / 4.1, 0.1 / 4.1))


def test_an_arm_without_a_single_score_stays_unscored() -> None:
    dead = make_scores(BASE, [None, None], prompt=None, generated=None)
    scaled, _, _ = with_utility(make_card(dead, make_scores(RAG, [1.0, 0.0])), Policy(utility=VALUES))
    assert scaled.arms[0].scores[UTILITY] == (None, None)


scores = st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=8)
values = st.builds(
    lambda wrong, spread, abstain: Utility(wrong + spread, wrong, abstain),
    st.floats(-10, 10),
    st.floats(0.01, 10),
    st.floats(-10, 10),
)


@settings(max_examples=30, deadline=None)
@given(scores, values, st.floats(0, 1e5))
def test_scaled_utility_lies_in_0_to_1_and_keeps_the_order(
    column: list[float | None], utility: Utility, token_price: float
) -> None:
    card = make_card(make_scores(BASE, column), make_scores(RAG, column, prompt=400))
    policy = Policy(prices=Prices(prompt=token_price, generated=0.0), utility=utility)
    scaled, margin, _ = with_utility(card, policy)
    assert 0 < margin <= policy.margin * (1 + 1e-12)
    for cheap, dear, score in zip(*(arm.scores[UTILITY] for arm in scaled.arms), column, strict=True):
        assert (cheap is None) == (dear is None) == (score is None)
        if cheap is not None and dear is not None:
            assert 0 <= dear <= cheap <= 1


@settings(max_examples=30, deadline=None)
@given(st.floats(-100, 100), st.floats(0.01, 100), st.floats(0, 1))
def test_a_scale_maps_there_and_back(low: float, width: float, share: float) -> None:
    scale = Scale(low, low + width)
    assert scale.to_unit(np.array([scale.to_currency(share)]))[0] == pytest.approx(share, abs=1e-9)


def test_training_indexing_and_upkeep_are_part_of_a_questions_utility() -> None:
    # tuned is trained for an hour at 4 over 10 x 2 questions and, half of the documents changing each month, 5 times
    # more each month: (4 + 2 * 20) / 20 a question. rag's index takes 2 and is built again by half: (2 + 2 * 1) / 20.
    traffic = Traffic(questions=10, months=2, churn=0.5, retrain_at=0.1)
    prices = Prices(prompt=0.0, generated=0.0, training_hour=4.0, indexing_hour=20.0)
    policy = Policy(prices=prices, traffic=traffic, utility=Utility(right=5.0, wrong=1.0))
    card = make_card(*(make_scores(arm, [1.0, 1.0, 0.0, 1.0]) for arm in (BASE, RAG, TUNED)))
    scaled, margin, scale = with_utility(card, policy)
    assert (scale.low, scale.high) == pytest.approx((-2.2, 5.0))
    means = [scale.to_currency(sum(arm.scores[UTILITY]) / 4) for arm in scaled.arms]  # type: ignore[arg-type]
    assert means == pytest.approx([4.0, 4.0 - 0.2, 4.0 - 2.2])
    # The same as the preference's: worth minus everything.
    table = make_table(card, policy)
    assert means == pytest.approx([row.net_utility(policy) for row in table.rows])
    assert margin == pytest.approx(policy.margin * 4 / 7.2)


def test_a_part_that_all_arms_pay_does_not_widen_the_scale() -> None:
    prices = Prices(prompt=0.0, generated=0.0, training_hour=4.0)
    policy = Policy(prices=prices, traffic=Traffic(questions=1, months=1), utility=Utility(right=1.0, wrong=0.0))
    card = make_card(make_scores(TUNED, [1.0, 0.0]), make_scores(replace(TUNED, name="twin"), [0.0, 0.0]))
    scaled, margin, scale = with_utility(card, policy)
    assert (scale.low, scale.high, margin) == pytest.approx((-4.0, -3.0, policy.margin))
    assert scaled.arms[0].scores[UTILITY] == pytest.approx((1.0, 0.0))


def test_a_training_that_was_not_measured_is_refused_at_a_price() -> None:
    policy = Policy(prices=Prices(training_hour=1.0), utility=VALUES)
    with pytest.raises(RouterError, match="nobody measured its training time of bought@1"):
        with_utility(make_card(make_scores(replace(TUNED, adapter="bought@1"), [1.0])), policy)
