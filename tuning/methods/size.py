"""How large an adapter is that a training gives, before anything is trained: `served_bytes(folder, recipe)`."""

from __future__ import annotations

from tuning.errors import TuningError
from tuning.methods.lora import LayerRecipe, block_of, linear_layers
from tuning.methods.registry import export_rank
from tuning.recipe import Recipe

_BYTES = 4  # of a float32


def served_bytes(base_path: str, recipe: Recipe) -> int | None:
    """Bytes of the matrices that vLLM is given for a model folder; None for what is no LoRA.

    Of the model only the shapes are made. Raises TuningError if the folder holds none that can be.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    rank = export_rank(recipe)
    if not rank or not isinstance(recipe, LayerRecipe):
        return None
    try:
        config = AutoConfig.from_pretrained(base_path, local_files_only=True)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError) as error:
        raise TuningError(f"cannot read the base model in {base_path!r}: {error}; check the folder") from error
    total = 0
    for name, part in linear_layers(model).items():
        if recipe.target_modules != "all-linear" and name.rsplit(".", 1)[-1] not in recipe.target_modules:
            continue
        if recipe.layers is None or block_of(name) in recipe.layers:
            sides = (int(part.in_features), int(part.out_features))
            total += min(rank, *sides) * sum(sides) * _BYTES
    return total
