"""What content is called by: `content_hash("a", "b")`, `hash_files(folder)`."""

from __future__ import annotations

import hashlib
from pathlib import Path

from storage.folders import MANIFEST


def content_hash(*parts: bytes | str) -> str:
    """sha256 over the parts as 64 hex digits; ("ab", "c") and ("a", "bc") differ."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8") if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()


def hash_files(directory: Path) -> dict[str, str]:
    """sha256 of every file below the directory by its relative path, sorted, the manifest left out."""
    hashes = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_file() and name != MANIFEST:
            with path.open("rb") as file:
                hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes
