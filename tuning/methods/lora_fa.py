"""LoRA-FA (Zhang et al. 2023): A is frozen, and B follows the gradient that a moving weight would have seen."""

from __future__ import annotations

from typing import Any, Literal

from storage.settings import settings
from tuning.errors import TuningError
from tuning.methods.lora import ScaledRecipe, add_layers, lora_config, save_layers, takes_all
from tuning.recipe import Method, Occasion, Prepared


@settings(TuningError)
class LoraFaRecipe(ScaledRecipe):
    """LoRA with a frozen A: one rank and one alpha for all layers."""

    own_optimizer = True
    method: Literal["lora_fa"] = "lora_fa"


def _prepare(model: Any, recipe: LoraFaRecipe, _occasion: Occasion) -> Prepared:
    from peft.optimizers import create_lorafa_optimizer

    made = add_layers(model, lora_config(model, recipe))
    for name, parameter in made.named_parameters():
        if "lora_A" in name:
            parameter.requires_grad_(False)

    def optimizer(learning_rate: float) -> Any:
        return create_lorafa_optimizer(made, r=recipe.rank, lora_alpha=recipe.alpha, lr=learning_rate)

    return Prepared(model=made, optimizer=optimizer)


LORA_FA = Method(
    name="lora_fa",
    title="LoRA-FA: LoRA with a frozen A",
    paper="arxiv.org/abs/2308.03303",
    recipe=LoraFaRecipe,
    prepare=_prepare,
    fits_all=takes_all,
    export=save_layers,
    export_rank=lambda recipe: recipe.rank,
)
