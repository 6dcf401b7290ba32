"""The section of `arbiter sweep`: which arm, how long, and what may be set.

SweepConfig(arm="hybrid", space={"arms.hybrid.top_k": [1, 2, 4], "index.chunk_tokens": Range(60, 240)})
"""

from __future__ import annotations

from dataclasses import field

from eval.sweep.space import Range, Value
from storage.errors import ArbiterError
from storage.settings import Above0, Count, settings


@settings(ArbiterError)
class SweepConfig:
    """Settings of one arm to be tried on the development questions."""

    arm: str | None = None
    """The arm to sweep for."""
    trials: Count = 20
    """No trial starts after so many."""
    max_minutes: Above0 | None = None
    """No trial starts after so much work."""
    batch: Count = 10
    """Every so many questions a trial may be ended early."""
    space: dict[str, Range | list[Value]] = field(default_factory=dict)
    """Dotted config keys with a list of values or a range of numbers (`low`, `high`, `step`, `log`); empty is the usual
    space of the arm's parts."""
