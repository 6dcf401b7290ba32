import itertools
import math

import numpy as np
import pytest

from router.deciding.statistics import (
    detectable_difference,
    holm,
    mean_interval,
    paired_difference,
    questions_needed,
    share_not_beaten,
)


def alone(n: int) -> list[str]:
    return [f"d{i}" for i in range(n)]


def test_wilson_interval_of_binary_scores_by_hand() -> None:
    # 8 of 10: centre (0.8 + z²/20) / (1 + z²/10), half width z·sqrt(0.016 + z²/400) / (1 + z²/10), z = 1.959964.
    interval = mean_interval([1.0] * 8 + [0.0] * 2, alone(10))
    assert interval.mean == 0.8
    assert (interval.low, interval.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_no_success_still_has_a_width() -> None:
    interval = mean_interval([0.0] * 60, alone(60))
    assert interval.low == pytest.approx(0.0, abs=1e-12)
    assert interval.high == pytest.approx(0.0602, abs=1e-4)


@pytest.mark.parametrize("scores", [[0.0] * 60, [1.0] * 60, [0.5] * 60])
def test_many_questions_about_one_document_bound_nothing(scores: list[float]) -> None:
    interval = mean_interval(scores, ["d"] * 60)
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_documents_are_counted_where_all_answers_agree() -> None:
    # Four documents of 15 wrong answers, and a made-up fifth, half wrong and half right: its mean is 0.1, its residuals
    # are 15 times 0.1 four and a half times and 0.9 half a time, t at 0.975 with 3 degrees is 3.1824.
    interval = mean_interval([0.0] * 60, [f"d{i % 4}" for i in range(60)])
    squares = 4.5 * 0.1**2 + 0.5 * 0.9**2
    assert interval.low == 0.0
    assert interval.high == pytest.approx(0.1 + 3.1824 * math.sqrt(5 / 4 * squares) / 5, abs=1e-4)


def test_clustered_scores_widen_the_interval() -> None:
    scores = [1.0, 0.0] * 20
    pairs = [f"d{int(score)}-{i // 10}" for i, score in enumerate(scores)]
    independent, clustered = mean_interval(scores, alone(40)), mean_interval(scores, pairs)
    assert clustered.high - clustered.low > 1.3 * (independent.high - independent.low)


def test_one_document_says_nothing_about_the_next() -> None:
    interval = mean_interval([0.2, 0.4], ["d", "d"])
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_mcnemar_is_exact() -> None:
    # 9 wins, 1 loss, 10 agreements: two-sided binomial p = 2 * (1 + 10) / 2**10.
    a = [1.0] * 9 + [0.0] + [1.0] * 10
    b = [0.0] * 9 + [1.0] + [1.0] * 10
    difference = paired_difference(a, b, alone(20), margin=0.03)
    assert difference.test == "exact McNemar"
    assert difference.p_value == pytest.approx(22 / 1024)
    assert difference.mean == pytest.approx(0.4)
    assert difference.low > 0 > -difference.high


def test_sign_flips_are_exact_for_few_pairs() -> None:
    # Four positive differences: only all-plus and all-minus are as extreme, 2 of 16.
    difference = paired_difference([0.9, 0.8, 0.8, 0.6], [0.1, 0.2, 0.3, 0.4], alone(4), margin=0.03)
    assert difference.test == "sign-flip permutation"
    assert difference.p_value == pytest.approx(2 / 16)


@pytest.mark.parametrize(
    ("sums", "size"), [([0.31, -0.12, 0.75, 0.64, -0.2, 0.9, 0.05], 1), ([3.0, -1.0, 2.0, 2.0, 0.0, -1.0, 4.0], 5)]
)
def test_sign_flips_are_counted_exactly(sums: list[float], size: int) -> None:
    patterns = np.array(list(itertools.product((1.0, -1.0), repeat=7))) @ np.abs(sums)
    expected = (np.abs(patterns) >= abs(sum(sums)) - 1e-9).mean()
    # A document's whole sum is the difference of its first questions, at most 1 of each.
    differences = [
        min(max(value - i, 0.0), 1.0) - min(max(-value - i, 0.0), 1.0) for value in sums for i in range(size)
    ]
    a, b = ([max(sign * value, 0.0) for value in differences] for sign in (1, -1))
    difference = paired_difference(a, b, [f"d{i // size}" for i in range(7 * size)], margin=0.03)
    assert difference.test == "sign-flip permutation"
    assert difference.p_value == pytest.approx(expected)


def test_a_lead_without_large_differences_is_doubted() -> None:
    # 0.05 partial credit on each of 30 questions; an arm that is right on a twentieth of them may have met none here.
    small = paired_difference([0.05] * 30, [0.0] * 30, alone(30), margin=0.03)
    assert small.p_value > 0.5
    # Seven made-up points would be needed to hide a lead of 0.2 on 30 questions: one does not.
    assert paired_difference([0.4] * 30, [0.2] * 30, alone(30), margin=0.03).p_value < 1e-3
    # With three large differences the leader's way nothing is made up: 2 of 2**10 patterns.
    large = paired_difference([0.9] * 3 + [0.6] * 7, [0.4] * 10, alone(10), margin=0.03)
    assert large.p_value == pytest.approx(2 / 2**10)


def test_what_doubts_a_lead_is_as_large_as_a_document() -> None:
    # One more question of five would not weigh against 20 documents; a document does.
    documents = [f"d{i // 5}" for i in range(100)]
    assert paired_difference([0.05] * 100, [0.0] * 100, documents, margin=0.03).p_value == 1.0
    # Of questions that are right or wrong, three documents with one the leader's way are enough.
    a = [1.0, 0.0, 0.0, 0.0, 0.0] * 8
    difference = paired_difference(a, [0.0] * 40, documents[:40], margin=0.03)
    assert difference.p_value == pytest.approx(2 / 2**8)


def test_sign_flips_of_many_documents_have_a_small_p_value() -> None:
    # 40 of 40 one way: 2 of 2**40 patterns.
    difference = paired_difference([0.9, 0.7] * 20, [0.3] * 40, alone(40), margin=0.03)
    assert difference.p_value == pytest.approx(2**-39, rel=0.01)


def test_questions_on_one_document_count_once() -> None:
    a, b = [1.0] * 12, [0.0] * 12
    by_question = paired_difference(a, b, alone(12), margin=0.03)
    by_document = paired_difference(a, b, ["d0"] * 6 + ["d1"] * 6, margin=0.03)
    assert by_question.p_value < 0.001
    assert by_document.p_value == 1.0  # two documents, and a made-up one that goes the other way


def test_one_differing_document_or_one_document_at_all_shows_nothing() -> None:
    lone = paired_difference([0.7, 0.5, 0.5], [0.1, 0.5, 0.5], alone(3), margin=0.03)
    assert lone.p_value == 1.0
    single = paired_difference([0.7, 0.6], [0.1, 0.2], ["d", "d"], margin=0.03)
    assert (single.p_value, single.p_equivalent, single.sd, single.low, single.high) == (1.0, 1.0, None, -1.0, 1.0)


def test_equal_answers_are_equivalent_once_there_are_enough() -> None:
    # With a share of 0.03 that could differ, the standard error is at least sqrt(0.03 * 0.97 / n); and one made-up loss
    # among n has the skewness -5.29 or -1.62, for which t is corrected.
    few, many = (paired_difference([0.5] * n, [0.5] * n, alone(n), margin=0.03) for n in (30, 120))
    assert (few.mean, few.p_value, many.mean, many.p_value) == (0.0, 1.0, 0.0, 1.0)
    assert few.p_equivalent == pytest.approx(0.309, abs=1e-3)  # t = 0.03 / 0.03115 = 0.963, corrected 0.503
    assert many.p_equivalent == pytest.approx(0.044, abs=1e-3)  # t = 1.926, corrected 1.718


def test_many_small_leads_are_no_tie_where_rare_losses_balance_them() -> None:
    # Right on a tenth of the questions against partial credit of 0.05 on each: five points apart, which a t-test takes
    # for less, at the level of ten arms in a race, three times as often as it may.
    rng, wrong = np.random.default_rng(1), 0
    for _ in range(400):
        exact, verbose = (rng.random(200) < 0.1).astype(float), rng.beta(1, 19, 200)
        wrong += paired_difference(verbose.tolist(), exact.tolist(), alone(200), margin=0.05).p_not_worse <= 0.005
    assert wrong <= 2


@pytest.mark.parametrize("num", [2, 10, 30])
def test_a_few_answers_that_agree_are_no_tie(num: int) -> None:
    # Five points apart without a loss, all of these agree in 90, 60 and 21% of the samples.
    difference = paired_difference([1.0] * num, [1.0] * num, alone(num), margin=0.05)
    assert difference.p_equivalent > 0.05
    assert difference.low < -0.05 < 0.05 < difference.high


def test_the_floor_of_equivalence_counts_documents() -> None:
    # 200 questions about 10 documents that all agree: as sure as 10 answers.
    agree, documents = [1.0] * 200, [f"d{i % 10}" for i in range(200)]
    by_document = paired_difference(agree, agree, documents, margin=0.05)
    ten = paired_difference([1.0] * 10, [1.0] * 10, alone(10), margin=0.05)
    assert by_document.p_equivalent == pytest.approx(ten.p_equivalent)
    assert (by_document.low, by_document.high) == pytest.approx((ten.low, ten.high))


def test_the_interval_of_a_difference_by_hand() -> None:
    # Eight of eight: mean 0.8 of ten with the made-up ones, variance 0.9 - 0.64, t at 0.975 with 7 degrees is 2.3646.
    difference = paired_difference([1.0] * 8, [0.0] * 8, alone(8), margin=0.05)
    assert difference.low == pytest.approx(0.8 - 2.3646 * math.sqrt(0.26 / 9), abs=1e-4)
    assert difference.high == 1.0


def test_equivalence_needs_more_than_a_small_mean() -> None:
    rng = np.random.default_rng(3)
    noisy = rng.choice([0.0, 1.0], 40)
    difference = paired_difference(list(noisy), list(noisy[::-1]), alone(40), margin=0.03)
    assert difference.p_equivalent > 0.05


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.03, 0.04 times 3, 2, 1, made monotone.
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == []
    # Three of six pairs: times 6, 5, 4.
    assert holm([0.04, 0.01, 0.03], among=6) == pytest.approx([0.16, 0.06, 0.15])


def test_share_not_beaten_knows_the_best_and_the_worst() -> None:
    scores = np.array([[1.0] * 30, [0.0] * 30])
    assert share_not_beaten(scores, alone(30), arm=0, margin=0.03) > 0.999
    assert share_not_beaten(scores, alone(30), arm=1, margin=0.03) < 0.001


def test_one_question_is_not_certainty() -> None:
    # Differences of 1, 1 and -1: a mean of 1 / 3 with a standard error of 2 / 3, and Student's t with one degree of
    # freedom puts 1 / 2 + atan(1 / 2) / pi = 0.648 above 0.
    share = share_not_beaten(np.array([[1.0], [0.0]]), alone(1), arm=0, margin=0.0)
    assert share == pytest.approx(0.648, abs=0.02)


@pytest.mark.parametrize("num", [1, 3, 4, 6])
def test_confidence_counts_documents(num: int) -> None:
    # Twenty questions on each document, every one of them won by 0.1.
    scores = np.repeat([[0.5], [0.4]], 20 * num, axis=1)
    share = share_not_beaten(scores, [f"d{i % num}" for i in range(20 * num)], arm=0, margin=0.03)
    assert 0.5 < share < 0.95


def test_share_not_beaten_is_even_between_twins_that_win_half_each() -> None:
    first = np.array([1.0, 0.0] * 50)
    share = share_not_beaten(np.array([first, 1 - first]), alone(100), arm=0, margin=0.0)
    assert 0.45 < share < 0.6


def test_known_sample_sizes() -> None:
    # 100 questions at 20% discordance see 12 points; 5 points need 626.
    assert detectable_difference(100) == pytest.approx(0.124, abs=1e-3)
    assert detectable_difference(626) == pytest.approx(0.05, abs=1e-4)
    assert detectable_difference(2) == 1.0
    # The best of six arms is compared five times.
    assert detectable_difference(100, alpha=0.05 / 5) > detectable_difference(100)
    # (1.96 + 0.84)² · 0.2 / 0.05², without McNemar's small correction.
    assert questions_needed(0.05, math.sqrt(0.2)) == 628
    assert questions_needed(0.1, 0.0) == 1


@pytest.mark.parametrize("call", [lambda: mean_interval([], []), lambda: paired_difference([], [], [], margin=0.1)])
def test_nothing_to_count_is_a_value_error(call: object) -> None:
    with pytest.raises(ValueError, match="at least one"):
        call()  # type: ignore[operator]


@pytest.mark.slow
@pytest.mark.parametrize(("a", "b"), [(0.05, 1.0), (0.2, 2.0), (1.0, 1.0), (2.0, 0.2), (0.5, 10.0)])
def test_intervals_of_graded_means_cover(a: float, b: float) -> None:
    rng = np.random.default_rng(5)
    scores, true = rng.beta(a, b, (1000, 30)), a / (a + b)
    found = [mean_interval(list(row), alone(30)) for row in scores]
    # 950 are expected, and 930 is three standard errors below.
    assert sum(interval.low <= true <= interval.high for interval in found) >= 930
