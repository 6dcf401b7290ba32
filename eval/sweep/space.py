"""What a sweep may set: each setting's choices or range, and how many combinations there are.

SweepSettings(arm="hybrid", space={"arms.hybrid.top_k": [1, 2, 4], "index.chunk_tokens": Range(60, 240)})
space = {"arms.rag.top_k": Choices((1, 2, 4)), "adapters.raft.learning_rate": Range(1e-4, 3e-3, log=True)}
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from eval.errors import EvalError
from storage.settings import Above0, Count, settings

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Value = bool | int | float | str | None
SamplerName = Literal["tpe", "gp"]
# Dotted config keys to values.
Settings = Mapping[str, Value]

# Digits of a drawn number: what is measured can be pasted, and finds the adapter that was trained with it.
_DIGITS = 3
_GRID_DIGITS = 10


@dataclass(frozen=True, slots=True)
class Choices:
    """One of these values; at least one, each once."""

    values: tuple[Value, ...]

    def faults(self) -> tuple[str, ...]:
        """What is wrong with it, a line each."""
        if not self.values:
            return ("the list of choices is empty; give at least one",)
        repeated = [value for i, value in enumerate(self.values) if _is_among(value, self.values[:i])]
        return tuple(f"{value!r} is listed twice" for value in repeated)

    @property
    def is_ordered(self) -> bool:
        """Whether these are rising numbers, of which neighbours are alike."""
        numbers = [value for value in self.values if isinstance(value, int | float) and not isinstance(value, bool)]
        return len(numbers) == len(self.values) and numbers == sorted(numbers)

    def grid(self) -> tuple[Value, ...]:
        """Every value."""
        return self.values

    # Values to check for all of them.
    ends = grid

    def including(self, default: Value) -> Choices:
        """The same with `default` as one more choice, unless it is one."""
        if _is_among(default, self.values):
            return self
        both = (*self.values, default)
        numbers = [value for value in both if isinstance(value, int | float) and not isinstance(value, bool)]
        return Choices(tuple(sorted(numbers)) if len(numbers) == len(both) else both)

    def distribution(self) -> BaseDistribution:
        """What optuna draws from."""
        from optuna.distributions import CategoricalDistribution, IntDistribution

        return IntDistribution(0, len(self.values) - 1) if self.is_ordered else CategoricalDistribution(self.values)

    def place(self, value: Value) -> Any:
        """What optuna is told of a value that was tried."""
        return [*map(_known, self.values)].index(_known(value)) if self.is_ordered else value

    def rounded(self, drawn: Any) -> Value:
        """What was drawn, as it is tried."""
        found: Value = self.values[drawn] if self.is_ordered else drawn
        return found


@settings()
class Range:
    """Numbers from `low` to `high`, both included; whole ones when both ends and the step are."""

    low: int | float
    """The lowest."""
    high: int | float
    """The highest."""
    step: int | float | None = None
    """Draws only low, low + step, ..."""
    log: bool = False
    """Draws evenly over orders of magnitude."""

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return all(isinstance(number, int) for number in (self.low, self.high, self.step) if number is not None)

    def faults(self) -> tuple[str, ...]:
        """What is wrong with it, a line each."""
        checks = {
            "low and high must be finite numbers": math.isfinite(self.low) and math.isfinite(self.high),
            f"low {self.low!r} must be below high {self.high!r}": self.low < self.high,
            f"step {self.step!r} must be above 0": self.step is None or self.step > 0,
            f"log needs low above 0, not {self.low!r}": not self.log or self.low > 0,
            "log and step exclude each other; leave one out": not self.log or self.step is None,
        }
        return tuple(fault for fault, is_right in checks.items() if not is_right)

    def ends(self) -> tuple[Value, ...]:
        """Values to check for all: both ends, and a broken number between them where such are drawn."""
        if self.is_whole:
            return self.low, self.high
        return self.low, self.rounded(self.low + (self.step or (self.high - self.low) / math.pi)), self.high

    def including(self, default: Value) -> Choices | Range:
        """The range with `default` in it: widened, or as choices where the default lies between two steps.

        Raises ValueError when the default is no number.
        """
        if isinstance(default, bool) or not isinstance(default, int | float):
            raise ValueError(f"the config has {default!r} there, which is in no range; list the values instead")
        if self.step is None and (not self.is_whole or default == int(default)):
            default = int(default) if self.is_whole else default
            return Range(min(self.low, default), max(self.high, default), None, self.log)
        steps = Choices(tuple(self.grid() or ()))
        return self if _is_among(default, steps.values) else steps.including(default)

    def grid(self) -> Sequence[int | float] | None:
        """Every value; None where they cannot be counted."""
        if self.is_whole:
            return range(int(self.low), int(self.high) + 1, int(self.step or 1))
        if self.step is None:
            return None
        places = range(math.floor((self.high - self.low) / self.step + 1e-9) + 1)
        return tuple(float(f"{self.low + place * self.step:.{_GRID_DIGITS}g}") for place in places)

    def distribution(self) -> BaseDistribution:
        """What optuna draws from."""
        from optuna.distributions import FloatDistribution, IntDistribution

        # Its own last step: optuna warns of another end.
        high = (self.grid() or (self.high,))[-1]
        if self.is_whole:
            return IntDistribution(int(self.low), int(high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, high, log=self.log, step=self.step)

    def place(self, value: Value) -> Any:
        """What optuna is told of a value that was tried."""
        return value

    def rounded(self, drawn: int | float) -> int | float:
        """The drawn number with three digits, unless it is whole or steps say more."""
        digits = _DIGITS if self.step is None else _GRID_DIGITS
        return drawn if self.is_whole else min(max(float(f"{drawn:.{digits}g}"), self.low), self.high)


Space = Mapping[str, Choices | Range]


@settings(EvalError)
class SweepSettings:
    """Settings of one arm to be tried on the development questions."""

    arm: str | None = None
    """The arm to sweep for."""
    trials: Count = 20
    """No trial starts after so many."""
    sampler: SamplerName = "gp"
    """What proposes the settings to try: a Gaussian process or a tree of Parzen estimators; docs/experiments/sweep
    compares them."""
    max_minutes: Above0 | None = None
    """No trial starts after so much work."""
    batch: Count = 10
    """Every so many questions a trial may be ended early."""
    space: dict[str, Range | list[Value]] = field(default_factory=dict)
    """Dotted config keys with a list of values or a range of numbers (`low`, `high`, `step`, `log`); empty is the usual
    space of the arm's parts."""


def num_combinations(space: Space) -> int | None:
    """Size of the full grid; None when a range is continuous."""
    grids = [part.grid() for part in space.values()]
    return None if None in grids else math.prod(len(grid) for grid in grids if grid is not None)


def same(a: Settings, b: Settings) -> bool:
    """Whether two settings are the same; 2 and 2.0 are."""
    return {key: _known(value) for key, value in a.items()} == {key: _known(value) for key, value in b.items()}


def _known(value: Value) -> tuple[bool, Value]:
    # Python holds True == 1, which a user's choices do not.
    return isinstance(value, bool), value


def _is_among(value: Value, values: tuple[Value, ...]) -> bool:
    return _known(value) in map(_known, values)
