import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.deciding.evidence import anytime_difference, make_bets, questions_until, rule


def alone(n: int) -> list[str]:
    return [f"d{i}" for i in range(n)]


def test_capital_on_binary_scores_is_the_beta_mixture_over_discordant_pairs() -> None:
    # Both sides averaged: 2^n B(w + 1, l + 1) for w = 9 wins and l = 1 loss, however many agreements: 1024 / (11 * 10).
    a = [1.0] * 9 + [0.0] + [1.0] * 30
    b = [0.0] * 9 + [1.0] + [1.0] * 30
    bets = make_bets(a, b, alone(40))
    both = (math.exp(bets.log_evidence(0.0)) + math.exp(bets.flipped().log_evidence(0.0))) / 2
    assert both == pytest.approx(1024 / 110)


def test_one_win_is_worth_three_halves() -> None:
    # The mean of 1 + l over stakes in [0, 1].
    assert math.exp(make_bets([1.0], [0.0], ["d"]).log_evidence(0.0)) == pytest.approx(1.5)


def test_questions_about_one_document_are_one_bet() -> None:
    a, b = [1.0] * 6, [0.0] * 6
    by_question = make_bets(a, b, alone(6))
    by_document = make_bets(a, b, ["x"] * 3 + ["y"] * 3)
    assert by_document.largest == 3
    # Two bets won outright: the mean of (1 + l)^2 is 7/3.
    assert math.exp(by_document.log_evidence(0.0)) == pytest.approx(7 / 3)
    assert by_question.log_evidence(0.0) > by_document.log_evidence(0.0)


def test_missing_scores_make_no_bet() -> None:
    difference = anytime_difference([1.0, None, 0.5], [0.0, 1.0, None], alone(3), margin=0.05)
    assert difference is not None
    assert (difference.num_pairs, difference.mean) == (1, 1.0)
    assert anytime_difference([None], [1.0], alone(1), margin=0.05) is None


def test_a_clear_difference_is_shown_and_its_interval_excludes_zero() -> None:
    difference = anytime_difference([1.0] * 45 + [0.0] * 5, [0.0] * 45 + [1.0] * 5, alone(50), margin=0.05)
    assert difference is not None
    assert difference.p_value < 0.001
    assert 0 < difference.low < difference.mean < difference.high <= 1
    assert difference.p_equivalent == 1.0


def test_many_agreements_are_equivalence() -> None:
    same = [1.0, 0.0] * 200
    difference = anytime_difference(same, same, alone(400), margin=0.05)
    assert difference is not None
    assert difference.p_value == 1.0
    assert difference.p_equivalent < 0.001
    assert -0.05 < difference.low <= 0 <= difference.high < 0.05


@given(
    st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=1, max_size=30),
    st.floats(-0.9, 0.8),
    st.floats(0.01, 0.1),
)
def test_a_higher_null_is_never_easier_to_refute(differences: list[float], null: float, step: float) -> None:
    bets = make_bets([max(d, 0.0) for d in differences], [max(-d, 0.0) for d in differences], alone(len(differences)))
    assert bets.log_evidence(null + step) <= bets.log_evidence(null) + 1e-9


@pytest.mark.slow
def test_looking_after_every_question_keeps_the_error_rate() -> None:
    # Twins that disagree on half of the questions, looked at 200 times: a sound test calls at most 5% different.
    # McNemar looked at as often calls about a third.
    rng = np.random.default_rng(11)
    wrong = 0
    for _ in range(200):
        differences = rng.choice([-1.0, 0.0, 1.0], 200, p=[0.25, 0.5, 0.25])
        a, b = np.maximum(differences, 0), np.maximum(-differences, 0)
        for end in range(5, 201, 5):
            bets = make_bets(list(a[:end]), list(b[:end]), alone(end))
            if max(bets.log_evidence(0.0), bets.flipped().log_evidence(0.0)) >= math.log(2 / 0.05):
                wrong += 1
                break
    assert wrong <= 16  # 10 expected at most; 16 is two standard errors above


def columns(**scores: list[float]) -> dict[str, list[float | None]]:
    return {name: list(values) for name, values in scores.items()}


def test_a_beaten_arm_is_dropped_and_says_by_whom() -> None:
    grid = columns(base=[0.0] * 30, rag=[1.0] * 15 + [0.0] * 15, hybrid=[1.0] * 30)
    costs = {"base": 1.0, "rag": 2.0, "hybrid": 3.0}
    ruling = rule(grid, alone(30), active=list(grid), costs=costs, margin=0.05, alpha=0.05)
    assert {drop.arm: (drop.beaten_by, drop.after) for drop in ruling.drops} == {
        "base": ("hybrid", 30),
        "rag": ("hybrid", 30),
    }
    assert all(drop.p_value <= 0.05 for drop in ruling.drops)
    assert ruling.served == "hybrid"


def test_three_arms_need_more_evidence_than_two() -> None:
    # Eight wins of eight: the mean of (1 + l)^8 is 511 / 9 = 56.8, enough for two arms (2 / 0.05) and not for three.
    two = columns(a=[1.0] * 8, b=[0.0] * 8)
    three = {**two, "c": [None] * 8}
    costs = {"a": 2.0, "b": 1.0, "c": 3.0}
    assert len(rule(two, alone(8), active=["a", "b"], costs=costs, margin=0.05, alpha=0.05).drops) == 1
    assert rule(three, alone(8), active=["a", "b"], costs=costs, margin=0.05, alpha=0.05).drops == ()


def test_twins_are_settled_for_the_cheapest() -> None:
    same = [1.0, 0.0] * 150
    grid = columns(dear=same, cheap=same)
    costs = {"dear": 5.0, "cheap": 1.0}
    ruling = rule(grid, alone(300), active=["dear", "cheap"], costs=costs, margin=0.05, alpha=0.05)
    assert (ruling.drops, ruling.served) == ((), "cheap")
    early = rule(
        columns(dear=same[:20], cheap=same[:20]),
        alone(20),
        active=["dear", "cheap"],
        costs=costs,
        margin=0.05,
        alpha=0.05,
    )
    assert early.served is None


def test_a_dearer_arm_waits_until_the_cheaper_is_beaten() -> None:
    # Not worse is shown at once, better is not: the cheaper one might still be as good.
    grid = columns(dear=[1.0] * 5 + [0.0] * 295, cheap=[0.0] * 300)
    ruling = rule(grid, alone(300), active=list(grid), costs={"dear": 5.0, "cheap": 1.0}, margin=0.1, alpha=0.05)
    assert (ruling.drops, ruling.served) == ((), "cheap")
    lead = columns(dear=[1.0] * 5, cheap=[0.0] * 5)
    assert (
        rule(lead, alone(5), active=list(lead), costs={"dear": 5.0, "cheap": 1.0}, margin=0.9, alpha=0.05).served
        is None
    )


def test_more_questions_shrink_as_evidence_grows() -> None:
    few = make_bets([1.0, 0.0, 1.0, 1.0] * 5, [0.0, 1.0, 0.0, 1.0] * 5, alone(20))
    many = make_bets([1.0, 0.0, 1.0, 1.0] * 10, [0.0, 1.0, 0.0, 1.0] * 10, alone(40))
    first, second = questions_until(few, 0.0, 0.01), questions_until(many, 0.0, 0.01)
    assert first is not None
    assert second is not None
    assert 0 < second < first
    assert questions_until(few.flipped(), 0.0, 0.01) is None
