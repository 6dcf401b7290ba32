"""Where a training stands, as its caller is told after every step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """All of it is measured in this process."""

    step: int
    num_steps: int
    loss: float
    """Mean loss per completion token over the last ten steps."""
    num_tokens: int
    """Trained on by this process so far: prompts and completions, padding aside."""
    tokens_per_s: float
    seconds_left: float | None
    """None until two steps have been timed: the first one is slower than the rest."""
    looks: tuple[float, ...] = ()
    """The mean scores of the dev rows so far, the base model's first."""
