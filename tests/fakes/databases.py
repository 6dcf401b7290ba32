"""The databases that stores are tested on, as fixtures: a SQLite file, and a PostgreSQL server of our own."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from storage.database import FILE, Database, sqlite_url

# Where Debian keeps the programs of a server, which are not on PATH there.
_DEBIAN = Path("/usr/lib/postgresql")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str | sa.URL:
    """The URL of an empty database; a test that asks for it runs on both kinds."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / FILE)
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture(scope="session", autouse=True)
def remembered_migrations() -> Iterator[None]:
    """Alembic fills one new SQLite file a process; the next ones are given the statements that this one can be read as.

    That takes a tenth of the time, and hundreds of tests begin with a new database. All others are migrated as ever.
    """
    from alembic import command

    migrate, remembered = command.upgrade, []  # type: ignore[var-annotated]

    def upgrade(config: Any, revision: str) -> None:
        rows: sa.Connection = config.attributes["connection"]
        if rows.dialect.name != "sqlite" or sa.inspect(rows).get_table_names():
            migrate(config, revision)
        elif remembered:
            for statement in remembered:
                rows.exec_driver_sql(statement)
        else:
            migrate(config, revision)
            # Without the words that begin and end a transaction.
            remembered.extend(list(rows.connection.driver_connection.iterdump())[1:-1])  # type: ignore[union-attr]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "upgrade", upgrade)
        yield


@pytest.fixture
def database(database_url: str | sa.URL) -> Iterator[Database]:
    """An open one."""
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The folder of the socket of a PostgreSQL server of our own."""
    programs = _programs()
    if programs is None:
        pytest.skip("no PostgreSQL server here: no initdb and postgres on PATH; install Debian's package postgresql")
    # Not below pytest's folder, which no other user may enter; and the path of a socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")))
    # PostgreSQL refuses to run as root, and ends with the tests whatever happens to them.
    run = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    if os.getuid() == 0:
        if not run:
            pytest.skip("PostgreSQL does not run as root, and setpriv is not on PATH")
        shutil.chown(folder, "nobody", "nogroup")
        run += ["--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    data = folder / "data"
    initdb = [
        str(programs / "initdb"),
        "-D",
        str(data),
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync",
    ]
    subprocess.run([*run, *initdb], check=True, capture_output=True, cwd=folder)
    options = ["-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=16MB"]
    options += ["-c", "full_page_writes=off", "-c", "autovacuum=off", "-c", "jit=off"]
    with subprocess.Popen(
        [*run, str(programs / "postgres"), "-D", str(data), *options],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            for _ in range(300):
                if _answers(folder):
                    break
                assert server.poll() is None, "PostgreSQL ended"
                time.sleep(0.1)
            yield str(folder)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=30)
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """A place of one's own in the server: an empty schema, which is made faster than a database."""
    import psycopg

    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(host=postgres_server, user="postgres", dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        yield f"postgresql+psycopg://postgres@/postgres?host={postgres_server}&options=-csearch_path%3D{name}"
        # What a test left open, or a process that it killed, holds locks.
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        connection.execute(f"DROP SCHEMA {name} CASCADE")


def _answers(folder: Path) -> bool:
    import psycopg

    try:
        psycopg.connect(host=str(folder), user="postgres", dbname="postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def _programs() -> Path | None:
    """The folder of initdb and postgres; the newest where Debian has several versions."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).parent] if on_path else sorted(_DEBIAN.glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()), None)
