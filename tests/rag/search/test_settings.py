from __future__ import annotations

from typing import Any

import pytest

from rag.errors import RagError
from rag.search.settings import SearchSettings


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"mode": "sparse"}, "mode"),
        ({"fusion": "sum"}, "fusion"),
        ({"dense_weight": 1.1}, "dense_weight"),
        ({"mmr": -0.1}, "mmr"),
        ({"threshold": float("nan")}, "threshold"),
        ({"candidates": 0}, "candidates"),
        ({"candidates": 1_001}, "candidates"),
        ({"neighbours": 21}, "neighbours"),
    ],
)
def test_a_value_that_is_not_possible_is_named(fields: dict[str, Any], word: str) -> None:
    with pytest.raises(RagError, match=f"^{word} must be"):
        SearchSettings(**fields)
