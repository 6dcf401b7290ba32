"""A method as a value: `Method(name="lora", paper="arXiv 2106.09685", form="lora", recipe=LoraRecipe, prepare=...)`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from tuning.recipe import Recipe

Form = Literal["lora"]
"""How what was trained is served: `lora` beside the base model, swapped without a restart."""


@dataclass(frozen=True, slots=True)
class Method:
    """What moves in a training.

    `recipe` holds its numbers. `prepare(model, recipe)` gives the model with its trained weights in place, drawn from
    torch's generator; raises TuningError where the recipe does not fit the model.
    """

    name: str
    paper: str
    form: Form
    recipe: type[Recipe]
    prepare: Callable[[Any, Any], Any]
