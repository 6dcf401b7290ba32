import numpy as np
import pytest
from scipy.special import bdtr, ndtr

from router.deciding.sequential import exact_level, nominal_levels


def test_one_look_has_the_whole_level() -> None:
    assert nominal_levels((400,), 0.02) == pytest.approx((0.02,))


def test_the_first_look_spends_the_square_of_its_share() -> None:
    assert nominal_levels((100, 400), 0.02)[0] == pytest.approx(0.02 / 16)


def test_all_looks_together_cross_as_often_as_the_level_says() -> None:
    ends = tuple(range(20, 401, 20))
    levels = nominal_levels(ends, 0.05)
    steps = np.random.default_rng(5).normal(size=(40_000, len(ends)))
    z = steps.cumsum(axis=1) / np.sqrt(np.arange(1, len(ends) + 1))
    crossed = ndtr(-z) <= np.array(levels)
    assert crossed.any(axis=1).mean() == pytest.approx(0.05, abs=0.004)
    assert crossed[:, :10].any(axis=1).mean() == pytest.approx(0.05 / 4, abs=0.002)


@pytest.mark.parametrize("ends", [(), (0, 5), (5, 5), (10, 5)])
def test_looks_that_do_not_rise_are_refused(ends: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="more and more questions"):
        nominal_levels(ends, 0.02)


def test_the_level_of_counted_signs_is_that_of_the_fewest_losses() -> None:
    # Six wins to none have p = 2 / 64; five have 2 / 32, which 0.04 does not allow.
    assert exact_level([6], (40,), 0.04) == pytest.approx(2 / 64)
    assert exact_level([5], (40,), 0.04) == 0.0
    assert exact_level([0], (40,), 0.04) == 0.0


def test_what_a_look_could_not_spend_is_left_for_the_next() -> None:
    # After half of the questions 0.01 may be spent, and seven of seven has 2 / 128: nothing is. One loss of nine has
    # 20 / 512, which fits into the whole 0.04.
    assert exact_level([7], (20, 40), 0.04) == 0.0
    assert exact_level([7, 9], (20, 40), 0.04) == pytest.approx(20 / 512)
    # Eight of eight is a claim at the first look and has spent 2 / 256, which are ways to eight and nine of nine.
    assert exact_level([8, 9], (20, 40), 0.04) == pytest.approx(20 / 512)
    assert exact_level([8, 9], (20, 40), 0.035) == pytest.approx(2 / 512)


@pytest.mark.slow
def test_counted_looks_cross_as_often_as_the_level_says_and_never_more() -> None:
    ends, rng = tuple(range(10, 201, 10)), np.random.default_rng(6)
    num_apart = rng.binomial(10, 0.4, len(ends)).cumsum().tolist()
    levels = [exact_level(num_apart[: i + 1], ends, 0.04) for i in range(len(ends))]
    signs = rng.choice([0, 1], (40_000, num_apart[-1]))
    wins = signs.cumsum(axis=1)[:, [num - 1 for num in num_apart]]
    fewest = np.minimum(wins, num_apart - wins)
    crossed = 2 * bdtr(fewest.astype(float), np.array(num_apart), 0.5) <= np.array(levels)
    assert 0.03 < crossed.any(axis=1).mean() < 0.042
