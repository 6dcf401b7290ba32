"""A trained model as it is served: `open_exported(adapter.form, plain, folder, open_whole)`, with `plain` the base
model as it was. The gate compares it with what was trained; the engine of a beside adapter answers with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tuning.base import CONFIG
from tuning.methods.bottleneck import load_bottlenecks
from tuning.methods.soft_prompt import load_prompt
from tuning.recipe import Form


def open_exported(form: Form, plain: Any, folder: Path, open_whole: Callable[[str], Any]) -> Any:
    """The model that an adapter's folder holds; `open_whole(path)` loads a whole one. Raises TuningError, and what
    PEFT raises, where the files do not fit.
    """
    if form == "merged":
        return open_whole(str(folder))
    return _OPENERS[form](plain, folder)


def first_cache(model: Any) -> Any:
    """The keys and values that a text of one row begins with, in a cache of its own."""
    from transformers import DynamicCache

    return model.get_prompt(batch_size=1) if hasattr(model, "get_prompt") else DynamicCache()


def without_first_cache(model: Any) -> Any:
    """The model that computes once `first_cache` is there."""
    return model.get_base_model() if hasattr(model, "get_prompt") else model


def open_beside(plain: Any, folder: Path) -> Any:
    """As `open_exported`, for an adapter that is served beside vLLM."""
    method = json.loads((folder / CONFIG).read_bytes()).get("method")
    return load_bottlenecks(plain, folder) if method == "bottleneck" else _open_peft(plain, folder)


def _open_peft(plain: Any, folder: Path) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(plain, str(folder))


_OPENERS: Mapping[Form, Callable[[Any, Path], Any]] = {
    "lora": _open_peft,
    "prompt": load_prompt,
    "beside": open_beside,
}
