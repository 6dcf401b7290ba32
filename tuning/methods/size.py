"""How large is what a training gives, before anything is trained: `served_bytes(folder, recipe)`."""

from __future__ import annotations

from tuning.errors import TuningError
from tuning.methods.lora import LayerRecipe, is_chosen, linear_layers
from tuning.methods.registry import METHODS, export_rank
from tuning.recipe import Recipe

_BYTES = 4  # of a float32


def served_bytes(base_path: str, recipe: Recipe) -> int:
    """Bytes of the matrices that vLLM is given for a model folder, or of the whole model that they are merged into.

    Of the model only the shapes are made. Raises TuningError if the folder holds none that can be.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(base_path, local_files_only=True)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError) as error:
        raise TuningError(f"cannot read the base model in {base_path!r}: {error}; check the folder") from error
    if METHODS[recipe.method].form == "merged":
        return sum(int(parameter.numel()) for parameter in model.parameters()) * _BYTES
    rank, total = export_rank(recipe), 0
    assert isinstance(recipe, LayerRecipe)
    for name, part in linear_layers(model).items():
        if is_chosen(name, recipe):
            sides = (int(part.in_features), int(part.out_features))
            total += min(rank, *sides) * sum(sides) * _BYTES
    return total
