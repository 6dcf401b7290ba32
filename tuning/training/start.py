"""Where a training begins: the base model, or an adapter that is trained further.

recipe = settle(recipe, len(rows), adapters_dir)
start = find_start(recipe, base, adapters_dir, template)
load_start(prepared, start)
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.automatic import R, settled
from tuning.base import CONFIG, WEIGHTS, ResolvedModel
from tuning.errors import TuningError
from tuning.export.adapters import Adapter, load_adapter
from tuning.methods.lora import save_layers
from tuning.methods.registry import METHODS
from tuning.recipe import Prepared, Recipe

if TYPE_CHECKING:
    import torch

# What scales an update, in PEFT's words and the recipes'.
_SCALES = {"r": "rank", "lora_alpha": "alpha", "use_rslora": "method: rslora"}
_PATTERNS = ("rank_pattern", "alpha_pattern")
# Forms that a further training can begin with.
_CONTINUED = ("lora", "merged")


def settle(recipe: R, num_rows: int, adapters_dir: Path) -> R:
    """The recipe with a number in place of each null that stands for one; the rank is that of the adapter which it
    continues, if that is there and has one.
    """
    if recipe.continue_from and getattr(recipe, "rank", 0) is None:
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError, TuningError):
            config = json.loads((adapters_dir / recipe.continue_from / CONFIG).read_bytes())
            numbers = {"rank": config["r"]}
            recipe = replace(recipe, **numbers)
    return settled(recipe, num_rows)


def find_start(recipe: Recipe, base: ResolvedModel, adapters_dir: Path, template: str) -> Adapter | None:
    """The adapter that a recipe continues, None for one that begins with the base model; `template` is the hash of the
    base's chat template.

    Raises TuningError for one that is not there, damaged, of another base or of a form that cannot be continued.
    """
    name = recipe.continue_from
    if not name:
        return None
    path = adapters_dir / name
    if Path(name).name != name or not path.is_dir():
        have = ", ".join(sorted(found.name for found in adapters_dir.glob("*@*"))) or "none"
        raise TuningError(f"continue_from {name!r} is no adapter here; there is {have}")
    start, method = load_adapter(path), METHODS[recipe.method]
    if (start.base_name, start.base_revision) != (base.name, base.revision) or start.chat_template_hash != template:
        raise TuningError(
            f"continue_from {name!r} was trained on {start.base_name} {start.base_revision} with chat template "
            f"{start.chat_template_hash}, not on {base.name} {base.revision} with {template}; train it again"
        )
    if start.form not in _CONTINUED:
        raise TuningError(
            f"continue_from {name!r} cannot be trained further: it is of the form {start.form}, not "
            f"{' or '.join(_CONTINUED)}; begin with the base model"
        )
    if start.form == "lora" and method.merges_start:
        return start
    if start.form != method.form or (method.form == "lora" and method.export is not save_layers):
        same = [one.name for one in METHODS.values() if one.form == start.form and not one.quantization]
        usable = [one for one in same if start.form == "merged" or METHODS[one].export is save_layers]
        raise TuningError(
            f"continue_from {name!r} cannot be trained further by {recipe.method}, which would not begin with these "
            f"weights; use one of {', '.join(usable)}"
        )
    return start


def refuse_unfit(model: Any, start: Adapter, *, is_final: bool = True) -> None:
    """Raise TuningError where the adapter's weights do not have the shape of what is trained of a PeftModel; without
    `is_final` the rows may still change the ranks of some layers.
    """
    from safetensors import safe_open

    config = json.loads((start.path / CONFIG).read_bytes())
    own = model.peft_config["default"]
    for key, word in _SCALES.items():
        if config[key] != getattr(own, key):
            raise _misfit(start, f"it has {word} {config[key]}, and this training {getattr(own, key)}")
    for key in _PATTERNS if is_final else ():
        if (config.get(key) or {}) != getattr(own, key):
            raise _misfit(start, f"it has {key} {config.get(key)}, and this training {getattr(own, key)}")
    with safe_open(start.path / WEIGHTS, "pt") as stored:
        given = {name.replace(".weight", ".default.weight") for name in stored.keys()}  # noqa: SIM118  # no mapping
    moved = {name for name, _ in model.named_parameters() if "lora_" in name}
    if moved != given:
        odd = sorted(moved ^ given)[0].removeprefix("base_model.model.").replace(".default.weight", "")
        raise _misfit(start, f"other layers are trained: {odd}")


def merged_start(plain: Any, start: Adapter) -> Any:
    """The base model with the update of a LoRA merged into its weights."""
    from peft import PeftModel

    return PeftModel.from_pretrained(plain, str(start.path)).merge_and_unload()


def load_start(prepared: Prepared, start: Adapter) -> None:
    """Begin with the adapter's weights. Raises TuningError where they do not have the shape of what is trained."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    refuse_unfit(prepared.model, start)
    stored: dict[str, torch.Tensor] = load_file(start.path / WEIGHTS)
    set_peft_model_state_dict(prepared.model, stored)


def _misfit(start: Adapter, reason: str) -> TuningError:
    return TuningError(f"continue_from {start.name!r} does not fit: {reason}; train with its numbers")
