"""A method as a value: `Method(name="lora", paper="arXiv 2106.09685", recipe=LoraRecipe, prepare=...)`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tuning.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Method:
    """What moves in a training.

    `recipe` holds its numbers. `prepare(model, recipe)` gives the model with its trained weights in place, drawn from
    torch's generator; raises TuningError where the recipe does not fit the model.
    """

    name: str
    paper: str
    recipe: type[Recipe]
    prepare: Callable[[Any, Any], Any]
