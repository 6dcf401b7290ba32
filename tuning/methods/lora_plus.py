"""LoRA+ (Hayou et al. 2024): B learns faster than A."""

from __future__ import annotations

from typing import Any, Literal

from storage.settings import Above0, settings
from tuning.errors import TuningError
from tuning.methods.lora import PatternRecipe, add_layers, lora_config, pattern_rank, patterns, save_layers, takes_all
from tuning.recipe import Method, Occasion, Prepared


@settings(TuningError)
class LoraPlusRecipe(PatternRecipe):
    """LoRA with a learning rate of its own for B."""

    own_optimizer = True
    method: Literal["lora_plus"] = "lora_plus"
    learning_rate_ratio: Above0 = 16.0
    """B's learning rate over A's, which is `learning_rate`."""


def _prepare(model: Any, recipe: LoraPlusRecipe, _occasion: Occasion) -> Prepared:
    import torch
    from peft.optimizers import create_loraplus_optimizer

    made = add_layers(model, lora_config(model, recipe, **patterns(recipe)))

    def optimizer(learning_rate: float) -> Any:
        return create_loraplus_optimizer(
            made, torch.optim.AdamW, lr=learning_rate, loraplus_lr_ratio=recipe.learning_rate_ratio, weight_decay=0.0
        )

    return Prepared(model=made, optimizer=optimizer)


LORA_PLUS = Method(
    name="lora_plus",
    title="LoRA+: B learns faster than A",
    paper="arxiv.org/abs/2402.12354",
    recipe=LoraPlusRecipe,
    prepare=_prepare,
    fits_all=takes_all,
    export=save_layers,
    export_rank=pattern_rank,
)
