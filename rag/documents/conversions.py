"""Converted files, kept so that an unchanged file is converted once: `convert_once("pdf", data, limits, cache)`."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cache, partial
from importlib import metadata
from pathlib import Path

from rag.documents.child import convert_in_child
from rag.documents.convert import CONVERSION, PACKAGES, Converted
from rag.documents.limits import Limits
from storage.records import from_json
from storage.row_cache import RowCache

_DAY_S = 86_400.0
_KEPT_S = 30 * _DAY_S
_TABLES = (
    "CREATE TABLE IF NOT EXISTS conversions (digest TEXT PRIMARY KEY, used_at REAL NOT NULL, converted TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS conversions_by_age ON conversions (used_at)",
)


class Conversions:
    """Conversions by digest in a file of their own; what was not asked for in 30 days is forgotten."""

    def __init__(self, file: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Opens or creates the file. Raises StorageError when it cannot be."""
        self._rows = RowCache(file, _TABLES, called="cache of converted files", row="a converted file")
        self._clock = clock

    def get(self, digest: str) -> Converted | None:
        """The conversion put under this digest, None if there is none."""
        select = "SELECT converted FROM conversions WHERE digest = ?"
        found = self._rows.find(select, digest, partial(from_json, Converted))
        if found is not None:
            used = "UPDATE conversions SET used_at = ? WHERE digest = ? AND used_at < ?"
            now = self._clock()
            self._rows.write(used, (now, digest, now - _DAY_S))
        return found

    def put(self, digest: str, converted: Converted) -> None:
        """Keep a conversion, in place of another under this digest."""
        now = self._clock()
        self._rows.write("DELETE FROM conversions WHERE used_at < ?", (now - _KEPT_S,))
        row = json.dumps(asdict(converted), ensure_ascii=False)
        self._rows.write("INSERT OR REPLACE INTO conversions VALUES (?, ?, ?)", (digest, now, row))

    def close(self) -> None:
        self._rows.close()


def convert_once(kind: str, data: bytes, limits: Limits, conversions: Conversions | None) -> Converted:
    """The file as text, by a child process only if it is not kept.

    Raises RagError with the reason for a file that cannot be converted; that is not kept, so that another limit or a
    repaired package may do better.
    """
    if conversions is None:
        return convert_in_child(kind, data, limits)
    # Equal digests mean the same bytes, read as the same kind by the same converters.
    digest = hashlib.sha256(f"{kind}\0{_versions()}\0".encode())
    digest.update(data)
    converted = conversions.get(digest.hexdigest())
    if converted is None:
        converted = convert_in_child(kind, data, limits)
        conversions.put(digest.hexdigest(), converted)
    return converted


@cache
def _versions() -> str:
    return " ".join([str(CONVERSION), *(f"{name}={metadata.version(name)}" for name in PACKAGES)])
