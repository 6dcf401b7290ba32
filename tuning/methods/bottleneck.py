"""Bottleneck adapters (Houlsby et al. 2019, Pfeiffer et al. 2020): a small network after parts of every block, through
which their output goes too. It begins with zeros, so that the model begins as it was.

attach(model, width=32, after=("mlp",))      load_bottlenecks(model, folder)
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from storage.settings import Count, settings
from tuning.base import CONFIG, WEIGHTS
from tuning.errors import TuningError
from tuning.recipe import Method, Occasion, Prepared, Recipe

Part = Literal["attention", "mlp"]
# What the parts of a block are called by the architectures of transformers.
_NAMES: dict[Part, str] = {"attention": "(self_)?(attn|attention)", "mlp": "mlp|ffn|feed_forward"}
_INSIDE = "bottleneck"


@settings(TuningError)
class BottleneckRecipe(Recipe):
    """A small network after the parts of every block."""

    method: Literal["bottleneck"] = "bottleneck"
    width: Count = 32
    """How many numbers the output is squeezed into."""
    after: Literal["mlp", "both"] = "both"
    """`both` has one after the attention too (Houlsby), `mlp` one a block (Pfeiffer)."""


def attach(model: Any, *, width: int, after: Sequence[Part]) -> None:
    """Put up(gelu(down(output))) after these parts of every block, to be added to the output (..., hidden); it is
    trained, and nothing else is. Raises TuningError where the blocks have no such part.
    """
    from torch import nn

    parts = _parts(model, after)
    hidden = model.config.get_text_config().hidden_size
    model.requires_grad_(False)
    for part in parts:
        down, up = nn.Linear(hidden, width), nn.Linear(width, hidden)
        nn.init.zeros_(up.weight)
        nn.init.zeros_(up.bias)
        own = nn.Sequential(down, nn.GELU(), up).to(model.device)
        part.add_module(_INSIDE, own)
        part.register_forward_hook(partial(_add, own))


def _add(own: Any, _part: Any, _inputs: Any, output: Any) -> Any:
    if isinstance(output, tuple):  # an attention's has its weights too
        return (output[0] + own(output[0]), *output[1:])
    return output + own(output)


def _parts(model: Any, after: Sequence[Part]) -> list[Any]:
    found = []
    for name in after:
        own = [part for path, part in model.named_modules() if re.fullmatch(rf".*\.\d+\.({_NAMES[name]})", path)]
        if len(own) != model.config.get_text_config().num_hidden_layers:
            raise TuningError(f"bottleneck finds no {name} in the blocks of the base model; train with another method")
        found += own
    return found


def load_bottlenecks(model: Any, folder: Path) -> Any:
    """The model with what `folder` holds after the parts of its blocks. Raises TuningError if it does not fit."""
    from safetensors.torch import load_file

    config, tensors = json.loads((folder / CONFIG).read_bytes()), load_file(folder / WEIGHTS)
    attach(model, width=config["width"], after=config["after"])
    missing, unknown = model.load_state_dict(tensors, strict=False)
    absent = [name for name in missing if _INSIDE in name]
    if absent or unknown:
        raise TuningError(f"{str(folder)!r} does not fit the base model: {', '.join([*absent, *unknown][:4])}")
    return model


def _prepare(model: Any, recipe: BottleneckRecipe, _occasion: Occasion) -> Prepared:
    attach(model, width=recipe.width, after=_after(recipe))
    return Prepared(model=model)


def _after(recipe: BottleneckRecipe) -> list[Part]:
    return ["attention", "mlp"] if recipe.after == "both" else ["mlp"]


def _save(prepared: Prepared, recipe: BottleneckRecipe, folder: Path) -> None:
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach() for name, value in prepared.model.named_parameters() if value.requires_grad}
    save_file({name: value.float().contiguous().cpu() for name, value in tensors.items()}, folder / WEIGHTS)
    config = {"method": recipe.method, "width": recipe.width, "after": _after(recipe)}
    (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")


def _num_numbers(model: Any, recipe: BottleneckRecipe) -> int:
    config = model.config.get_text_config()
    each = 2 * config.hidden_size * recipe.width + config.hidden_size + recipe.width
    return int(config.num_hidden_layers * len(_after(recipe)) * each)


BOTTLENECK = Method(
    name="bottleneck",
    title="Bottleneck adapters: a small network after the parts of every block",
    paper="arxiv.org/abs/1902.00751",
    recipe=BottleneckRecipe,
    prepare=_prepare,
    export=_save,
    form="beside",
    num_numbers=_num_numbers,
)
