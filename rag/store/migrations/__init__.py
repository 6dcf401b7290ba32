"""The database's tables, brought up to date: `migrate(rows, where)` does the steps that are missing.

Alembic runs the files of `versions/`, one a step, all in the transaction that is given: a process that is killed in
the middle leaves the old tables. A new database gets the tables of the newest version at once; a test holds both ways
equal. `rag_schema` holds the version as a number that programs of any age can read.
"""

from __future__ import annotations

import threading
from pathlib import Path

import sqlalchemy as sa

from rag.errors import RagError
from rag.store.schema import METADATA, NUMBERS, SCHEMA, SCHEMA_VERSION

# Alembic keeps what it is doing in module globals.
_LOCK = threading.Lock()
# Any number will do that no other program locks in the same PostgreSQL database.
_POSTGRESQL_LOCK = 0x617262697465
# A name of our own: a PostgreSQL database may hold another program's `alembic_version`.
VERSION_TABLE = "rag_alembic_version"


def is_current(rows: sa.Connection, where: str) -> bool:
    """Whether the tables are those of this version.

    Raises RagError if a newer version made them, or if another program has tables of these names.
    """
    tables = set(sa.inspect(rows).get_table_names())
    if SCHEMA.name not in tables:
        if taken := sorted(tables & set(METADATA.tables)):
            raise RagError(f"{where!r} is another program's database (it has a table {taken[0]!r}); move it away")
        return False
    version = int(rows.execute(sa.select(SCHEMA.c.version)).scalar_one())
    if version > SCHEMA_VERSION:
        raise RagError(
            f"{where!r} was written by a newer version of arbiter (schema {version}, not {SCHEMA_VERSION}); "
            "install that one"
        )
    return version == SCHEMA_VERSION


def migrate(rows: sa.Connection, where: str) -> None:
    """Makes the tables those of this version, in a write transaction; what they hold is kept. Raises RagError."""
    if rows.dialect.name == "postgresql":
        rows.execute(sa.select(sa.func.pg_advisory_xact_lock(_POSTGRESQL_LOCK)))
    if is_current(rows, where):  # Another process was faster.
        return
    inspector = sa.inspect(rows)
    if not inspector.has_table(SCHEMA.name):
        METADATA.create_all(rows)
        rows.execute(SCHEMA.insert().values(version=SCHEMA_VERSION))
        rows.execute(NUMBERS.insert().values(next=1))
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = rows
    with _LOCK:
        if not inspector.has_table(VERSION_TABLE):
            command.stamp(config, f"{rows.execute(sa.select(SCHEMA.c.version)).scalar_one():04}")
        command.upgrade(config, "head")
