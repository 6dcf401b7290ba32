"""Prefix tuning (Li and Liang 2021): keys and values that every block's attention sees before those of the text.

They begin as those of the first training rows (section 7.4 there): a model that has read some text, not one that is
broken by noise. PEFT refuses them together with gradient checkpointing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from storage.settings import Count, settings
from tuning.errors import TuningError
from tuning.methods.lora import add_layers, save_layers
from tuning.recipe import Method, Occasion, Prepared, Recipe

if TYPE_CHECKING:
    import torch


@settings(TuningError)
class PrefixRecipe(Recipe):
    """Keys and values before the text's own, in every block."""

    method: Literal["prefix"] = "prefix"
    num_tokens: Count = 16
    """How many are put before the text; they count as places, not as tokens of the prompt."""
    usual_rate = 3e-3


def _prepare(model: Any, recipe: PrefixRecipe, occasion: Occasion) -> Prepared:
    from peft.tuners.cartridge.utils import initialize_kv_prefix_from_past_key_values

    read = _read(model, _first_tokens(occasion, recipe.num_tokens))
    made = _add(model, recipe)
    initialize_kv_prefix_from_past_key_values(made, past_key_values=read)
    return Prepared(model=made)


def _add(model: Any, recipe: PrefixRecipe) -> Any:
    from peft import PrefixTuningConfig

    return add_layers(model, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=recipe.num_tokens))


def _first_tokens(occasion: Occasion, count: int) -> torch.Tensor:
    """(1, count) token ids of the first rows, repeated where they are too few."""
    import torch

    rows = occasion.batches(1, count)
    ids = torch.cat([row["input_ids"][row["attention_mask"].bool()] for row in rows])
    return ids.repeat(-(-count // len(ids)))[None, :count]


def _read(model: Any, ids: torch.Tensor) -> Any:
    """The cache after a text."""
    import torch
    from transformers import DynamicCache

    model.eval()
    with torch.no_grad():
        return model(input_ids=ids, past_key_values=DynamicCache(), use_cache=True).past_key_values


def _num_numbers(model: Any, recipe: PrefixRecipe) -> int:
    config = model.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return int(recipe.num_tokens * config.num_hidden_layers * 2 * heads * width)


PREFIX = Method(
    name="prefix",
    title="Prefix tuning: keys and values before the text's own",
    paper="arxiv.org/abs/2101.00190",
    recipe=PrefixRecipe,
    prepare=_prepare,
    fit=_add,
    export=save_layers,
    form="beside",
    num_numbers=_num_numbers,
)
