"""Converted files, kept so that an unchanged file is converted once: `Conversions(home / "conversions.db")`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from rag.documents.converted import Converted
from storage.row_cache import RowCache

_DAY_S = 86_400.0
_KEPT_S = 30 * _DAY_S
_TABLES = (
    "CREATE TABLE IF NOT EXISTS conversions (digest TEXT PRIMARY KEY, used_at REAL NOT NULL, converted TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS conversions_by_age ON conversions (used_at)",
)


class Conversions:
    """A `ConversionCache` in a file of its own; what was not asked for in 30 days is forgotten."""

    def __init__(self, file: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Opens or creates the file. Raises StorageError when it cannot be."""
        self._rows = RowCache(file, _TABLES, called="cache of converted files", row="a converted file")
        self._clock = clock

    def get(self, digest: str) -> Converted | None:
        """The conversion put under this digest, None if there is none."""
        found = self._rows.find("SELECT converted FROM conversions WHERE digest = ?", digest, _read)
        if found is not None:
            used = "UPDATE conversions SET used_at = ? WHERE digest = ? AND used_at < ?"
            now = self._clock()
            self._rows.write(used, (now, digest, now - _DAY_S))
        return found

    def put(self, digest: str, converted: Converted) -> None:
        """Keep a conversion; one that is known already stays."""
        if self.get(digest) is not None:
            return
        now = self._clock()
        self._rows.write("DELETE FROM conversions WHERE used_at < ?", (now - _KEPT_S,))
        row = json.dumps([converted.title, converted.text, converted.pages], ensure_ascii=False)
        self._rows.write("INSERT OR REPLACE INTO conversions VALUES (?, ?, ?)", (digest, now, row))

    def close(self) -> None:
        self._rows.close()


def _read(row: bytes) -> Converted:
    title, text, pages = json.loads(row)
    return Converted(title, text, tuple(pages))
