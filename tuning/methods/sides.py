"""What the sides of the base model's layers allow a recipe's numbers to be.

refuse_uneven(model, recipe, "block")
refuse_above(model, recipe, "rank", min, "the smallest side of the base model's layers")

PEFT refuses some of these numbers in words of its own, changes others without a word, and finds some out only when all
rows were looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from tuning.errors import TuningError
from tuning.methods.lora import LayerRecipe, chosen_layers, layer_sides

_PLACES = {"inputs": [0], "outputs": [1], "sides": [0, 1]}


def sides_of(model: Any, recipe: LayerRecipe) -> list[tuple[int, int]]:
    """Inputs and outputs of the chosen layers, each pair once."""
    found = map(layer_sides, chosen_layers(model, recipe).values())
    return sorted({sides for sides in found if sides is not None})


def refuse_uneven(
    model: Any, recipe: LayerRecipe, key: str, of: Literal["inputs", "outputs", "sides"] = "sides", *, step: int = 1
) -> None:
    """Raise TuningError unless a number of the recipe, which is a multiple of `step`, divides these of every chosen
    layer.
    """
    value: int = getattr(recipe, key)
    widths = sorted({sides[place] for sides in sides_of(model, recipe) for place in _PLACES[of]})
    most = min([value, *widths])
    fits = [n for n in range(step, most + 1, step) if all(width % n == 0 for width in widths)]
    if value not in fits:
        raise TuningError(
            f"{key} ({value}) must divide the {of} of the base model's layers ({', '.join(map(str, widths))}); "
            + (f"set it to {fits[-1]}" if fits else "train with another method")
        )


def refuse_above(model: Any, recipe: LayerRecipe, key: str, most_of: Callable[[int, int], int], meaning: str) -> None:
    """Raise TuningError where a number of the recipe is over `most_of` (inputs, outputs) of a chosen layer; `meaning`
    says what that is.
    """
    value, most = getattr(recipe, key), min((most_of(*sides) for sides in sides_of(model, recipe)), default=None)
    if most is not None and value > most:
        raise TuningError(f"{key} ({value}) must be at most {most}, {meaning}")
