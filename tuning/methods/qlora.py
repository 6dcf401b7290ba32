"""QLoRA (Dettmers et al. 2023): a LoRA is trained on a base whose linear layers are stored in four bits.

Served is what it was trained on: the weights that the four bits stand for, with the update merged into them. On the
base as it was, the same LoRA answers otherwise, and nothing would say so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from storage.settings import settings
from tuning.errors import TuningError
from tuning.methods.difference import PREFIX, pairs_of
from tuning.methods.lora import PatternRecipe, add_layers, lora_config, patterns, takes_all
from tuning.methods.merged import save_merged
from tuning.recipe import Method, Occasion, Prepared


@settings(TuningError)
class FourBitRecipe(PatternRecipe):
    """LoRA on a base in four bits."""

    def __post_init__(self) -> None:
        PatternRecipe.__post_init__(self)
        if self.continue_from:
            raise ValueError(
                f"continue_from must be empty with {self.method}: merged weights would be rounded to four bits again, "
                "and not begin as they ended; begin with the base model"
            )


@settings(TuningError)
class QloraRecipe(FourBitRecipe):
    """LoRA on a base in four bits, which takes a fraction of its memory."""

    method: Literal["qlora"] = "qlora"


def dequantized(model: Any) -> Any:
    """The float32 weights that a model of four bits stands for, in the main memory: a GPU may have no room for them."""
    import torch

    return model.to("cpu").dequantize(torch.float32)


def add_lora(model: Any, recipe: FourBitRecipe) -> Any:
    """The PeftModel, whose LoRA begins at random."""
    return add_layers(model, lora_config(model, recipe, **patterns(recipe)))


def _prepare(model: Any, recipe: FourBitRecipe, _occasion: Occasion) -> Prepared:
    made = add_lora(model, recipe)
    # By this sign, which PEFT needed, TRL would round the LoRA itself to bfloat16.
    model.is_loaded_in_4bit = False
    return Prepared(model=made)


def _save(prepared: Prepared, recipe: FourBitRecipe, folder: Path) -> None:
    pairs = pairs_of(prepared.model)
    # PEFT's own merge rounds the sum to four bits again.
    plain = dequantized(prepared.model.unload())
    for name, (a, b, scale) in pairs.items():
        plain.get_submodule(name.removeprefix(PREFIX)).weight.data += scale * (b @ a).to("cpu")
    save_merged(Prepared(model=plain), recipe, folder)


QLORA = Method(
    name="qlora",
    title="QLoRA: LoRA on a base in four bits",
    paper="arxiv.org/abs/2305.14314",
    recipe=QloraRecipe,
    prepare=_prepare,
    fits_all=takes_all,
    export=_save,
    form="merged",
    moves_base=True,
    quantization="nf4",
    package="bitsandbytes",
    install="pip install 'arbiter[qlora]'",
)
