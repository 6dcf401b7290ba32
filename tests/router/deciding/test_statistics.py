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
    difference = paired_difference([0.9, 0.8, 0.7, 0.6], [0.1, 0.2, 0.3, 0.4], alone(4), margin=0.03)
    assert difference.test == "sign-flip permutation"
    assert difference.p_value == pytest.approx(2 / 16)


def test_questions_on_one_document_count_once() -> None:
    a, b = [1.0] * 12, [0.0] * 12
    by_question = paired_difference(a, b, alone(12), margin=0.03)
    by_document = paired_difference(a, b, ["d0"] * 6 + ["d1"] * 6, margin=0.03)
    assert by_question.p_value < 0.001
    assert by_document.p_value == pytest.approx(0.5)  # two documents: 2 of 4 sign patterns


def test_one_differing_document_or_one_document_at_all_shows_nothing() -> None:
    lone = paired_difference([0.7, 0.5, 0.5], [0.1, 0.5, 0.5], alone(3), margin=0.03)
    assert lone.p_value == 1.0
    single = paired_difference([0.7, 0.6], [0.1, 0.2], ["d", "d"], margin=0.03)
    assert (single.p_value, single.p_equivalent, single.sd, single.low, single.high) == (1.0, 1.0, None, -1.0, 1.0)


def test_equal_arms_have_no_difference_and_equivalence() -> None:
    difference = paired_difference([0.5] * 30, [0.5] * 30, alone(30), margin=0.03)
    assert (difference.mean, difference.p_value, difference.p_equivalent) == (0.0, 1.0, 0.0)


def test_equivalence_needs_more_than_a_small_mean() -> None:
    rng = np.random.default_rng(3)
    noisy = rng.choice([0.0, 1.0], 40)
    difference = paired_difference(list(noisy), list(noisy[::-1]), alone(40), margin=0.03)
    assert difference.p_equivalent > 0.05


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.03, 0.04 times 3, 2, 1, made monotone.
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == []


def test_share_not_beaten_knows_the_best_and_the_worst() -> None:
    scores = np.array([[1.0] * 30, [0.0] * 30])
    assert share_not_beaten(scores, alone(30), arm=0, margin=0.03) > 0.999
    assert share_not_beaten(scores, alone(30), arm=1, margin=0.03) < 0.001


def test_one_question_is_not_certainty() -> None:
    # Beta(2, 1) puts 0.75 above one half; the three resampled clusters come close to it.
    share = share_not_beaten(np.array([[1.0], [0.0]]), alone(1), arm=0, margin=0.0)
    assert 0.65 < share < 0.85


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
def test_bootstrap_intervals_cover() -> None:
    # 200 samples of 40 graded scores with true mean 0.5: a 95% interval may miss about 10 of them.
    rng = np.random.default_rng(5)
    hits = sum(
        interval.low <= 0.5 <= interval.high
        for interval in (mean_interval(list(rng.uniform(0, 1, 40)), alone(40)) for _ in range(200))
    )
    assert hits >= 180
