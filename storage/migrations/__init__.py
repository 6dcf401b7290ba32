"""The database's tables, brought up to date: `migrate(rows, where)` does the steps that are missing.

Alembic runs the files of `versions/`, one a step, all in the transaction that is given: a process that is killed in
the middle leaves the old tables. A test holds what they make equal to `storage.tables.TABLES`.
"""

from __future__ import annotations

import threading
from pathlib import Path

import sqlalchemy as sa

from storage.errors import StorageError

# The newest and the oldest of the files in versions/. 1 had other tables, and was in no release.
NEWEST = 5
OLDEST = 2
# A name of our own: a PostgreSQL database may hold another program's `alembic_version`.
VERSION_TABLE = "arbiter_version"

# Alembic keeps what it is doing in module globals.
_LOCK = threading.Lock()
# Any number will do that no other program locks in the same PostgreSQL database.
_POSTGRESQL_LOCK = 0x617262697465


def is_current(rows: sa.Connection, where: str) -> bool:
    """Whether the tables are those of this version. Raises StorageError if one made them that cannot be followed."""
    if not sa.inspect(rows).has_table(VERSION_TABLE):
        return False
    version = int(rows.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one())
    if version > NEWEST:
        raise StorageError(
            f"{where!r} was written by a newer version of arbiter (schema {version}, not {NEWEST}); install that one"
        )
    if version < OLDEST:
        raise StorageError(
            f"{where!r} was written by an earlier build of arbiter (schema {version}, not {NEWEST}); move it away, or "
            "use another ARBITER_HOME or database"
        )
    return version == NEWEST


def migrate(rows: sa.Connection, where: str) -> None:
    """Makes the tables those of this version, in a write transaction; what they hold is kept.

    Raises StorageError if another program has tables of these names.
    """
    if rows.dialect.name == "postgresql":
        rows.execute(sa.select(sa.func.pg_advisory_xact_lock(_POSTGRESQL_LOCK)))
    if is_current(rows, where):  # Another process was faster.
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = rows
    try:
        with _LOCK:
            command.upgrade(config, "head")
    except (sa.exc.OperationalError, sa.exc.ProgrammingError) as error:
        if "already exists" not in (words := str(error.orig)):
            raise
        raise StorageError(
            f"{where!r} is another program's database ({words.splitlines()[0]}); give arbiter one of its own"
        ) from error
