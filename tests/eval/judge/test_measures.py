"""Hand-counted verdicts."""

import pytest

from eval.judge.asking import Outcome
from eval.judge.labels import LabelledPair
from eval.judge.measures import (
    measure_agreement,
    measure_calls,
    measure_length,
    measure_leniency,
    measure_position,
    measure_repeatability,
)
from router.deciding.policy import Prices


def test_agreement_is_accuracy_and_kappa_over_the_rows_with_a_verdict() -> None:
    labels = [True] * 20 + [False] * 10 + [True] * 2
    verdicts = [1.0] * 18 + [0.0] * 2 + [0.0] * 10 + [None] * 2
    found = measure_agreement(labels, verdicts)
    assert found is not None
    assert (found.num_rows, found.num_correct) == (30, 20)
    assert found.accuracy.mean == pytest.approx(28 / 30)
    # Chance agreement is (20 * 18 + 10 * 12) / 900 = 8/15, so kappa is (14/15 - 8/15) / (7/15) = 6/7.
    assert found.kappa is not None
    assert found.kappa.mean == pytest.approx(6 / 7)
    assert 0.6 < found.kappa.low < 6 / 7 < found.kappa.high == 1.0


@pytest.mark.parametrize(
    ("labels", "verdicts", "kappa"),
    [
        ([True] * 20 + [False] * 10, [1.0] * 30, 0.0),  # a judge that calls everything right
        ([True] * 20 + [False] * 10, [1.0] * 20 + [0.0] * 10, 1.0),
        ([True, False] * 10, [0.0, 1.0] * 10, -1.0),
        ([True] * 30, [1.0] * 30, None),  # nothing to tell apart
        ([True] * 30, [1.0] * 29 + [0.0], 0.0),
    ],
)
def test_kappa_of_a_degenerate_table(labels: list[bool], verdicts: list[float], kappa: float | None) -> None:
    found = measure_agreement(labels, verdicts)
    assert found is not None
    if kappa is None:
        assert found.kappa is None
    else:
        assert found.kappa is not None
        assert found.kappa.mean == pytest.approx(kappa, abs=1e-9)
        assert -1 <= found.kappa.low <= found.kappa.mean <= found.kappa.high <= 1


def test_nothing_is_measured_without_verdicts() -> None:
    assert measure_agreement([True], [None]) is None
    assert measure_repeatability([[1.0], [None, 1.0], []]) is None
    assert measure_position([(1.0, None), (None, 0.0)]) is None
    assert measure_length([LabelledPair("p", "aa", "b")], [(None, 1.0)]) is None
    assert measure_length([LabelledPair("p", "a", "b")], [(1.0, 0.0)]) is None  # of the same length


def test_repeatability_counts_rows_whose_verdict_changes() -> None:
    found = measure_repeatability([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0], [0.0, None, 0.0], [1.0, None, None], [0.0, 1.0]])
    assert found is not None
    assert found.num_rows == 4  # one of the five has a single verdict
    assert found.flip_rate.mean == 0.5
    assert found.mean_variance == pytest.approx((0 + 2 / 9 + 0 + 1 / 4) / 4)


def test_a_judge_that_takes_the_first_one_shows_it() -> None:
    # Of ten pairs five go to the first place in both orders, one to the second, three are right and one is wrong.
    orders = [(1.0, 1.0)] * 5 + [(0.0, 0.0)] + [(1.0, 0.0)] * 3 + [(0.0, 1.0)]
    found = measure_position(orders)
    assert found is not None
    assert found.num_pairs == 10
    assert found.order_dependent.mean == pytest.approx(0.6)
    # Of 20 verdicts 10 + 3 + 1 name the first and 2 + 3 + 1 the second.
    assert found.first_minus_second.mean == pytest.approx((14 - 6) / 20)
    # The pairs that depend on the order are right in one of the two.
    assert found.accuracy.mean == pytest.approx((6 * 0.5 + 3) / 10)


LONG, SHORT = LabelledPair("p", "a long one", "short"), LabelledPair("p", "short", "a long one")


def test_length_bias_is_how_much_more_the_judge_agrees_where_the_longer_one_is_right() -> None:
    # People take the longer one in three of five; the judge does in all, once only in one of the two orders.
    pairs = [LONG, LONG, LONG, SHORT, SHORT, LabelledPair("p", "same", "size")]
    found = measure_length(pairs, [(1.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0), (0.0, 1.0), (1.0, 0.0)])
    assert found is not None
    assert found.num_pairs == 5
    assert found.label_longer == 0.6
    assert found.judge_longer == pytest.approx((1 + 1 + 0.5 + 1 + 1) / 5)
    assert found.gap.mean == pytest.approx(2.5 / 3 - 0)


@pytest.mark.parametrize(
    ("verdicts", "gap"),
    [
        ([(1.0, 0.0)] * 20, 0.0),  # always right
        ([(0.0, 1.0)] * 20, 0.0),  # always wrong
        ([(1.0, 1.0)] * 20, 0.0),  # the first one, whatever it is
        ([(1.0, 0.0)] * 15 + [(0.0, 1.0)] * 5, 1.0),  # the longer one
        ([(0.0, 1.0)] * 15 + [(1.0, 0.0)] * 5, -1.0),  # the shorter one
    ],
)
def test_only_a_judge_that_goes_by_length_shows_length_bias(verdicts: list[tuple[float, float]], gap: float) -> None:
    # People prefer the longer one in 15 of 20: a judge without an opinion must not look biased against length.
    found = measure_length([LONG] * 15 + [SHORT] * 5, verdicts)
    assert found is not None
    assert found.gap.mean == gap
    assert found.gap.low <= gap <= found.gap.high
    assert (found.gap.low > 0 or found.gap.high < 0) == (gap != 0)


def test_length_bias_needs_pairs_of_both_kinds() -> None:
    assert measure_length([LONG] * 3, [(1.0, 0.0)] * 3) is None
    assert measure_length([SHORT] * 3, [(1.0, 0.0)] * 3) is None


def test_calls_count_failures_by_kind_and_price_what_was_reported() -> None:
    outcomes = [
        Outcome(1.0, prompt_tokens=100, generated_tokens=10, seconds=1.0),
        Outcome(0.0, prompt_tokens=300, generated_tokens=30, seconds=2.0),
        Outcome(None, "scripted", "HTTP 429", is_unreachable=True, seconds=9.0),
        Outcome(None, "prose", "no JSON", seconds=3.0),
        Outcome(None, "prose", "no JSON", seconds=3.0),
    ]
    calls = measure_calls(outcomes, Prices(prompt=1.0, generated=5.0))
    assert calls.nan_rate == 0.6
    assert calls.failures == {"no JSON": 2, "HTTP 429": 1}
    assert (calls.prompt_tokens, calls.generated_tokens, calls.median_s) == (200.0, 20.0, 3.0)
    assert calls.price == pytest.approx((200 * 1 + 20 * 5) / 1e6)
    assert measure_calls(outcomes[:2], Prices()).median_s == 1.5


def test_a_judge_that_reports_no_tokens_has_no_price() -> None:
    assert measure_calls([Outcome(1.0, seconds=1.0)], Prices()).price is None


def test_leniency_is_what_the_judge_passes_more_than_people_do_arm_by_arm() -> None:
    arms = ["rag"] * 4 + ["base"] * 3 + [None]
    found = measure_leniency(arms, [True, False, False, True, True, True, True, False], [1, 1, 0, 1, 0, 1, None, 1])
    assert {arm: leniency.mean for arm, leniency in found.items()} == {"rag": 0.25, "base": -0.5}
    assert found["rag"].low < 0 < found["rag"].high
