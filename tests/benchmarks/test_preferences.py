"""The rows that each objective is compared on are made of the same pairs."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from router.answering.prompts import ANSWER
from tuning.data.pairs import PreferencePair
from tuning.data.rows import PairRow, RatedRow

PAIRS = [
    PreferencePair("a", ({"role": "user", "content": "When?"},), "nine", "ten"),
    PreferencePair("b", ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}), "Ada", ""),
]


@pytest.fixture(scope="module")
def preferences() -> Any:
    """The benchmark's module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
        yield importlib.import_module("preferences")


def test_every_objective_that_ranks_answers_is_compared(preferences: Any) -> None:
    assert preferences.PREFERENCES == ("dpo", "orpo", "simpo", "kto")


def test_rows_are_asked_as_an_arm_asks_and_rated_ones_are_both_answers_of_the_pairs(preferences: Any) -> None:
    first, second = (tuple(ANSWER.render(pair.prompt, ())) for pair in PAIRS)
    assert preferences.rows_of(PAIRS, "simpo") == [PairRow(first, "nine", "ten"), PairRow(second, "Ada", "")]
    assert preferences.rows_of(PAIRS, "kto") == [
        RatedRow(first, "nine", True),
        RatedRow(second, "Ada", True),
        RatedRow(first, "ten", False),
        RatedRow(second, "", False),
    ]
    assert second[0] == {"role": "system", "content": "Be brief."}
