"""The learning curve on arms whose truth is known."""

import numpy as np
import pytest

from eval.learning_curve import fit_curve

SIZES = (25, 50, 100, 200)


def truth(size: int, *, start: float = -6.0, slope: float = 1.2, bend: float = 0.0) -> float:
    odds = start + slope * np.log(size) + bend * max(np.log2(size / SIZES[-1]), 0.0)
    return float(1 / (1 + np.exp(-odds)))


def drawn(seed: int, num: int = 200, **curve: float) -> tuple[list[list[float]], list[str]]:
    """Answers of one training at each size: questions have their own difficulty, the same for all sizes."""
    rng = np.random.default_rng(seed)
    level = rng.random(num)
    mixed = np.where(rng.random((len(SIZES), num)) < 0.7, level, rng.random((len(SIZES), num)))
    scores = [[float(value) for value in row < truth(size, **curve)] for size, row in zip(SIZES, mixed, strict=True)]
    return scores, [f"d{i}" for i in range(num)]


def test_a_forecast_holds_what_more_examples_would_score() -> None:
    held = {400: 0, 800: 0}
    for seed in range(40):
        scores, clusters = drawn(seed)
        curve = fit_curve(SIZES, scores, clusters)
        for size in held:
            found = curve.forecast(size)
            held[size] += found.low <= truth(size) <= found.high
    assert min(held.values()) >= 36, held


@pytest.mark.slow
def test_a_forecast_holds_curves_that_bend_as_much_as_was_seen() -> None:
    held = 0  # 90.5% of 400
    for seed in range(60):
        bend = float(np.random.default_rng(seed + 999).normal(0, 0.3))
        scores, clusters = drawn(seed, bend=bend)
        found = fit_curve(SIZES, scores, clusters).forecast(400)
        held += found.low <= truth(400, bend=bend) <= found.high
    assert held >= 48


@pytest.mark.slow
def test_how_many_examples_reach_a_rival() -> None:
    held, medians = 0, []
    target = truth(400)
    for seed in range(40):
        scores, clusters = drawn(seed, num=400)
        rival = (np.random.default_rng(seed + 500).random(400) < target).astype(float)
        needed = fit_curve(SIZES, scores, clusters).needed(rival.tolist(), most=100_000)
        low, high = needed.low or np.inf, needed.high or np.inf
        held += low <= 400 <= high
        medians.append(needed.expected or np.inf)
    assert held >= 34
    assert 300 < float(np.median(medians)) < 520


def test_a_rival_that_is_out_of_reach_needs_more_than_was_asked_about() -> None:
    scores, clusters = drawn(0, slope=0.05, start=-2.0)
    needed = fit_curve(SIZES, scores, clusters).needed([1.0] * 190 + [0.0] * 10, most=1000)
    assert needed.expected is None
    assert needed.high is None


def test_a_rival_that_is_behind_needs_no_more_than_there_are() -> None:
    scores, clusters = drawn(1)
    curve = fit_curve(SIZES, scores, clusters)
    needed = curve.needed([0.0] * 200, most=1000)
    assert (needed.expected, needed.low, needed.high) == (SIZES[0], SIZES[0], SIZES[0]), "fewer were not tried"
    assert curve.chance_ahead([0.0] * 200, 200) == 1.0
    assert curve.chance_ahead([1.0] * 200, 25) == 0.0


def test_the_same_scores_give_the_same_curve_and_points_have_their_intervals() -> None:
    scores, clusters = drawn(2)
    first, second = (fit_curve(SIZES, scores, clusters) for _ in range(2))
    assert first.forecast(400) == second.forecast(400)
    assert [round(interval.mean, 3) for interval in first.intervals] == [
        round(float(np.mean(row)), 3) for row in scores
    ]


def test_documents_are_resampled_whole() -> None:
    scores, clusters = drawn(3)
    together = [f"d{i // 20}" for i in range(200)]
    alone, grouped = (fit_curve(SIZES, scores, names).forecast(400) for names in (clusters, together))
    sorted_scores = [sorted(row) for row in scores]
    clumped = fit_curve(SIZES, sorted_scores, together).forecast(400)
    assert clumped.high - clumped.low > 1.2 * (alone.high - alone.low)
    assert grouped.mean == pytest.approx(alone.mean, abs=0.05)


@pytest.mark.parametrize("sizes", [(10, 20), (10, 10, 20), (30, 20, 10)])
def test_fewer_than_three_rising_sizes_show_no_curve(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least three rising sizes"):
        fit_curve(sizes, [[0.0, 1.0]] * len(sizes), ["a", "b"])
