"""A method as a value: `Method(name="lora", paper="arXiv 2106.09685", form="lora", prepare=...)`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Form = Literal["lora"]
"""How what was trained is served: `lora` beside the base model, swapped without a restart."""


@dataclass(frozen=True, slots=True)
class Method:
    """What moves in a training.

    `prepare(model, recipe)` gives the model with its trained weights in place, drawn from torch's generator. Raises
    TuningError where the recipe does not fit the model.
    """

    name: str
    paper: str
    form: Form
    prepare: Callable[[Any, Any], Any]
