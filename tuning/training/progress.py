"""What a training will take, and where it stands, as its caller is told before the first step and after every one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tuning.look import Look


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a training will take: seconds from its first step to its last, looks aside, and the most memory at a time,
    in bytes, of this process or of the GPU; `free_bytes` is what it may take at most.
    """

    seconds: float
    memory_bytes: int
    free_bytes: int


def sum_forecasts(forecasts: Sequence[Forecast]) -> Forecast:
    """That of trainings one after the other, one at least."""
    return Forecast(
        sum(one.seconds for one in forecasts),
        max(one.memory_bytes for one in forecasts),
        min(one.free_bytes for one in forecasts),
    )


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """All of it is measured in this process."""

    step: int
    num_steps: int
    loss: float
    """Mean loss over the last ten steps: of a token that is learned, or of a pair or a rated answer."""
    step_loss: float
    """That of this step alone."""
    num_tokens: int
    """Trained on from the first step on: prompts and completions, padding aside."""
    tokens_per_s: float
    seconds_left: float | None
    """None until two steps have been timed: the first one is slower than the rest."""
    looks: tuple[Look, ...] = ()
    """What was measured so far, of the base model first."""
    checkpoint: int = 0
    """The step of the last complete checkpoint, from which the training would go on; 0 where there is none."""
