import math

import pytest

from eval.scorer import to_score


@pytest.mark.parametrize(
    ("value", "score"),
    [
        (0.25, 0.25),
        (-0.1, 0.0),
        (1.0000001, 1.0),
        (math.nan, None),
        (math.inf, None),
        (None, None),
        ("no", None),
        (10**400, None),
    ],
)
def test_a_raw_value_becomes_a_score_or_nothing(value: object, score: float | None) -> None:
    assert to_score(value) == score
