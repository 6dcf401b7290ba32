"""The base's own weights move: all, those of the last blocks, or a random half (Hui et al. 2024). Served merged."""

from __future__ import annotations

import random
from typing import Annotated, Any, Literal

from pydantic import Field

from storage.settings import NUMBER, Count, settings
from tuning.errors import TuningError
from tuning.methods.lora import block_of
from tuning.methods.merged import save_merged
from tuning.recipe import Method, Occasion, Prepared, Recipe

# About a tenth of what adapters take.
_Rate = Annotated[float, Field(gt=0, le=1), NUMBER]


@settings(TuningError)
class FullRecipe(Recipe):
    """Every weight moves."""

    method: Literal["full"] = "full"
    learning_rate: _Rate = 5e-5
    """The highest: it rises over `warmup_fraction` of the steps and falls linearly to 0."""


@settings(TuningError)
class FreezeRecipe(Recipe):
    """The last blocks move, and all before them is frozen."""

    method: Literal["freeze"] = "freeze"
    blocks: Count = 2
    """How many blocks move, counted from the last."""
    learning_rate: _Rate = 1e-4
    """The highest: it rises over `warmup_fraction` of the steps and falls linearly to 0."""


@settings(TuningError)
class HalfRecipe(Recipe):
    """A random half of each block's weights moves; `seed` says which, so that a further training moves others."""

    method: Literal["half"] = "half"
    learning_rate: _Rate = 5e-5
    """The highest: it rises over `warmup_fraction` of the steps and falls linearly to 0."""


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


def _method(name: str, title: str, paper: str, recipe: type[Recipe], prepare: Any) -> Method:
    return Method(
        name=name,
        title=title,
        paper=paper,
        recipe=recipe,
        prepare=prepare,
        export=save_merged,
        export_rank=lambda _: 0,
        form="merged",
        moves_base=True,
    )


WHOLE = (
    _method(
        "half", "Half fine-tuning: a random half of each block", "arxiv.org/abs/2404.18466", HalfRecipe, _move_half
    ),
    _method("freeze", "Partial tuning: the last blocks", "arxiv.org/abs/1911.03090", FreezeRecipe, _move_last),
    _method("full", "Full tuning: every weight", "arxiv.org/abs/1801.06146", FullRecipe, _move_all),
)
