"""The base in four or eight bits, as bitsandbytes rounds it, without any training.

Served are the float32 numbers that the bits stand for, in a model of the size it had: vLLM's engine on a CPU takes no
rounded weights, so this arm shows what rounding costs in quality, and not what it saves.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from storage.settings import NUMBER, settings
from tuning.errors import TuningError
from tuning.look import Compression
from tuning.methods.compressed import CompressedRecipe, by_outputs, counted, layers_of
from tuning.methods.lora import takes_all
from tuning.methods.merged import merged_method
from tuning.recipe import Method, Occasion, Prepared

if TYPE_CHECKING:
    import torch

# NF4's numbers that share a scale, and the scales that share one: bitsandbytes' own.
_BLOCK, _BLOCK_OF_SCALES = 64, 256


@settings(TuningError)
class QuantizedRecipe(CompressedRecipe):
    """The linear layers' weights are rounded, and nothing is trained."""

    method: Literal["quantized"] = "quantized"
    kind: Literal["nf4", "int8"] = "nf4"
    """What is rounded to: four bits with a scale for each 64 numbers, the scales in eight bits (NF4 with double
    quantization), or eight bits with a scale for each output (LLM.int8)."""
    epochs: Annotated[float, Field(ge=0), NUMBER] = 0.0
    """0: what is rounded is not trained."""

    def __post_init__(self) -> None:
        if self.epochs != 0:
            raise ValueError(
                f"epochs ({self.epochs:g}) must be 0 with quantized, which trains nothing; take qlora, or round an "
                "adapter that was trained, with continue_from"
            )
        CompressedRecipe.__post_init__(self)


def rounded(weight: torch.Tensor, kind: Literal["nf4", "int8"]) -> torch.Tensor:
    """(outputs, inputs) of weights -> the float32 numbers that their bits stand for."""
    from bitsandbytes import functional

    if kind == "int8":
        numbers, scales, _ = functional.int8_vectorwise_quant(weight.half().contiguous())
        found: torch.Tensor = functional.int8_vectorwise_dequant(numbers, scales)
        return found
    packed, state = functional.quantize_4bit(
        weight.float().contiguous(), blocksize=_BLOCK, quant_type="nf4", compress_statistics=True
    )
    restored: torch.Tensor = functional.dequantize_4bit(packed, state)
    return restored


def packed_bytes(weight: torch.Tensor, kind: Literal["nf4", "int8"]) -> int:
    """What the bits and their scales would take."""
    if kind == "int8":
        return weight.numel() + 4 * len(weight)
    scales = math.ceil(weight.numel() / _BLOCK)
    return math.ceil(weight.numel() / 2) + scales + 4 * math.ceil(scales / _BLOCK_OF_SCALES)


def _prepare(model: Any, recipe: QuantizedRecipe, _occasion: Occasion) -> Prepared:
    import torch

    model.requires_grad_(False)
    with torch.no_grad():
        for part in layers_of(model, recipe).values():
            weight = by_outputs(part)
            weight.copy_(rounded(weight, recipe.kind))
    return Prepared(model=model)


def _measure(folder: Path, shapes: Any, recipe: QuantizedRecipe) -> Compression:
    return counted(folder, shapes, recipe, recipe.kind, lambda _name, weight: packed_bytes(weight, recipe.kind))


QUANTIZED: Method = replace(
    merged_method(
        "quantized",
        "Quantisation: weights rounded to four or eight bits, untrained",
        "2305.14314",
        QuantizedRecipe,
        _prepare,
        layers_of,
    ),
    fits_all=takes_all,
    merges_start=True,
    measure=_measure,
    package="bitsandbytes",
    install="pip install 'arbiter[qlora]'",
)
