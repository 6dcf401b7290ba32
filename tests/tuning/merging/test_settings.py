from typing import Any

import pytest

from tuning.errors import TuningError
from tuning.merging.settings import MergeSettings


@pytest.mark.parametrize(
    ("numbers", "fault"),
    [
        ({"how": "linear"}, "how must be one of cat, svd, ties, dare, not 'linear'"),
        ({"how": "cat", "rank": 8}, "rank (8) must be left open with cat"),
        ({"how": "svd", "rank": 0}, "rank must be a whole number of at least 1 or null, not 0"),
        ({"how": "svd", "density": 0.5}, "density (0.5) must be left open with svd"),
        ({"how": "ties", "density": 0.0}, "density must be a number above 0"),
        ({"how": "dare", "density": 1.5}, "density must be a number above 0"),
    ],
)
def test_numbers_that_do_not_go_together_are_refused(numbers: dict[str, Any], fault: str) -> None:
    with pytest.raises(TuningError) as caught:
        MergeSettings(**numbers)
    assert str(caught.value).startswith(fault)


def test_half_of_the_numbers_are_kept_unless_a_density_is_said() -> None:
    assert (MergeSettings(how="ties").kept, MergeSettings(how="dare", density=0.2).kept) == (0.5, 0.2)
