"""What a training is told: the numbers that every one has, and its method as a value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from storage.settings import NUMBER, Above0, Count, Share, Whole, settings
from tuning.errors import TuningError


@settings(TuningError)
class Recipe:
    """What a method's recipe begins with; it adds the method's name and own numbers."""

    method: str = ""
    """What moves: lora."""
    learning_rate: Annotated[float, Field(gt=0, le=1), NUMBER] = 1e-3
    """The highest: it rises over `warmup_fraction` of the steps and falls linearly to 0."""
    epochs: Above0 = 2.0
    """Passes over the rows; may be a fraction."""
    batch_size: Count = 4
    """Rows a step."""
    max_length: Annotated[int, Field(ge=8), NUMBER] = 1024
    """Rows of more tokens are left out and counted."""
    warmup_fraction: Annotated[float, Field(ge=0, lt=1), NUMBER] = 0.1
    """The share of the steps over which the learning rate rises."""
    seed: Whole = 0
    """Of the first weights and the order of the rows."""
    passages: Whole = 0
    """0 trains closed-book; n trains RAFT, each question with n passages."""
    golden_fraction: Share = 0.8
    """The share of RAFT's rows that have the golden passage among theirs."""


@dataclass(frozen=True, slots=True)
class Method:
    """What moves in a training.

    `recipe` holds its numbers. `prepare(model, recipe)` gives the model with its trained weights in place, drawn from
    torch's generator; raises TuningError where the recipe does not fit the model.
    """

    name: str
    recipe: type[Recipe]
    prepare: Callable[[Any, Any], Any]
