"""What a training showed when it was looked at: `Look(step=20, score=0.8, loss=0.3, guard=None)`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measured:
    """How right a model's answers are."""

    score: float
    """The mean score of the dev rows, 0 to 1."""
    loss: float | None
    """The mean loss of a token of their answers, None where it is no number."""
    guard: float | None = None
    """The mean score of the guard rows, where there are any."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was measured after so many steps; step 0 is the base model."""

    step: int
    score: float
    loss: float | None
    guard: float | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """The weights that were published: after which steps, several where they are a mean, and what was measured."""

    steps: tuple[int, ...]
    score: float
    loss: float | None
    guard: float | None = None
