"""EVA (Paischer et al. 2024): A begins with the directions in which the layers' inputs vary most."""

from __future__ import annotations

import contextlib
import io
from typing import Annotated, Any, Literal

from pydantic import Field

from storage.settings import NUMBER, Count, settings
from tuning.errors import TuningError
from tuning.methods.lora import ScaledRecipe, add_layers, fitting, lora_config, save_layers
from tuning.methods.sides import refuse_above
from tuning.recipe import Method, Occasion, Prepared, known


@settings(TuningError)
class EvaRecipe(ScaledRecipe):
    """LoRA that looks at some rows before it begins."""

    method: Literal["eva"] = "eva"
    rho: Annotated[float, Field(ge=1, le=8), NUMBER] = 1.0
    """A layer gets at most rho times the rank, and layers that need less give theirs up; 1 is the same rank for all."""
    probe_batches: Count = 8
    """The batches that are looked at."""


def _add(model: Any, recipe: EvaRecipe) -> Any:
    from peft import EvaConfig

    meaning = f"the fewest inputs of the base model's layers over rho, {recipe.rho:g}"
    refuse_above(model, recipe, "rank", lambda inputs, _: int((inputs + 0.5) / recipe.rho), meaning)
    return add_layers(model, lora_config(model, recipe, init_lora_weights="eva", eva_config=EvaConfig(rho=recipe.rho)))


def _prepare(model: Any, recipe: EvaRecipe, occasion: Occasion) -> Prepared:
    import torch
    from peft import initialize_lora_eva_weights

    made = _add(model, recipe)
    batches = occasion.batches(known(recipe.batch_size), recipe.probe_batches)
    # PEFT would go round for ever where a batch has fewer tokens than it wants directions.
    wanted, fewest = _largest_rank(recipe), min(int(batch["attention_mask"].sum()) for batch in batches)
    if fewest < wanted:
        raise TuningError(
            f"a batch of {fewest} tokens is too few to find {wanted} directions; raise batch_size ({recipe.batch_size})"
            f", or lower rank ({recipe.rank})"
        )
    made.eval()
    with torch.no_grad(), fitting(), contextlib.redirect_stdout(io.StringIO()):
        initialize_lora_eva_weights(
            made,
            [{key: batch[key] for key in ("input_ids", "attention_mask")} for batch in batches],
            show_progress_bar=False,
        )
    return Prepared(model=made)


def _largest_rank(recipe: EvaRecipe) -> int:
    return round(known(recipe.rank) * recipe.rho)


EVA = Method(
    name="eva",
    title="EVA: LoRA that begins with what the inputs vary in",
    paper="arxiv.org/abs/2410.07170",
    recipe=EvaRecipe,
    prepare=_prepare,
    fit=_add,
    export=save_layers,
    export_rank=_largest_rank,
)
