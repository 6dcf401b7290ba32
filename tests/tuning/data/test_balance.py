from __future__ import annotations

from collections import Counter

import pytest

from tuning.data.balance import balance
from tuning.errors import TuningError

LABELS = ["a", "b", "a", None, "a", "b", "a", "c"]


def test_rare_labels_are_repeated_behind_all_rows() -> None:
    places = balance(LABELS, "oversample")
    assert places[:8] == list(range(8))
    assert Counter(LABELS[place] for place in places) == {"a": 4, "b": 4, "c": 4, None: 1}
    assert Counter(places)[7] == 4
    assert {Counter(places)[1], Counter(places)[5]} == {2}  # each once more before one is there a third time


def test_frequent_labels_are_thinned_out_in_their_order() -> None:
    places = balance(LABELS, "undersample", rows=2, seed=1)
    assert places == sorted(places)
    assert Counter(LABELS[place] for place in places) == {"a": 2, "b": 2, "c": 1, None: 1}
    assert Counter(LABELS[place] for place in balance(LABELS, "undersample")) == {"a": 1, "b": 1, "c": 1, None: 1}


def test_the_seed_decides_which_rows_stay() -> None:
    assert balance(LABELS, "undersample", seed=3) == balance(LABELS, "undersample", seed=3)
    assert len({tuple(balance(LABELS, "undersample", seed=seed)) for seed in range(8)}) > 1


def test_more_rows_than_the_most_frequent_label_has_can_be_wanted() -> None:
    assert Counter(LABELS[place] for place in balance(LABELS, "oversample", rows=6))["a"] == 6
    assert balance(LABELS, "oversample", rows=1) == list(range(8))


@pytest.mark.parametrize("labels", [[], [None, None], ["a", "a", None]])
def test_one_label_cannot_be_balanced(labels: list[str | None]) -> None:
    with pytest.raises(TuningError, match=r"there are \d labels, so there is nothing to balance"):
        balance(labels, "oversample")
