"""How rankings by people's and by generated questions are compared."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="module")
def benchmark() -> Any:
    """The benchmark's module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
        yield importlib.import_module("generated_questions")


def scores(benchmark: Any, rows: dict[str, list[float]], documents: str) -> Any:
    return benchmark.Scores(tuple(rows), np.array(list(rows.values()), dtype=float), tuple(documents))


def test_tau_counts_pairs_that_both_rank_alike(benchmark: Any) -> None:
    first = np.array([0.1, 0.2, 0.3, 0.4])
    assert benchmark.kendall(first, first) == pytest.approx(1.0)
    assert benchmark.kendall(first, -first) == pytest.approx(-1.0)
    # Of six pairs one is the other way round: (5 - 1) / 6.
    assert benchmark.kendall(first, np.array([0.1, 0.2, 0.4, 0.3])) == pytest.approx(4 / 6)
    # A tie in one of them: 5 pairs alike, over the root of 6 times 5.
    assert benchmark.kendall(first, np.array([0.1, 0.2, 0.3, 0.3])) == pytest.approx(5 / math.sqrt(30))
    assert benchmark.kendall(first, np.array([0.5, 0.5, 0.5, 0.5])) == 0.0


def test_winners_and_what_is_lost_by_the_other_one(benchmark: Any) -> None:
    human, generated = np.array([0.5, 0.4, 0.1]), np.array([0.2, 0.9, 0.3])
    assert not benchmark.is_same_winner(human, generated)
    assert benchmark.loss(human, generated) == pytest.approx(0.1)
    assert benchmark.is_same_winner(human, np.array([0.9, 0.9, 0.3]))
    assert benchmark.loss(human, human) == 0.0


def test_sets_that_agree_on_every_document_agree_in_every_draw(benchmark: Any) -> None:
    rows = {"base": [0.0, 0.0, 0.0, 0.0], "rag": [1.0, 1.0, 1.0, 1.0], "tuned": [0.5, 0.5, 0.5, 0.5]}
    human, generated = scores(benchmark, rows, "aabc"), scores(benchmark, {**rows, "other": [1.0] * 4}, "xyzz")
    found = benchmark.agreement(human, generated, draws=50)
    assert (found.tau.mean, found.tau.low, found.tau.high) == pytest.approx((1.0, 1.0, 1.0))
    assert (found.is_same_winner, found.same_winner, found.loss.high) == (True, 1.0, 0.0)
    lines = list(benchmark.told(human, generated, found))
    assert lines[1] == "| rag | 1.000 | 1.000 |"
    assert "the same winner; the same in 100% of draws" in lines


def test_documents_are_drawn_as_wholes_and_missing_scores_count_nowhere(benchmark: Any) -> None:
    nan = float("nan")
    # Two documents, one of which has three of the four questions: a draw's mean is one of three.
    one = scores(benchmark, {"a": [1.0, 1.0, nan, 0.0], "b": [0.0, 0.0, 0.0, 1.0]}, "xxxy")
    means = {tuple(np.round(draw, 3)) for draw in benchmark._draws(one, 200, np.random.default_rng(0))}
    assert means == {(1.0, 0.0), (0.667, 0.25), (0.0, 1.0)}
    found = benchmark.agreement(one, one, draws=400)
    assert found.tau.mean == pytest.approx(1.0)
    # Both sets are drawn on their own: the winner changes where one draws y alone and the other does not (3/8).
    assert found.same_winner == pytest.approx(5 / 8, abs=0.08)


def test_one_arm_has_no_ranking(benchmark: Any) -> None:
    one = scores(benchmark, {"a": [1.0]}, "x")
    with pytest.raises(ValueError, match="1 arms were asked both sets; rankings need two"):
        benchmark.agreement(one, one, draws=1)
