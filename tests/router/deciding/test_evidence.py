import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.deciding.evidence import anytime_difference, further_questions, make_bets


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


def test_more_questions_shrink_as_evidence_grows() -> None:
    few = make_bets([1.0, 0.0, 1.0, 1.0] * 5, [0.0, 1.0, 0.0, 1.0] * 5, alone(20))
    many = make_bets([1.0, 0.0, 1.0, 1.0] * 10, [0.0, 1.0, 0.0, 1.0] * 10, alone(40))
    first, second = further_questions(few, 0.0, 0.01), further_questions(many, 0.0, 0.01)
    assert first is not None
    assert second is not None
    assert 0 < second.low < first.low
    assert all(way.low < way.high for way in (first, second))
    assert further_questions(few.flipped(), 0.0, 0.01) is None


def test_so_many_more_questions_show_it_as_often_as_is_said() -> None:
    # Wins on 0.3 and losses on 0.1 of the questions, as in the first 100.
    rng = np.random.default_rng(3)
    differences = np.repeat([1.0, -1.0, 0.0], [30, 10, 60])
    bets = make_bets(list(np.maximum(differences, 0)), list(np.maximum(-differences, 0)), alone(100))
    level = 1e-6
    way = further_questions(bets, 0.0, level)
    assert way is not None
    for number, low, high in ((way.low, 0.35, 0.7), (way.high, 0.8, 1.0)):
        shown = 0
        for _ in range(100):
            more = np.concatenate([differences, rng.choice([1.0, -1.0, 0.0], number, p=[0.3, 0.1, 0.6])])
            seen = make_bets(list(np.maximum(more, 0)), list(np.maximum(-more, 0)), alone(len(more)))
            shown += seen.log_evidence(0.0) >= -math.log(level)
        assert low <= shown / 100 <= high
