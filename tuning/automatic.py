"""The numbers that a recipe leaves open: `settled(recipe, num_rows)` has them all.

They follow from the method and the number of rows, and were measured on five data sets
(docs/experiments/training-numbers): few rows are gone through more often, many in larger batches.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, TypeVar

from tuning.recipe import Recipe

R = TypeVar("R", bound=Recipe)

# Passes over the rows between these numbers of them; rows with passages are several times as long, and take one less.
USUAL_ROWS, _MANY_ROWS = 300, 3000
_PASSES, _PASSES_WITH_PASSAGES = 3.0, 2.0
_MOST_PASSES = 10.0
_BATCH_SIZES, _MOST_STEPS = (4, 8, 16, 32), 4000
# From so many rows on a LoRA has this rank; alpha stays, so that the same rate suits every rank.
_RANKS = {100_000: 64, 10_000: 32, 0: 16}


def settled(recipe: R, num_rows: int = USUAL_ROWS) -> R:
    """The recipe with a number in place of each null that stands for one; the same recipe where there is none."""
    found = {name: number for name, number in _numbers(recipe, num_rows).items() if getattr(recipe, name, 0) is None}
    return dataclasses.replace(recipe, **found) if found else recipe


def _numbers(recipe: Recipe, num_rows: int) -> dict[str, Any]:
    epochs = recipe.epochs or _epochs(num_rows, _PASSES_WITH_PASSAGES if recipe.passages else _PASSES)
    batch_size = recipe.batch_size or _batch_size(num_rows * epochs, recipe.accumulate)
    usual_rate = recipe.usual_rate * recipe.objective.rate_factor
    return {
        "epochs": epochs,
        "batch_size": batch_size,
        # A larger batch has a steadier gradient, which Adam's steps may follow further by the root of its size.
        "learning_rate": min(usual_rate * math.sqrt(batch_size / _BATCH_SIZES[0]), 1.0),
        "rank": next(rank for least, rank in _RANKS.items() if num_rows >= least),
    }


def _epochs(num_rows: int, passes: float) -> float:
    """In halves. The steps grow with the root of the rows, where there are few or many."""
    factor = math.sqrt(USUAL_ROWS / min(max(num_rows, 1), USUAL_ROWS)) * math.sqrt(
        _MANY_ROWS / max(num_rows, _MANY_ROWS)
    )
    return min(max(round(2 * passes * factor) / 2, 1.0), _MOST_PASSES)


def _batch_size(num_rows: float, accumulate: int) -> int:
    """The smallest with which so many rows, all epochs together, are not too many steps; a multiple of the parts."""
    size = next((size for size in _BATCH_SIZES if num_rows / size <= _MOST_STEPS), _BATCH_SIZES[-1])
    return math.ceil(size / accumulate) * accumulate
