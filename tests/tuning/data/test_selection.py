from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tuning.data.selection import select, share_out
from tuning.errors import TuningError


def around(*angles: float) -> NDArray[np.float32]:
    """Unit vectors in the plane."""
    return np.asarray([(np.cos(a), np.sin(a)) for a in angles], dtype=np.float32)


CLUSTERS = around(0.0, 0.05, 0.1, 1.5, 1.55, 1.6, 3.0)


def test_one_row_of_each_cluster_is_taken_the_one_in_its_middle() -> None:
    chosen = select(CLUSTERS, 3)
    assert chosen.places == (1, 4, 6)
    assert chosen.stands_for == (1, 1, 1, 4, 4, 4, 6)


def test_a_sound_row_is_taken_before_one_in_the_middle() -> None:
    assert select(CLUSTERS, 3, num_faults=[1, 2, 0, 0, 1, 1, 5]).places == (2, 3, 6)


def test_each_label_gets_its_share_and_one_at_least() -> None:
    vectors = around(*np.linspace(0, 3, 20))
    labels = ["many"] * 16 + ["few"] * 3 + ["one"]
    chosen = select(vectors, 5, labels=labels)
    assert [labels[place] for place in chosen.places] == ["many"] * 3 + ["few", "one"]
    assert all(labels[other] == labels[place] for place, other in enumerate(chosen.stands_for))


def test_a_label_without_room_is_stood_for_by_none() -> None:
    chosen = select(around(0, 0.1, 2), 1, labels=["a", "a", "b"])
    assert chosen.stands_for[2] == -1
    assert len(chosen.places) == 1


def test_rows_that_are_the_same_still_make_up_the_number() -> None:
    chosen = select(around(*[1.0] * 5, 2.0), 4, num_faults=[1, 0, 0, 0, 0, 0])
    assert len(chosen.places) == 4
    assert 5 in chosen.places


def test_all_rows_are_their_own() -> None:
    assert select(CLUSTERS, 7).stands_for == tuple(range(7))


def test_the_same_arguments_choose_the_same() -> None:
    vectors = around(*np.random.default_rng(0).uniform(0, 6, 50))
    assert select(vectors, 9, seed=2) == select(vectors, 9, seed=2)


@pytest.mark.parametrize("count", [0, 8])
def test_a_number_that_cannot_be_chosen_is_refused(count: int) -> None:
    with pytest.raises(TuningError, match=rf"{count} rows cannot be chosen of 7; give a number from 1 to 7"):
        select(CLUSTERS, count)


def test_shares_follow_the_sizes() -> None:
    # one each, then 80/3 = 26.7, 80/5 = 16 against 20/3 = 6.7
    assert share_out({"a": 80, "b": 20}, 4) == {"a": 3, "b": 1}
    assert share_out({"a": 2, "b": 20}, 22) == {"a": 2, "b": 20}
    assert share_out({"a": 1, "b": 5, "c": 3}, 2) == {"a": 0, "b": 1, "c": 1}
