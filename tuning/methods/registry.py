"""The methods by name, and `AnyRecipe`, what a config holds of one.

METHODS[recipe.method].prepare(model, recipe, occasion)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from storage.choices import choice_of
from tuning.automatic import settled
from tuning.methods.adalora import ADALORA
from tuning.methods.bottleneck import BOTTLENECK
from tuning.methods.c3a import C3A
from tuning.methods.converted import CONVERTED
from tuning.methods.delta_lora import DELTA_LORA
from tuning.methods.eva import EVA
from tuning.methods.loftq import LOFTQ
from tuning.methods.lora import LORA, RSLORA
from tuning.methods.lora_fa import LORA_FA
from tuning.methods.lora_plus import LORA_PLUS
from tuning.methods.merged import MERGED
from tuning.methods.prefix import PREFIX
from tuning.methods.pruned import PRUNED
from tuning.methods.qlora import QLORA
from tuning.methods.quantized import QUANTIZED
from tuning.methods.residual import RESIDUAL
from tuning.methods.soft_prompt import SOFT_PROMPTS
from tuning.methods.whole import WHOLE
from tuning.optimizers.registry import OPTIMIZERS
from tuning.recipe import Method, Recipe

_LORAS = (LORA, RSLORA, LORA_PLUS, LORA_FA, EVA, *RESIDUAL, DELTA_LORA, ADALORA, *CONVERTED)
_ALL = (*_LORAS, *SOFT_PROMPTS, QLORA, LOFTQ, *MERGED, C3A, *WHOLE, PRUNED, QUANTIZED, PREFIX, BOTTLENECK)
METHODS: Mapping[str, Method] = {method.name: method for method in _ALL}


def export_rank(recipe: Recipe) -> int:
    """The largest LoRA rank of what a recipe's training exports; that of a few rows where they decide its rank."""
    return METHODS[recipe.method].export_rank(settled(recipe))


def obstacle(recipe: Recipe) -> str | None:
    """Why this machine cannot train it, and what helps, in a line; None where it can."""
    return OPTIMIZERS[recipe.optimizer].obstacle() or METHODS[recipe.method].obstacle()


def recipe_type(methods: Sequence[Method]) -> Any:
    """The methods' recipes as one type for pydantic: `method` says which; without it, the first one's."""
    return choice_of("method", {method.name: method.recipe for method in methods})


if TYPE_CHECKING:
    AnyRecipe = Recipe
else:
    AnyRecipe = recipe_type([*METHODS.values()])
