"""Sums of one layer's updates, worked out by hand; the same of whole adapters is in test_run.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fakes.lazy import Lazy

from tuning.merging.arithmetic import delta, merged_layer
from tuning.merging.settings import MergeSettings

if TYPE_CHECKING:
    import torch
else:
    torch = Lazy("torch")

# It imports torch and peft.
pytestmark = pytest.mark.slow


def pair(update: list[list[float]], scale: float = 1.0) -> Any:
    """A pair of full rank whose product is the update over the scale."""
    wanted = torch.tensor(update)
    return torch.eye(wanted.shape[1]), wanted / scale, scale


def test_the_sum_of_updates_times_their_weights_has_the_sum_of_their_ranks() -> None:
    one = (torch.tensor([[1.0, 0.0, 2.0]]), torch.tensor([[1.0], [3.0]]), 0.5)
    two = (torch.tensor([[0.0, 1.0, 0.0], [1.0, 1.0, 1.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0]]), 2.0)
    made = merged_layer([(2.0, one), (-1.0, two)], MergeSettings(), None)
    assert (made.a.shape, made.b.shape, made.lost) == ((3, 3), (2, 3), 0.0)
    # 2 x 0.5 x [[1, 0, 2], [3, 0, 6]] - 2 x [[0, 2, 0], [1, 1, 1]]
    assert (made.b @ made.a).tolist() == [[1.0, -4.0, 2.0], [1.0, -2.0, 4.0]]


def test_an_svd_keeps_the_largest_direction_and_tells_what_it_loses() -> None:
    made = merged_layer([(1.0, pair([[3.0, 0.0], [0.0, 0.0]])), (1.0, pair([[0.0, 0.0], [0.0, 4.0]]))],
                        MergeSettings(how="svd"), 1)  # fmt: skip
    torch.testing.assert_close(made.b @ made.a, torch.tensor([[0.0, 0.0], [0.0, 4.0]], dtype=torch.float64))
    assert made.lost == pytest.approx(9.0)


@pytest.mark.parametrize("rank", [5, None])
def test_an_svd_at_the_sum_of_the_ranks_loses_nothing(rank: int | None) -> None:
    torch.manual_seed(0)
    parts = [(0.5, (torch.randn(2, 8), torch.randn(6, 2), 2.0)), (-1.5, (torch.randn(3, 8), torch.randn(6, 3), 0.1))]
    made = merged_layer(parts, MergeSettings(how="svd"), rank)
    assert made.lost == pytest.approx(0.0, abs=1e-20)
    torch.testing.assert_close(made.b @ made.a, sum(weight * delta(one) for weight, one in parts))


def test_ties_trims_elects_a_sign_and_takes_the_mean_of_those_that_have_it() -> None:
    one, two = pair([[4.0, 1.0], [-3.0, 0.5]]), pair([[2.0, -6.0], [5.0, 0.25]])
    made = merged_layer([(1.0, one), (1.0, two)], MergeSettings(how="ties"), 2)
    # Of each the larger half stays: 4, -3 and -6, 5. In the second row 5 outweighs -3.
    assert made.wanted.tolist() == [[4.0, -6.0], [5.0, 0.0]]


def test_in_ties_the_weights_are_part_of_the_vote() -> None:
    one, two = pair([[4.0, 0.0], [-3.0, 0.0]]), pair([[-2.0, 0.0], [2.0, 0.0]])
    made = merged_layer([(0.25, one), (1.0, two)], MergeSettings(how="ties", density=1.0), 2)
    assert made.wanted.tolist() == [[-2.0, 0.0], [2.0, 0.0]]
    taken = merged_layer([(-1.0, one), (1.0, two)], MergeSettings(how="ties", density=1.0), 2)
    assert taken.wanted.tolist() == [[-3.0, 0.0], [2.5, 0.0]], "of what is taken away the sign is the other one"


def test_dare_keeps_numbers_at_random_and_makes_up_for_the_others() -> None:
    torch.manual_seed(3)
    ones = pair(torch.ones(40, 40).tolist())
    made = merged_layer([(1.0, ones), (0.5, ones)], MergeSettings(how="dare", density=0.25), None)
    assert set(made.wanted.flatten().tolist()) == {0.0, 2.0, 4.0, 6.0}
    assert float(made.wanted.mean()) == pytest.approx(1.5, abs=0.15)


def test_a_rank_that_is_open_is_what_loses_no_more_than_a_hundredth() -> None:
    sizes = [10.0, 1.0, 0.05, 0.01]
    parts = [(1.0, pair(torch.diag(torch.tensor(sizes)).tolist())), (1.0, pair(torch.zeros(4, 4).tolist()))]
    made = merged_layer(parts, MergeSettings(how="dare", density=1.0), None)
    assert (made.a.shape, made.b.shape) == ((2, 4), (4, 2))
    assert made.lost == pytest.approx(0.05**2 + 0.01**2)
