"""C3A (Chen et al. 2024): the update consists of blocks whose every row is the row above it, turned on by one place.

The layers are PEFT's, and compute here: the gradient that PEFT 0.21 gives to a layer's inputs is not that of its
outputs, so that all layers before it are pulled elsewhere.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from storage.settings import Count, settings
from tuning.errors import TuningError
from tuning.methods.lora import LayerRecipe, add_layers, peft_targets
from tuning.methods.merged import merged_method
from tuning.methods.sides import refuse_uneven
from tuning.recipe import Occasion, Prepared

if TYPE_CHECKING:
    import torch

_ADAPTER = "default"


@settings(TuningError)
class C3aRecipe(LayerRecipe):
    """Blocks of the update are one row each, turned on and on."""

    method: Literal["c3a"] = "c3a"
    block: Count = 64
    """The size of a block, and how many numbers it has; every layer's inputs and outputs are a multiple of it."""
    usual_rate = 0.3


def convolve(inputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """(..., n x block) inputs by the blocks that begin with the rows, (m, n, block) -> (..., m x block) float32."""
    from torch import einsum
    from torch.fft import irfft, rfft

    size = rows.shape[-1]
    spectra = rfft(inputs.float().reshape(*inputs.shape[:-1], -1, size))
    found: torch.Tensor = irfft(einsum("...nf,mnf->...mf", spectra, rfft(rows.float()).conj()), n=size)
    return found.flatten(-2)


def _forward(part: Any, inputs: Any) -> Any:
    found = part.base_layer(inputs)
    return found + (convolve(inputs, part.c3a_kernel[_ADAPTER]) / part.in_features).to(found.dtype)


def _prepare(model: Any, recipe: C3aRecipe, _occasion: Occasion) -> Prepared:
    from peft import C3AConfig

    refuse_uneven(model, recipe, "block")
    # Without init_weights it begins with a damaged model.
    config = C3AConfig(block_size=recipe.block, init_weights=True, **peft_targets(model, recipe))
    made = add_layers(model, config)
    for part in made.modules():
        if hasattr(part, "c3a_kernel"):
            part.forward = partial(_forward, part)
    return Prepared(model=made)


C3A = merged_method("c3a", "C3A: blocks of one row each, turned on and on", "2407.19342", C3aRecipe, _prepare)
