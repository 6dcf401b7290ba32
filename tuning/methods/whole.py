"""The base's own weights move: all, those of the last blocks, or a random half (Hui et al. 2024). Served merged."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any, Literal

from storage.settings import Count, settings
from tuning.errors import TuningError
from tuning.methods.lora import block_of
from tuning.methods.merged import merged_method
from tuning.recipe import Occasion, Prepared, Recipe


@settings(TuningError)
class FullRecipe(Recipe):
    """Every weight moves."""

    method: Literal["full"] = "full"
    usual_rate = 5e-5


@settings(TuningError)
class FreezeRecipe(Recipe):
    """The last blocks move, and all before them is frozen."""

    method: Literal["freeze"] = "freeze"
    blocks: Count = 2
    """How many blocks move, counted from the last."""
    usual_rate = 1e-4


@settings(TuningError)
class HalfRecipe(Recipe):
    """A random half of each block's weights moves; `seed` says which, so that a further training moves others."""

    method: Literal["half"] = "half"
    usual_rate = 5e-5


def _move_all(model: Any, _recipe: FullRecipe, _occasion: Occasion) -> Prepared:
    model.requires_grad_(True)
    return Prepared(model=model)


def _move_last(model: Any, recipe: FreezeRecipe, _occasion: Occasion) -> Prepared:
    blocks = getattr(model.config, "num_hidden_layers", 0)
    if recipe.blocks > blocks:
        raise TuningError(f"blocks ({recipe.blocks}) do not fit the base model, which has {blocks}")
    for name, parameter in model.named_parameters():
        block = block_of(name)
        parameter.requires_grad_(block is not None and block >= blocks - recipe.blocks)
    return Prepared(model=model)


def _move_half(model: Any, recipe: HalfRecipe, _occasion: Occasion) -> Prepared:
    matrices: dict[int, list[Any]] = {}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(False)
        block = block_of(name)
        if block is not None and parameter.ndim > 1:
            matrices.setdefault(block, []).append(parameter)
    if not matrices:
        raise TuningError("the base model has no numbered blocks to move a half of")
    draw = random.Random(recipe.seed)
    for block in sorted(matrices):
        for parameter in draw.sample(matrices[block], max(len(matrices[block]) // 2, 1)):
            parameter.requires_grad_(True)
    return Prepared(model=model)


WHOLE = (
    merged_method("half", "Half fine-tuning: a random half of each block", "2404.18466", HalfRecipe, _move_half),
    merged_method("freeze", "Partial tuning: the last blocks", "1911.03090", FreezeRecipe, _move_last),
    replace(
        merged_method("full", "Full tuning: every weight", "1801.06146", FullRecipe, _move_all),
        fits_all=lambda _: True,
    ),
)
