"""A cache in a SQLite file: every row is committed as it comes, so a killed process loses none.

rows = RowCache(path, ("CREATE TABLE IF NOT EXISTS ...",), called="answer cache", row="an answer")

What it keeps can be made again. So a file that is damaged is set aside, said in one line, and begun anew.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from storage.errors import StorageError
from storage.files import hold_lock, is_full_disk

Value = str | int | float | bytes
T = TypeVar("T")

_BUSY_TIMEOUT_S = 30.0
# What these say is not in the file: another process, the disk, the rights. Every other error of SQLite's is.
_FROM_OUTSIDE = (
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
)

_log = logging.getLogger("arbiter.storage")


class RowCache:
    """One connection in WAL mode without transactions of its own; threads take turns at it."""

    def __init__(self, path: Path, tables: Sequence[str], *, called: str, row: str) -> None:
        """Opens or creates the file; `called` and `row` name it and what it keeps in what is said of them.

        Raises StorageError when it cannot be opened.
        """
        self._path, self._tables, self._called, self._row = path, tables, called, row
        self._db: sqlite3.Connection | None = None
        self._inode = 0
        self._lock = threading.RLock()
        self._do("open", sqlite3.Connection.commit)

    def find(self, statement: str, key: str, read: Callable[[Any], T]) -> T | None:
        """What `read` makes of the first column, texts as bytes, of the first row selected; None without any.

        A row that `read` can make nothing of is damaged, and counts as none. Raises StorageError.
        """
        row = self._do("read", lambda db: db.execute(statement, (key,)).fetchone())
        if row is None:
            return None
        try:
            return read(row[0])
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    def write(self, statement: str, values: tuple[Value, ...] = ()) -> None:
        """Execute and commit. Raises StorageError when the disk is full."""
        self._do("write", lambda db: db.execute(statement, values))

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, action: str, ask: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            try:
                try:
                    return ask(self._opened())
                except sqlite3.DatabaseError as error:
                    if not _is_damage(error):
                        raise
                    self._set_aside(error)
                    return ask(self._opened())
            except (sqlite3.Error, OSError) as error:
                raise self._failure(action, error) from error

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
            self._inode = self._path.stat().st_ino
            try:
                # A damaged character is for `read` to find: as text it would be an error of its own kind.
                db.text_factory = bytes
                for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL", *self._tables):
                    db.execute(statement)
            except BaseException:
                db.close()
                raise
            self._db = db
        return self._db

    def _set_aside(self, error: sqlite3.Error) -> None:
        """Move the damaged file out of the way with its log, which SQLite would read into the next one."""
        self.close()
        with hold_lock(self._path.with_name(f".{self._path.name}.lock")):
            if not self._path.exists() or self._path.stat().st_ino != self._inode:
                return  # Another process was faster.
            names = (f"{self._path.name}.damaged{number or ''}" for number in itertools.count())
            aside = next(name for name in names if not self._path.with_name(name).exists())
            for end in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    self._path.with_name(self._path.name + end).replace(self._path.with_name(aside + end))
        said = "the %s %r was damaged (%s): it is %r now, and is begun anew"
        _log.warning(said, self._called, self._path.name, error, aside)

    def _failure(self, action: str, error: Exception) -> StorageError:
        where = f"the {self._called} {str(self._path)!r}"
        if is_full_disk(error, self._path):
            return StorageError(
                f"cannot keep {self._row} in {where}: the disk is full; free some space and run the same command again"
            )
        return StorageError(f"cannot {action} {where}: {error}; check its folder, or move the file away")


def _is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    if code in (sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS):
        return True
    return code != sqlite3.SQLITE_OK and code & 0xFF not in _FROM_OUTSIDE
