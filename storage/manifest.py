"""The manifest of a folder. It is written last: its presence means that the folder is complete."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from storage.errors import StorageError
from storage.text_files import replace_text

MANIFEST = "manifest.json"


def write_manifest(directory: Path, manifest: Mapping[str, object]) -> None:
    """Write manifest.json, whole and to the disk. Raises StorageError when the disk is full."""
    replace_text(directory / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a complete directory. Raises StorageError when it is missing or torn."""
    try:
        manifest = json.loads((directory / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise StorageError(
            f"{str(directory)!r} has no {MANIFEST}, so it is not complete; delete it and make it again"
        ) from None
    except (OSError, ValueError) as error:
        raise StorageError(
            f"cannot read {MANIFEST} of {str(directory)!r}: {error}; delete it and make it again"
        ) from error
    if not isinstance(manifest, dict):
        raise StorageError(f"{MANIFEST} of {str(directory)!r} is no JSON object; delete it and make it again")
    return manifest


def is_complete(directory: Path) -> bool:
    """Whether the directory has a manifest that can be read."""
    try:
        read_manifest(directory)
    except StorageError:
        return False
    return True
