from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

# Every package's tables, so that TABLES has them.
import rag.store.schema  # noqa: F401
import serving.decisions.ledger
import serving.evals.store
import serving.fine_tuning.store
import serving.vector_stores.rows  # noqa: F401
import storage.jobs.rows
import storage.migrations
from storage.database import Database, sqlite_url
from storage.errors import StorageError
from storage.migrations import NEWEST, VERSION_TABLE
from storage.tables import TABLES

ROOT = Path(__file__).parents[2]


def test_the_migrations_make_the_tables_that_the_packages_use(database: Database) -> None:
    def is_ours(_thing: Any, name: str, kind: str, *_: object) -> bool:
        return not (kind == "table" and name == VERSION_TABLE)

    options = {"include_object": is_ours, "compare_type": True}
    with database.read() as rows:
        assert compare_metadata(MigrationContext.configure(rows, opts=options), TABLES) == []


def test_the_newest_version_is_that_of_the_last_file() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(storage.migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_current_head() == f"{NEWEST:04}"


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("0099", r"written by a newer version .*schema 99, not 5"),
        ("0001", r"earlier build .*schema 1, not 5\); move it away, or use another ARBITER_HOME"),
    ],
)
def test_another_version_is_refused(tmp_path: Path, version: str, words: str) -> None:
    file = tmp_path / "arbiter.db"
    Database(sqlite_url(file)).close()
    with sqlite3.connect(file) as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '{version}'")

    with pytest.raises(StorageError, match=words):
        Database(sqlite_url(file))


@pytest.mark.slow
def test_two_processes_may_make_a_database_at_once(tmp_path: Path) -> None:
    url = str(sqlite_url(tmp_path / "arbiter.db"))
    script = "import sys; from storage.database import Database; Database(sys.argv[1])"
    processes = [
        subprocess.Popen([sys.executable, "-c", script, url], stderr=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in range(3)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]

    assert [process.returncode for process in processes] == [0, 0, 0], errors


def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "arbiter.db"
    with sqlite3.connect(file) as connection:
        # The last of the tables that the migration makes.
        connection.execute("CREATE TABLE vectors (x)")
        before = list(connection.iterdump())

    with pytest.raises(StorageError, match=r"another program's database .*vectors"):
        Database(sqlite_url(file))

    with sqlite3.connect(file) as connection:
        assert list(connection.iterdump()) == before
