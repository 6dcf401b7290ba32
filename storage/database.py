"""A SQLite file of the server's own rows: whole transactions, for several threads and processes at once.

database = Database(home / "decisions.db", METADATA)
with database.write() as rows: rows.execute(DECISIONS.insert().values(id="dec_1"))
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from storage.errors import StorageError

# A second process waits this long for the first one's transaction; ours take milliseconds.
_BUSY_TIMEOUT_S = 30.0


class Database:
    """What `write` commits is on the disk when the block ends, and all or nothing of it."""

    def __init__(self, file: Path, tables: sa.MetaData, *, version: int = 1) -> None:
        """Opens the file, and creates the tables if it has none.

        Raises StorageError for a file that is no database, or that was written by a newer version of this program.
        """
        self._file = file
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"data directory {str(file.parent)!r} cannot be made: {error.strerror}") from error
        self._engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(file)), connect_args={"timeout": _BUSY_TIMEOUT_S}
        )
        sa.event.listen(self._engine, "connect", _configure)
        sa.event.listen(self._engine, "begin", _begin)
        # A write transaction that first reads would fail, not wait, if another one commits in between.
        self._writer = self._engine.execution_options(begin="BEGIN IMMEDIATE")
        self._prepare(tables, version)

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One consistent view of all rows, whatever others commit meanwhile. Raises StorageError."""
        with self._explained("read"), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One transaction: all of it is committed when the block ends, nothing if it raises. Raises StorageError."""
        with self._explained("written"), self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Closes the connections; the next call opens new ones."""
        self._engine.dispose()

    def _prepare(self, tables: sa.MetaData, version: int) -> None:
        with self.read() as rows:
            found = int(rows.exec_driver_sql("PRAGMA user_version").scalar_one())
        if found > version:
            raise StorageError(
                f"{str(self._file)!r} was written by a newer version of arbiter (schema {found}, not {version}); "
                "install that one"
            )
        if found == 0:
            with self.write() as rows:
                tables.create_all(rows)
                rows.exec_driver_sql(f"PRAGMA user_version = {version}")

    @contextlib.contextmanager
    def _explained(self, action: str) -> Iterator[None]:
        try:
            yield
        except (sa.exc.SQLAlchemyError, sqlite3.Error) as error:
            reason = str(getattr(error, "orig", None) or error).split("\n", 1)[0]
            raise StorageError(f"{str(self._file)!r} cannot be {action}: {_advice(reason)}") from error


def _advice(reason: str) -> str:
    if "disk is full" in reason:
        return "the disk is full; free some space and try again"
    if "locked" in reason:
        return "another process has been writing it for long; try again when that is done"
    if "not a database" in reason or "malformed" in reason:
        return f"it is not a database, or damaged ({reason}); move it away"
    return reason


def _configure(connection: Any, _record: object) -> None:
    # Python's driver begins transactions late and not for reads; _begin begins all of them.
    connection.isolation_level = None
    # A promotion that was answered must outlive a power cut, so every commit reaches the disk.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))
