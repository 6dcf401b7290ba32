import numpy as np
import pytest
from scipy.special import ndtr

from router.deciding.sequential import nominal_levels


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
