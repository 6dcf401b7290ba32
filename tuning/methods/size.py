"""How large is what a training gives, before anything is trained: `served_bytes(shapes_of(folder), recipe)`."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from tuning.automatic import settled
from tuning.errors import TuningError
from tuning.methods.lora import LayerRecipe, chosen_layers, layer_sides
from tuning.methods.registry import METHODS, export_rank
from tuning.recipe import Recipe

_BYTES = 4  # of a float32


def shapes_of(base_path: str) -> Any:
    """The model of a folder without its weights. Raises TuningError if the folder holds none that can be made."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(base_path, local_files_only=True)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError) as error:
        raise TuningError(f"cannot read the base model in {base_path!r}: {error}; check the folder") from error


def is_known(base_path: str) -> bool:
    """Whether `shapes_of` would give a model, by what the folder's config says of it alone, which takes no time; False
    where that does not say it.
    """
    library = getattr(importlib.util.find_spec("transformers"), "origin", None) or ""
    try:
        config = json.loads((Path(base_path) / "config.json").read_bytes())
        kind, name = str(config["model_type"]), str(config["architectures"][0])
    except (OSError, ValueError, LookupError, TypeError):
        return False
    family = Path(library).parent / "models" / kind.replace("-", "_")
    return name.endswith(("ForCausalLM", "LMHeadModel")) and family.is_dir()


def served_bytes(shapes: Any, recipe: Recipe) -> int:
    """Bytes of what an engine is given for a model: a LoRA's matrices, the whole model that they are merged into, or
    what the method exports.
    """
    recipe, method = settled(recipe), METHODS[recipe.method]
    if method.num_numbers is not None:
        return method.num_numbers(shapes, recipe) * _BYTES
    if method.form == "merged":
        return sum(int(parameter.numel()) for parameter in shapes.parameters()) * _BYTES
    rank, total = export_rank(recipe), 0
    assert isinstance(recipe, LayerRecipe)
    for part in chosen_layers(shapes, recipe).values():
        sides = layer_sides(part) or ()
        total += min(rank, *sides) * sum(sides) * _BYTES
    return total
