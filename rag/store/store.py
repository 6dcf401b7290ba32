"""The database that is the truth about every index: `with Store(url).read() as rows: indexes.state(rows, "faq")`.

`rows` is an open transaction; the modules beside this one hold every statement on it, by the noun that it is about.
The FAISS and BM25 files are views of these rows (`rag/views.py`).
"""

from __future__ import annotations

import contextlib
import errno
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from rag.errors import RagError
from rag.store.schema import NUMBERS

DATABASE = "rag.sqlite"

# A second process waits this long for the first one's transaction, which holds no embedding work; a million chunks
# are written in less.
_BUSY_TIMEOUT_S = 120.0
_RETRY_S = 0.01
# A page of SQLite holds five vectors of 384 with little left over; of the usual 4 KB a quarter would be empty.
_PAGE_BYTES = 8192
# What the write-ahead log may keep of the disk after a large transaction.
_LOG_BYTES = 64 << 20
# A server asks from 40 threads at once. With more connections than threads, one that needs a second always gets it.
_POOL = {"pool_size": 5, "max_overflow": 45}


class Conflict(Exception):
    """Another process changed the index since its state was read; read again and start over."""


class Store:
    """The database at a SQLAlchemy URL, SQLite or PostgreSQL; safe to use from several threads and processes."""

    def __init__(self, url: str | sa.URL) -> None:
        """Opens the database; makes its tables if it has none, and brings those of an older version up to date.

        Raises RagError if it cannot be reached, is no database, another program's, or written by a newer version.
        """
        try:
            self._url = sa.make_url(url)
            is_sqlite = self._url.get_backend_name() == "sqlite"
            self._where = _shown(self._url)
            arguments = {"timeout": _BUSY_TIMEOUT_S} if is_sqlite else {}
            self._engine = sa.create_engine(self._url, connect_args=arguments, pool_pre_ping=not is_sqlite, **_POOL)
        except (sa.exc.SQLAlchemyError, ImportError, ValueError) as error:
            # The URL itself may hold a password, and so may the message about it.
            raise RagError(
                f"the database URL cannot be used ({type(error).__name__}); "
                "give postgresql+psycopg://USER:PASSWORD@HOST/DATABASE or sqlite:///FILE"
            ) from error
        if is_sqlite:
            sa.event.listen(self._engine, "connect", _configure_sqlite)
            sa.event.listen(self._engine, "begin", _begin_sqlite)
            self._reader = self._engine
            # A write transaction that first reads would fail, not wait, if another one commits in between.
            self._writer = self._engine.execution_options(begin="BEGIN IMMEDIATE")
        else:
            self._reader = self._engine.execution_options(isolation_level="REPEATABLE READ")
            # Writers take turns at an index by locking its row, and then see what the one before has committed.
            self._writer = self._engine.execution_options(isolation_level="READ COMMITTED")
        self._prepare()

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One consistent view of all rows, whatever others commit meanwhile. Raises RagError."""
        with self._explained("read"), self._reader.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One transaction: all of it is committed at the end of the block, nothing if it raises. Raises RagError."""
        with self._explained("written"), self._writer.begin() as connection:
            yield connection

    def take_numbers(self, count: int) -> range:
        """So many chunk numbers that nobody had and nobody else will get; gaps between them mean nothing."""
        with self.write() as rows:
            rows.execute(NUMBERS.update().values(next=NUMBERS.c.next + count))
            end = int(rows.execute(sa.select(NUMBERS.c.next)).scalar_one())
        return range(end - count, end)

    def close(self) -> None:
        """Closes the connections; the next call opens new ones."""
        self._engine.dispose()

    def _prepare(self) -> None:
        from rag.store.migrations import is_current, migrate

        try:
            with self.read() as rows:
                current = is_current(rows, self._where)
            if not current:
                with self.write() as rows:
                    migrate(rows, self._where)
        except ValueError as error:
            self.close()
            raise RagError(
                f"{self._where!r} has damaged rows and cannot be brought up to date ({_words(error)}); move it "
                "away and index the documents again"
            ) from error
        except BaseException:
            self.close()
            raise

    @contextlib.contextmanager
    def _explained(self, action: str) -> Iterator[None]:
        try:
            yield
        except (sa.exc.SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise RagError(f"{self._where!r} cannot be {action}: {advice(error)}") from error
        except json.JSONDecodeError as error:
            raise RagError(
                f"{self._where!r} has damaged rows ({error}); mend it with: arbiter index verify --repair, "
                "or move it away and index the documents again"
            ) from error


def open_store(home: Path, url: str | sa.URL | None = None) -> Store | None:
    """The database of a data directory, or the one at `url`; None if the directory has none yet. Raises RagError."""
    if url is None and not (home / DATABASE).is_file():
        return None
    return Store(database_url(home, url))


def insert_missing(rows: sa.Connection, table: sa.Table, values: Sequence[Mapping[str, object]]) -> None:
    """Adds those of the rows whose key is not there yet."""
    insert = postgresql.insert if rows.dialect.name == "postgresql" else sqlite.insert
    if values:
        rows.execute(insert(table).on_conflict_do_nothing(), list(values))


def database_url(home: Path, url: str | sa.URL | None = None) -> sa.URL | str:
    """The URL, or that of the SQLite file of a data directory."""
    return url if url is not None else sqlite_url(home / DATABASE)


def sqlite_url(file: Path) -> sa.URL:
    return sa.URL.create("sqlite", database=str(file))


def advice(error: BaseException) -> str:
    """What happened and what to do, in one line."""
    cause = getattr(error, "orig", None) or error
    words = _words(error)
    if (
        "disk is full" in words
        or "No space left" in words
        or getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    ):
        return "the disk is full; nothing is lost, free some space and run the same command again"
    if "locked" in words:
        return "another process has been writing it for long; try again when that is done"
    if "not a database" in words or "malformed" in words:
        return f"it is not a database, or damaged ({words}); move it away and index the documents again"
    return words


def _words(error: BaseException) -> str:
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _shown(url: sa.URL) -> str:
    """Where the database is, without a password, which the part behind the question mark may hold as well."""
    if url.get_backend_name() == "sqlite":
        return url.database or "memory"
    return url.set(query={}).render_as_string(hide_password=True)


def _configure_sqlite(connection: Any, _record: object) -> None:
    # Python's driver begins transactions late and not for reads; _begin_sqlite begins all of them.
    connection.isolation_level = None
    # A flipped byte must not make an index unreadable: verify finds the text that it is in.
    connection.text_factory = _text
    connection.execute(f"PRAGMA page_size={_PAGE_BYTES}")
    _write_ahead(connection)
    # A delete that was answered must outlive a power cut, so every commit reaches the disk.
    for pragma in (f"journal_size_limit={_LOG_BYTES}", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _write_ahead(connection: Any) -> None:
    # Of several that make a database at once, SQLite sends all but one away instead of letting them wait.
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_S)


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))
