"""The methods by name: `METHODS[recipe.method].prepare(model, recipe)`, and `AnyRecipe`, what a config holds of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Discriminator, Tag

from tuning.methods.lora import LORA
from tuning.recipe import Method, Recipe


def recipe_type(methods: Sequence[Method]) -> Any:
    """The methods' recipes as one type for pydantic: `method` says which; without it, the first one's."""
    first, *others = methods
    if not others:
        return first.recipe

    def name_of(given: object) -> object:
        return str(given.get("method", first.name)) if isinstance(given, Mapping) else getattr(given, "method", None)

    fault = f"method must be one of {', '.join(method.name for method in methods)}"
    by_name = Discriminator(name_of, custom_error_type="value_error", custom_error_context={"error": fault})
    return Annotated[reduce(or_, (Annotated[method.recipe, Tag(method.name)] for method in methods)), by_name]


METHODS: Mapping[str, Method] = {method.name: method for method in (LORA,)}

if TYPE_CHECKING:
    AnyRecipe = Recipe
else:
    AnyRecipe = recipe_type([*METHODS.values()])
