"""Whether an engine may load an adapter: `check_admission(adapter, ...)` gives every reason against it."""

from __future__ import annotations

import json
from pathlib import Path

from storage.hashes import content_hash
from tuning.base import ResolvedModel
from tuning.errors import TuningError
from tuning.export.adapters import Adapter


def check_admission(adapter: Adapter, base: ResolvedModel, *, max_rank: int, chat_template_hash: str) -> list[str]:
    """Every reason why vLLM must not load this adapter beside this base model; none means it may.

    vLLM itself refuses a rank and some features, one at a time; others, and an adapter of another base or chat
    template, it would load without a word and answer wrongly.
    """
    reasons = []
    if adapter.base_name != base.name:
        reasons.append(f"trained on base model {adapter.base_name!r}, not {base.name!r}; train it again")
    elif adapter.base_revision != base.revision:
        reasons.append(f"trained on revision {adapter.base_revision!r}, not {base.revision!r}; train it again")
    if adapter.chat_template_hash != chat_template_hash:
        reasons.append(
            f"trained with chat template {adapter.chat_template_hash}, not {chat_template_hash}; train it again"
        )
    if adapter.form == "lora" and adapter.rank > max_rank:
        reasons.append(f"rank {adapter.rank} is over max_lora_rank {max_rank}; raise it or train with a lower rank")
    if adapter.unserved:
        reasons.append(f"it has {'; '.join(adapter.unserved)}, which vLLM does not serve; train without, or merge it")
    return reasons


def chat_template_hash(base_path: str | Path) -> str:
    """16 hex digits that name the chat template of a model folder. Raises TuningError as `chat_template`."""
    return content_hash(chat_template(base_path))[:16]


def chat_template(base_path: str | Path) -> str:
    """The chat template of a model folder, read from its files without loading a tokenizer.

    Raises TuningError when the folder has none: a conversation cannot be rendered then, in training or in serving.
    """
    folder = Path(base_path)
    template = folder / "chat_template.jinja"
    try:
        if template.is_file():
            return template.read_text(encoding="utf-8")
        config = json.loads((folder / "tokenizer_config.json").read_bytes())
        text = config.get("chat_template")
        if isinstance(text, list):
            text = {entry["name"]: entry["template"] for entry in text}.get("default")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TuningError(f"cannot read the chat template of model folder {str(base_path)!r}: {error}") from error
    if not isinstance(text, str):
        raise TuningError(f"model folder {str(base_path)!r} has no chat template; use an instruction-tuned model")
    return text
