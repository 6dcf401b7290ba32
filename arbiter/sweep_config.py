"""The YAML section of `arbiter sweep`: which arm, how long, and what may be set.

SweepConfig(arm="hybrid", space={"arms.hybrid.top_k": [1, 2, 4], "index.chunk_tokens": {"low": 60, "high": 240}})
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from arbiter.policy_config import Positive, Section


class RangeConfig(Section):
    """Numbers from `low` to `high`, in steps if `step` is given; `log` draws evenly over orders of magnitude."""

    low: int | float
    high: int | float
    step: int | float | None = None
    log: bool = False


class SweepConfig(Section):
    """Settings of one arm to be tried on the development questions.

    `space` maps dotted config keys to a list of values or a range; empty is the usual one of the arm's parts. No trial
    starts after `trials` trials or `max_minutes` of work; every `batch` questions a trial may be ended early.
    """

    arm: str | None = None
    trials: Positive = 20
    max_minutes: Annotated[float, Field(gt=0)] | None = None
    batch: Positive = 10
    space: dict[str, RangeConfig | list[bool | int | float | str | None]] = Field(default_factory=dict)
