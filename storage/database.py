"""The database behind one URL: whole transactions on SQLite or PostgreSQL, for many threads and processes at once.

database = open_database(home)
with database.write() as rows: rows.execute(DECISIONS.insert().values(id="dec_1"))

Every process of a home opens the same one; storage/migrations makes its tables.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from storage.errors import StorageError, UnfitValue
from storage.files import is_full_disk

FILE = "arbiter.db"

# A second process waits this long for the first one's transaction, which holds no embedding work; a million chunks
# are written in less.
_BUSY_TIMEOUT_S = 120.0
_RETRY_S = 0.01
# A page of SQLite holds five vectors of 384 with little left over; of the usual 4 KB a quarter would be empty.
_PAGE_BYTES = 8192
# What the write-ahead log may keep of the disk after a large transaction.
_LOG_BYTES = 64 << 20
# A server asks from 40 threads at once.
_POOL = {"pool_size": 5, "max_overflow": 45}
# Any number will do that no other program locks in the same PostgreSQL database.
_WRITER_LOCK = 0x617262697466
_PUT_BACK = (
    "nothing was changed: put a copy of it back, or save what can be read with: sqlite3 FILE .recover; "
    "to begin anew move it away"
)
# What SQLite says, and what to do about it.
_REMEDIES = {
    "readonly database": "make it and its folder writable, or set ARBITER_HOME to a folder of your own",
    "unable to open database file": "make its folder, and make that writable, or give another place in ARBITER_HOME or "
    "in the database's URL",
    "disk I/O error": "look at the disk, its quota and the limit on file sizes (ulimit -f), and run the same command "
    "again",
}
_BUSY = "another process has been writing it for long; try again when that is done"
_UNREACHABLE = "start it if it is not running, or correct its URL in ARBITER_DATABASE or index.database"
# Younger than this, an empty file may be one that another process begins just now.
_BEGUN_S = 60.0


def make_engine(url: str | sa.URL) -> sa.Engine:
    """The SQLAlchemy engine of a database; on SQLite with write-ahead log, foreign keys and a busy timeout.

    Its transactions may write. On SQLite they begin as writers: one that first reads would fail, not wait, if another
    one commits in between; `engine.execution_options(begin="BEGIN")` is an engine for readers, which is all that can be
    done with a file that this user may not write. Raises StorageError for a URL that cannot be used.
    """
    try:
        parsed = sa.make_url(url)
        is_sqlite = parsed.get_backend_name() == "sqlite"
        arguments = {"timeout": _BUSY_TIMEOUT_S} if is_sqlite else {}
        if is_sqlite and _is_read_only(file := Path(parsed.database or "")):
            # Where nobody can write and nobody does, SQLite must be told so: it would make a log to read.
            query = {**parsed.query, "uri": "true", "mode": "ro"}
            if not _log_of(file).exists():
                query["immutable"] = "1"
            parsed = parsed.set(database=f"file:{quote(str(file))}", query=query)
        engine = sa.create_engine(parsed, connect_args=arguments, pool_pre_ping=not is_sqlite, **_POOL)
    except (sa.exc.SQLAlchemyError, ImportError, TypeError, ValueError) as error:
        # A TypeError is a database in memory, which takes no pool of connections, and would be lost.
        # The URL itself may hold a password, and so may the message about it.
        raise StorageError(
            f"the database URL cannot be used ({type(error).__name__}); "
            "give postgresql+psycopg://USER:PASSWORD@HOST/DATABASE or sqlite:///FILE"
        ) from error
    if is_sqlite:
        sa.event.listen(engine, "connect", _configure_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


class Database:
    """The database at a SQLAlchemy URL, safe to use from several threads and processes. `where` is shown to people.

    What a write block holds is on the disk when it ends, and all or nothing of it.
    """

    def __init__(self, url: str | sa.URL) -> None:
        """Opens the database; makes its tables if it has none, and brings those of an older version up to date.

        Raises StorageError if it cannot be reached, is damaged, no database, another program's, or written by a newer
        version.
        """
        self.engine = make_engine(url)
        self.where = _shown(sa.make_url(url))
        self._turn = threading.Lock()
        self._is_sqlite = self.engine.dialect.name == "sqlite"
        if self._is_sqlite:
            self._reader, self._writer = self.engine.execution_options(begin="BEGIN"), self.engine
        else:
            self._reader = self.engine.execution_options(isolation_level="REPEATABLE READ")
            # Writers wait for each other, and then see what the one before has committed.
            self._writer = self.engine.execution_options(isolation_level="READ COMMITTED")
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One consistent view of all rows, whatever others commit meanwhile. Raises StorageError."""
        with self._explained("read"), self._reader.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One transaction, one at a time, so that what it reads holds until it ends. Raises StorageError."""
        # Threads that wait hold no connection: the one that writes gets a second to read by, however many they are.
        if not self._turn.acquire(timeout=_BUSY_TIMEOUT_S):
            raise StorageError(f"{self.where!r} cannot be written: {_BUSY}")
        try:
            with self.write_beside() as rows:
                if not self._is_sqlite:
                    rows.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITER_LOCK)))
                yield rows
        finally:
            self._turn.release()

    @contextlib.contextmanager
    def write_beside(self) -> Iterator[sa.Connection]:
        """One transaction beside those of others where the database can, on PostgreSQL: it locks its rows itself.

        Raises StorageError.
        """
        with self._explained("written"), self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Closes the connections; the next call opens new ones."""
        self.engine.dispose()

    def _prepare(self) -> None:
        from storage.migrations import is_current, migrate

        if self._is_sqlite:
            _refuse_emptied(Path(self.where))
        with self.read() as rows:
            current = is_current(rows, self.where)
        if not current:
            with self.write_beside() as rows:
                migrate(rows, self.where)

    @contextlib.contextmanager
    def _explained(self, action: str) -> Iterator[None]:
        try:
            yield
        except sa.exc.DataError as error:
            raise UnfitValue(f"a value is none that the database keeps: {self._advice(error)}") from error
        except (sa.exc.SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise StorageError(f"{self.where!r} cannot be {action}: {self._advice(error)}") from error
        except json.JSONDecodeError as error:
            raise StorageError(
                f"{self.where!r} has damaged rows ({error}); put a copy of it back; if an index is "
                "damaged, mend it with: arbiter index verify --repair"
            ) from error

    def _advice(self, error: BaseException) -> str:
        """What happened and what to do, in one line."""
        cause = getattr(error, "orig", None) or error
        words = (str(cause).strip().splitlines() or [type(error).__name__])[0]
        if is_full_disk(cause, Path(self.where) if self._is_sqlite else Path.cwd()):
            return "the disk is full; nothing is lost, free some space and run the same command again"
        if "locked" in words:
            return _BUSY
        if "not a database" in words or "malformed" in words:
            return f"it is not a database, or damaged ({words}); {_PUT_BACK}"
        if not self._is_sqlite:
            return f"{words}; {_UNREACHABLE}" if isinstance(error, sa.exc.OperationalError) else words
        remedy = next((remedy for said, remedy in _REMEDIES.items() if said in words), None)
        return f"{words}; {remedy}" if remedy else words


def open_database(home: Path, url: str | sa.URL | None = None) -> Database:
    """The database of a data directory, which is made if need be: that at `url`, or else its own file.

    Raises StorageError.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "the disk is full" if is_full_disk(error, home) else (error.strerror or str(error)).lower()
        raise StorageError(f"data directory {str(home)!r} cannot be made: {reason}") from error
    return Database(database_url(home, url))


def find_database(home: Path, url: str | sa.URL | None = None) -> Database | None:
    """As `open_database`, but None if the directory has no database yet."""
    if url is None and not (home / FILE).is_file():
        return None
    return Database(database_url(home, url))


def database_url(home: Path, url: str | sa.URL | None = None) -> str | sa.URL:
    """The URL, or that of the SQLite file of a data directory."""
    return url if url is not None else sqlite_url(home / FILE)


def sqlite_url(file: Path) -> sa.URL:
    """The URL of a SQLite file, whatever signs its path has."""
    return sa.URL.create("sqlite", database=str(file))


def insert_missing(rows: sa.Connection, table: sa.Table, values: Sequence[Mapping[str, object]]) -> None:
    """Adds those of the rows whose key is not there yet."""
    insert = postgresql.insert if rows.dialect.name == "postgresql" else sqlite.insert
    if values:
        rows.execute(insert(table).on_conflict_do_nothing(), list(values))


def _refuse_emptied(file: Path) -> None:
    """SQLite takes a file of no bytes for a new database, and throws away the log that is beside it."""
    # The log is looked at first: of a database that is being made just now, the file has bytes before the log has.
    log = _log_of(file)
    has_log = log.is_file() and log.stat().st_size > 0
    if not file.is_file() or (found := file.stat()).st_size:
        return
    if has_log or time.time() - found.st_mtime > _BEGUN_S:
        raise StorageError(f"{str(file)!r} has been emptied; put a copy of it back, or delete it to begin anew")


def _log_of(file: Path) -> Path:
    return file.with_name(f"{file.name}-wal")


def _is_read_only(file: Path) -> bool:
    return file.is_file() and not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK))


def _shown(url: sa.URL) -> str:
    """Where the database is, without a password, which the part behind the question mark may hold as well."""
    if url.get_backend_name() == "sqlite":
        return url.database or "memory"
    return url.set(query={}).render_as_string(hide_password=True)


def _configure_sqlite(connection: Any, _record: object) -> None:
    # Python's driver begins transactions late and not for reads; _begin_sqlite begins all of them.
    connection.isolation_level = None
    # A flipped byte must not make an index unreadable: verify finds the text that it is in.
    connection.text_factory = lambda data: data.decode(errors="replace")
    connection.execute(f"PRAGMA page_size={_PAGE_BYTES}")
    _write_ahead(connection)
    # What was answered must outlive a power cut, so every commit reaches the disk.
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


def _begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN IMMEDIATE"))
