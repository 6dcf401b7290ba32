"""LoftQ (Li et al. 2023): QLoRA whose LoRA begins with what the rounding to four bits took from each weight.

Of that the largest directions, as many as the rank has, as PEFT finds them for a base that lies in four bits already:
one round of the paper's alternation, which leaves the four bits as they are.
"""

from __future__ import annotations

from typing import Any, Literal

from storage.settings import settings
from tuning.errors import TuningError
from tuning.methods.difference import lora_layers
from tuning.methods.lora import fitting
from tuning.methods.qlora import QLORA, FourBitRecipe, add_lora
from tuning.recipe import Method, Occasion, Prepared

_ADAPTER = "default"


@settings(TuningError)
class LoftqRecipe(FourBitRecipe):
    """LoRA on a base in four bits that begins by making up for the rounding."""

    method: Literal["loftq"] = "loftq"


def _prepare(model: Any, recipe: LoftqRecipe, occasion: Occasion) -> Prepared:
    from peft import replace_lora_weights_loftq
    from safetensors import SafetensorError

    prepared = QLORA.prepare(model, recipe, occasion)
    try:
        with fitting():
            replace_lora_weights_loftq(prepared.model, model.name_or_path)
    except (OSError, SafetensorError) as error:
        raise TuningError(
            f"loftq cannot read the base model's own weights in {model.name_or_path!r}: {error}; it needs them as "
            "safetensors; take qlora"
        ) from error
    for part in lora_layers(prepared.model).values():
        # PEFT takes B A for the update, which is scale x B A.
        part.lora_B[_ADAPTER].weight.data /= part.scaling[_ADAPTER]
    return prepared


LOFTQ = Method(
    name="loftq",
    title="LoftQ: QLoRA that begins with what the four bits lack",
    paper="arxiv.org/abs/2310.08659",
    recipe=LoftqRecipe,
    prepare=_prepare,
    fit=add_lora,
    export=QLORA.export,
    form="merged",
    moves_base=True,
    quantization="nf4",
    package="bitsandbytes",
    install="pip install 'arbiter[qlora]'",
    needs_cuda="where PEFT finds its first weights; take qlora or pissa on a CPU",
)
