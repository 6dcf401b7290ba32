"""A SQLite file whose rows are kept as they come: every write is committed at once, and a killed process loses none.

rows = RowCache(path, ("CREATE TABLE IF NOT EXISTS ...",), called="answer cache", row="an answer")
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from storage.errors import StorageError

Value = str | int | float


class RowCache:
    """One connection in WAL mode without transactions of its own."""

    def __init__(self, path: Path, tables: Sequence[str], *, called: str, row: str) -> None:
        """Opens or creates the file; `called` and `row` name it and what it keeps in errors.

        Raises StorageError for another kind of file.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._row = path, row
        try:
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            for table in tables:
                self._db.execute(table)
        except sqlite3.DatabaseError as error:
            raise StorageError(f"cannot open the {called} {str(path)!r}: {error}; move the file away") from error

    def find(self, statement: str, key: str) -> Any:
        """The first column of the first row that the statement selects, None without any."""
        row = self._db.execute(statement, (key,)).fetchone()
        return row[0] if row is not None else None

    def write(self, statement: str, values: tuple[Value, ...] = ()) -> None:
        """Execute and commit. Raises StorageError when the disk is full."""
        try:
            self._db.execute(statement, values)
        except sqlite3.OperationalError as error:
            raise StorageError(
                f"cannot keep {self._row} in {str(self._path)!r}: {error}; "
                "free some space and run the same command again"
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()
