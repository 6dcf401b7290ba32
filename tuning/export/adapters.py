"""Trained adapters on disk: `adapters/<name>@<hash>/` with weights, PEFT's configuration and a manifest, never changed.

for adapter in list_adapters(home / "adapters"): print(adapter.name, adapter.final_loss)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.folders import is_complete, read_manifest
from storage.hashes import content_hash, hash_files
from tuning.errors import TuningError

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


@dataclass(frozen=True, slots=True)
class Adapter:
    """A complete adapter. `name` ends in a hash of weights and configuration, so it never means other weights."""

    name: str
    path: Path
    base_name: str
    base_revision: str
    chat_template_hash: str
    recipe_hash: str
    rank: int
    """The largest rank of any of its modules, which is what vLLM's --max-lora-rank must cover."""
    is_dora: bool
    modules_to_save: tuple[str, ...]
    has_bias: bool
    num_rows: int
    num_dropped: int
    """Rows left out because they were longer than the recipe's max_length."""
    num_tokens: int
    """Tokens trained on, all epochs together, padding aside."""
    training_s: float
    final_loss: float


def load_adapter(path: Path) -> Adapter:
    """The adapter in a directory, its files checked against the manifest's hashes.

    Raises TuningError for a torn directory, a changed file, and a directory that this program did not write.
    """
    manifest = read_manifest(path)
    remedy = "delete the directory and train again"
    try:
        config = json.loads((path / CONFIG).read_bytes())
        adapter = _adapter(path, manifest, config)
        expected = dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"no {error.args[0]!r} in its manifest" if isinstance(error, KeyError) else str(error)
        raise TuningError(f"{str(path)!r} is no adapter of this program: {reason}; {remedy}") from error
    found = hash_files(path)
    changed = sorted(name for name in {WEIGHTS, CONFIG, *expected} if found.get(name, "") != expected.get(name))
    if changed:
        raise TuningError(f"adapter {adapter.name!r} is damaged: {', '.join(changed)} changed or gone; {remedy}")
    if not adapter.name.endswith(f"@{adapter_hash(path)}"):
        raise TuningError(f"adapter {adapter.name!r} does not hold the weights of its name; {remedy}")
    return adapter


def list_adapters(adapters_dir: Path) -> list[Adapter]:
    """The complete adapters of a directory by name, each with its files checked; half-written ones are passed over.

    Raises TuningError for one that is complete but damaged.
    """
    return [load_adapter(path) for path in sorted(adapters_dir.glob("*@*")) if is_complete(path)]


def find_adapter(adapters_dir: Path, recipe_hash: str, *, name: str | None = None) -> Adapter | None:
    """The adapter that this recipe gave (under this name, if given), or None. Raises TuningError when it is damaged."""
    for path in sorted(adapters_dir.glob(f"{name or '*'}@*")):
        if is_complete(path) and read_manifest(path).get("recipe_hash") == recipe_hash:
            return load_adapter(path)
    return None


def adapter_hash(directory: Path) -> str:
    """8 hex digits over weights and configuration: the part of an adapter's name after the @."""
    hashes = hash_files(directory)
    return content_hash(hashes.get(CONFIG, ""), hashes.get(WEIGHTS, ""))[:8]


def _adapter(path: Path, manifest: dict[str, Any], config: dict[str, Any]) -> Adapter:
    return Adapter(
        name=str(manifest["name"]),
        path=path,
        base_name=str(manifest["base"]["name"]),
        base_revision=str(manifest["base"]["revision"]),
        chat_template_hash=str(manifest["chat_template_hash"]),
        recipe_hash=str(manifest["recipe_hash"]),
        rank=max([int(config["r"]), *(config.get("rank_pattern") or {}).values()]),
        is_dora=bool(config.get("use_dora")),
        modules_to_save=tuple(config.get("modules_to_save") or ()),
        has_bias=config.get("bias", "none") != "none" or bool(config.get("lora_bias")),
        num_rows=int(manifest["num_rows"]),
        num_dropped=int(manifest["num_dropped"]),
        num_tokens=int(manifest["num_tokens"]),
        training_s=float(manifest["training_s"]),
        final_loss=float(manifest["final_loss"]),
    )
