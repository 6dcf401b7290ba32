from __future__ import annotations

import errno
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from rag.chunking.chunk import ChunkSettings
from rag.errors import RagError
from rag.store.rows import Conflict, Store, advice, sqlite_url


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rag.sqlite"


def _add(store: Store, name: str) -> None:
    with store.write() as rows:
        rows.advance(name, None, "fake@1", ChunkSettings())


def test_what_is_written_is_there_when_opened_again(file: Path) -> None:
    _add(Store(sqlite_url(file)), "faq")

    with Store(sqlite_url(file)).read() as rows:
        state = rows.state("faq")
        assert rows.state("other") is None

    assert state is not None
    assert (state.embedder, state.settings, state.generation) == ("fake@1", ChunkSettings(), 1)


def test_a_block_that_raises_writes_nothing(file: Path) -> None:
    store = Store(sqlite_url(file))

    def interrupted() -> None:
        with store.write() as rows:
            rows.advance("faq", None, "fake@1", ChunkSettings())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    with store.read() as rows:
        assert rows.state("faq") is None


def test_a_reader_sees_one_moment_whatever_is_committed_meanwhile(file: Path) -> None:
    store = Store(sqlite_url(file))
    with store.read() as rows:
        assert rows.state("faq") is None
        _add(Store(sqlite_url(file)), "faq")
        assert rows.state("faq") is None
    with store.read() as rows:
        assert rows.state("faq") is not None


def test_an_index_that_changed_since_it_was_read_is_a_conflict(file: Path) -> None:
    store = Store(sqlite_url(file))
    _add(store, "faq")
    with store.read() as rows:
        seen = rows.state("faq")
    with store.write() as rows:
        assert rows.advance("faq", seen, "fake@2", ChunkSettings(5, 1)).generation == 2

    for outdated in (seen, None):
        with pytest.raises(Conflict), store.write() as rows:
            rows.advance("faq", outdated, "fake@1", ChunkSettings())
    with store.read() as rows:
        state = rows.state("faq")
    assert state is not None
    assert (state.generation, state.embedder, state.settings) == (2, "fake@2", ChunkSettings(5, 1))


def test_many_threads_may_create_the_database_at_once(file: Path) -> None:
    barrier = threading.Barrier(8)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        barrier.wait(timeout=30)
        try:
            _add(Store(sqlite_url(file)), f"index{number}")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    with Store(sqlite_url(file)).read() as rows:
        assert all(rows.state(f"index{number}") for number in range(8))


def test_a_path_with_signs_that_mean_something_in_a_url_is_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "a?b=c #%20é"
    folder.mkdir()

    _add(Store(sqlite_url(folder / "rag.sqlite")), "faq")

    assert (folder / "rag.sqlite").is_file()


def test_a_newer_schema_is_refused(file: Path) -> None:
    Store(sqlite_url(file)).close()
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE rag_schema SET version = 99")

    with pytest.raises(RagError, match=r"written by a newer version .*schema 99, not 1"):
        Store(sqlite_url(file))


def test_a_file_that_is_no_database_is_refused_and_left_alone(file: Path) -> None:
    file.write_text("These are notes, not a database. " * 100)

    with pytest.raises(RagError, match="not a database") as caught:
        Store(sqlite_url(file))

    assert "\n" not in str(caught.value)
    assert file.read_text().startswith("These are notes")


def test_another_programs_database_is_refused_and_left_alone(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE documents (x)")

    with pytest.raises(RagError, match=r"another program's database .*'documents'"):
        Store(sqlite_url(file))

    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("documents",)]


def test_a_folder_that_is_not_there_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(RagError, match=r"rag\.sqlite' cannot be read: unable to open database file"):
        Store(sqlite_url(tmp_path / "missing" / "rag.sqlite"))


def test_a_full_disk_is_named_and_says_what_to_do(file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA max_page_count = 3")
    with pytest.raises(sqlite3.OperationalError) as full:
        connection.execute("CREATE TABLE t AS SELECT zeroblob(1000000)")

    for error in (full.value, OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EDQUOT, "Quota")):
        assert advice(error).startswith("the disk is full; nothing is lost")


def test_a_write_that_the_system_refuses_halfway_leaves_the_old_rows(file: Path) -> None:
    store = Store(sqlite_url(file))
    _add(store, "faq")
    store.close()
    script = f"""
import resource
from rag.chunking.chunk import ChunkSettings
from rag.errors import RagError
from rag.store.rows import Store, sqlite_url
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    with Store(sqlite_url(Path({str(file)!r}))).write() as rows:
        for number in range(2000):
            rows.advance(f"{{number:01000}}", None, "fake@1", ChunkSettings())
except RagError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert "cannot be written" in done.stdout
    assert done.stdout.count("\n") == 1
    engine = sa.create_engine(sqlite_url(file))
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT name FROM indexes")).scalars().all() == ["faq"]
        assert connection.execute(sa.text("PRAGMA integrity_check")).scalar() == "ok"
