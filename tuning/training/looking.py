"""What a training is measured on and does not learn: dev and guard rows while it goes on, held-out pairs before and
after.

checks = open_checks(tokenizer, recipe, precision, dev=dev, guard=guard, held_out=held_out)
checks.before = sums_of(model, checks.texts, padding)
checks.measure(model)       # Measured(score=0.8, loss=0.3, guard=0.9)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tuning.data.rows import KINDS, PairRow, TextWindow, TrainingRow
from tuning.errors import TuningError
from tuning.look import Measured, Preference
from tuning.objectives.objective import IGNORED, EncodedRow
from tuning.objectives.registry import OBJECTIVES
from tuning.objectives.supervised import SUPERVISED
from tuning.recipe import CheckRows, Recipe
from tuning.training.batches import encode_rows
from tuning.training.loading import Precision, device
from tuning.training.measuring import make_measure
from tuning.training.preferences import HeldOut, hold_out
from tuning.training.reading import sums_of

Measure = Callable[[Any], tuple[float, float]]
"""A model's score, 0 to 1, and its loss."""


@dataclass(kw_only=True, eq=False)
class Checks:
    """The model that the training begins with reads `texts`; `before` holds what it gave them, from then on."""

    precision: Precision
    dev: Measure | HeldOut | None = None
    guard: Measure | None = None
    held_out: HeldOut | None = None
    before: Sequence[float] = ()

    @property
    def texts(self) -> list[EncodedRow]:
        """What is compared with the beginning."""
        return [text for part in (self.dev, self.held_out) if isinstance(part, HeldOut) for text in part.texts]

    def measure(self, model: Any) -> Measured:
        """How right a model is, of rows that the training is looked at with."""
        assert self.dev is not None
        with self._cast():
            if isinstance(self.dev, HeldOut):
                score, loss = self.dev.look(model, self.before[: len(self.dev.texts)])
            else:
                score, loss = self.dev(model)
            guard = self.guard(model)[0] if self.guard is not None else None
        return Measured(score, loss if math.isfinite(loss) else None, guard)

    def preference(self, model: Any) -> Preference | None:
        """What the training changed in how the model ranks held-out pairs; None without any."""
        if self.held_out is None:
            return None
        with self._cast():
            after = self.held_out.read(model)
        return self.held_out.change(self.before[-len(self.held_out.texts) :], after)

    def _cast(self) -> torch.autocast:
        # Generation goes past what the trainer has put around the model.
        return torch.autocast(device(), torch.bfloat16, enabled=self.precision == "bf16")


def open_checks(
    tokenizer: Any,
    recipe: Recipe,
    precision: Precision,
    *,
    dev: CheckRows | None,
    guard: CheckRows | None,
    held_out: CheckRows | None,
) -> Checks:
    """The checks of a recipe, out of rows of its objective's kind, guard rows aside, which are examples. Raises
    TuningError for rows that say too little.
    """
    objective = OBJECTIVES[recipe.objective.name]
    kind = PairRow if objective.rewards is not None else objective.row
    for checked, wanted in ((dev, kind), (guard, TrainingRow), (held_out, PairRow)):
        if checked is not None and not all(isinstance(row, wanted) for row in checked.rows):
            called = "guard rows" if checked is guard else f"rows to measure objective {objective.name} on"
            raise TuningError(f"{called} must be {KINDS[wanted]}")

    def pairs(rows: CheckRows, called: str, num_prompts: int) -> HeldOut:
        named = {"max_length": recipe.max_length, "called": called, "num_prompts": num_prompts}
        return hold_out(tokenizer, rows.rows, objective, recipe.objective, **named)  # type: ignore[arg-type]

    of_dev: Measure | HeldOut | None = None
    if dev is not None:
        if kind is PairRow:
            of_dev = pairs(dev, "dev", 2 if recipe.has_looks else 1)
        elif kind is TextWindow:
            windows, _ = encode_rows(tokenizer, dev.rows, objective, max_length=recipe.max_length)
            of_dev = _of_documents(windows, tokenizer.pad_token_id or 0)
        else:
            of_dev = make_measure(dev, tokenizer, objective)
    return Checks(
        precision=precision,
        dev=of_dev,
        guard=make_measure(guard, tokenizer, SUPERVISED) if guard is not None else None,
        held_out=pairs(held_out, "held-out", 2) if held_out is not None else None,
    )


def _of_documents(windows: Sequence[EncodedRow], padding: int) -> Measure:
    """The mean probability of a token of texts, the geometric one, which is one over the perplexity, and its loss."""
    count = sum(label != IGNORED for window in windows for label in window.labels[1:])

    def measure(model: Any) -> tuple[float, float]:
        loss = -sum(sums_of(model, windows, padding)) / count
        return math.exp(-loss), loss

    return measure
