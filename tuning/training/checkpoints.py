"""Checkpoints by the clock: `last_checkpoint(folder)` is where the next process goes on."""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path

from storage.folders import is_complete, read_manifest, write_manifest

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "safetensors", "tokenizers")


def mark_complete(checkpoint: Path, elapsed_s: float) -> None:
    """Say of a written checkpoint that it is whole, and how many seconds of training it holds."""
    write_manifest(checkpoint, {"elapsed_s": elapsed_s, "packages": package_versions()})


def last_checkpoint(folder: Path) -> tuple[Path | None, float]:
    """The newest complete checkpoint of these package versions and the seconds spent up to it; others are removed."""
    usable: dict[int, tuple[Path, float]] = {}
    for path in folder.glob("checkpoint-*"):
        manifest = read_manifest(path) if is_complete(path) else {}
        if manifest.get("packages") == package_versions():
            usable[int(path.name.rpartition("-")[2])] = (path, float(manifest["elapsed_s"]))
        else:
            shutil.rmtree(path)
    return usable[max(usable)] if usable else (None, 0.0)


def package_versions() -> dict[str, str]:
    """Installed versions of what decides the weights."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}
