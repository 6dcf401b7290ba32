"""Rows as token ids, and the order in which they are trained on.

plan = make_plan(tokenizer, rows, recipe)
plan.steps[0]                                 the rows of the first step
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuning.data.rows import Row, TrainingRow
from tuning.errors import TuningError
from tuning.objectives.drawn import DrawnSettings
from tuning.objectives.objective import EncodedRow, Objective
from tuning.objectives.registry import OBJECTIVES
from tuning.recipe import Recipe, known
from tuning.training.sharing import num_shared

# Rows are sorted by length within windows of this many batches. In batches of 8, padding falls from 18% to 3% of the
# tokens on the demo corpus, from 25% to 6% on banking20, and the head runs on 20 to 30% of the positions, not on 40%.
_WINDOW_BATCHES = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """What a training goes through. `order` holds places in `rows`, one for each row of each epoch, of which
    `batch_size` are a step. `num_dropped` rows were too long.
    """

    rows: Sequence[EncodedRow]
    num_dropped: int
    order: Sequence[int]
    batch_size: int

    @property
    def steps(self) -> list[list[EncodedRow]]:
        """The rows of each step."""
        starts = range(0, len(self.order), self.batch_size)
        return [[self.rows[i] for i in self.order[start : start + self.batch_size]] for start in starts]

    @property
    def num_steps(self) -> int:
        """Steps of the optimizer."""
        return len(self.steps)

    @property
    def num_tokens(self) -> list[int]:
        """Of each step, padding aside."""
        return [sum(row.num_tokens for row in rows) for rows in self.steps]

    @property
    def longest(self) -> int:
        """Tokens of the longest text."""
        return max(row.length for row in self.rows)

    @property
    def texts(self) -> list[EncodedRow]:
        """Those of each row in turn."""
        return [text for row in self.rows for text in row.texts]

    def with_reference(self, sums: Sequence[float]) -> Plan:
        """The plan whose rows hold what another model gave each of the texts."""
        given = iter(sums)
        rows = [replace(row, reference=tuple(itertools.islice(given, len(row.texts)))) for row in self.rows]
        return replace(self, rows=rows)


def make_plan(tokenizer: Any, rows: Sequence[Row], recipe: Recipe) -> Plan:
    """The plan of a recipe; depends on the arguments alone. Raises TuningError as `encode_rows` does."""
    objective = OBJECTIVES[recipe.objective.name]
    encoded, num_dropped = encode_rows(tokenizer, rows, objective, max_length=recipe.max_length)
    lengths, size = [row.length for row in encoded], known(recipe.batch_size)
    alike = alike_rows(encoded) if objective.row is TrainingRow and objective.drawing is None else []
    order = training_order(lengths, epochs=known(recipe.epochs), batch_size=size, seed=recipe.seed, alike=alike)
    if isinstance(recipe.objective, DrawnSettings):
        again = recipe.objective.steps_per_draw
        order = [i for start in range(0, len(order), size) for i in order[start : start + size] * again]
    return Plan(encoded, num_dropped, order, size)


def encode_rows(
    tokenizer: Any, rows: Sequence[Row], objective: Objective, *, max_length: int
) -> tuple[list[EncodedRow], int]:
    """The rows whose texts have at most `max_length` tokens, and how many were longer and left out.

    Cutting a row would take the question or the golden passage from it, which teaches to guess. Raises TuningError when
    no row is left, and when the chat template refuses one.
    """
    encoded = [replace(objective.encode(tokenizer, row), place=place) for place, row in enumerate(rows)]
    kept = [row for row in encoded if row.length <= max_length]
    if not kept:
        shortest = min((row.length for row in encoded), default=0)
        raise TuningError(
            f"all {len(rows)} training rows are longer than max_length {max_length} (the shortest has {shortest} "
            "tokens); raise max_length, or show fewer or shorter passages"
        )
    return objective.join(kept, max_length), len(encoded) - len(kept)


def alike_rows(rows: Sequence[EncodedRow]) -> list[list[int]]:
    """Places of rows that begin alike for at least half of each, as questions about one passage do. What all rows begin
    with, a system message perhaps, does not count.
    """
    common, groups = num_shared(rows), list[list[int]]()
    for place in sorted(range(len(rows)), key=lambda place: rows[place].input_ids):
        # In this order a row shares the more with an earlier one the nearer that stands.
        with_it = [rows[one] for one in (*groups[-1], place)] if groups else []
        longest = max((row.num_tokens for row in with_it), default=0)
        if with_it and 2 * (num_shared(with_it) - common) >= longest - common:
            groups[-1].append(place)
        else:
            groups.append([place])
    return [group for group in groups if len(group) > 1]


def training_order(
    lengths: Sequence[int], *, epochs: float, batch_size: int, seed: int, alike: Sequence[Sequence[int]] = ()
) -> list[int]:
    """Row numbers in training order; consecutive groups of `batch_size` are the batches, the last may be smaller.

    Every epoch is a new shuffle; within windows of a few batches, rows of similar length come together, and the batches
    of a window are shuffled. Rows of `alike` come together in half batches, drawn anew in every epoch, since what they
    begin with is worked on once where they meet (tuning/training/parts.py). The order depends on the arguments alone,
    so that a resumed training goes on in it.
    """
    rng, half = random.Random(seed), max(batch_size // 2, 1)
    total = math.ceil(epochs * len(lengths))
    stream: list[tuple[int, ...]] = []
    for _ in range(math.ceil(total / len(lengths))):
        stream += _units(len(lengths), alike, half, rng)
    drawn = [(place, row) for place, unit in enumerate(stream) for row in unit][:total]
    order: list[int] = []
    for start in range(0, total, batch_size * _WINDOW_BATCHES):
        window = _sorted(drawn[start : start + batch_size * _WINDOW_BATCHES], lengths, half)
        batches = [window[i : i + batch_size] for i in range(0, len(window), batch_size)]
        # A smaller batch has to stay last, or the groups after it would shift.
        tail = [batches.pop()] if len(batches[-1]) < batch_size else []
        rng.shuffle(batches)
        order += [i for batch in batches + tail for i in batch]
    return order


def _units(num_rows: int, alike: Sequence[Sequence[int]], size: int, rng: random.Random) -> list[tuple[int, ...]]:
    """An epoch's rows in random order, those that begin alike up to `size` together."""
    grouped = {row for group in alike for row in group}
    units: list[tuple[int, ...]] = [(row,) for row in range(num_rows) if row not in grouped]
    for group in alike:
        shuffled = rng.sample(group, len(group))
        units += [tuple(shuffled[start : start + size]) for start in range(0, len(shuffled), size)]
    return rng.sample(units, len(units))


def _sorted(window: Sequence[tuple[int, int]], lengths: Sequence[int], half: int) -> list[int]:
    """The rows of a window, each given with its unit's number, by the length of their units: those that fill half a
    batch first, so that no batch cuts them.
    """
    units: dict[int, list[int]] = {}
    for unit, row in window:
        units.setdefault(unit, []).append(row)
    by_length = sorted(units.values(), key=lambda rows: (len(rows) < half, max(lengths[row] for row in rows)))
    return [row for rows in by_length for row in rows]
