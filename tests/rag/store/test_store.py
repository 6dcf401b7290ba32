from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from rag.chunking.chunk import ChunkSettings
from rag.errors import RagError
from rag.store import indexes
from rag.store.indexes import IndexState
from rag.store.store import Conflict, Store, advice, sqlite_url

ROOT = Path(__file__).parents[3]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str | sa.URL:
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "rag.sqlite")
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rag.sqlite"


def _add(store: Store, name: str) -> None:
    with store.write() as rows:
        indexes.create(rows, name, "fake@1", ChunkSettings())


def _state(store: Store, name: str) -> IndexState | None:
    with store.read() as rows:
        return indexes.state(rows, name)


def test_what_is_written_is_there_when_opened_again(url: str) -> None:
    first = Store(url)
    _add(first, "faq")
    first.close()
    store = Store(url)

    state = _state(store, "faq")

    assert state is not None
    assert (state.embedder, state.settings, state.generation) == ("fake@1", ChunkSettings(), 0)
    assert _state(store, "other") is None
    store.close()


def test_a_block_that_raises_writes_nothing(url: str) -> None:
    store = Store(url)

    def interrupted() -> None:
        with store.write() as rows:
            indexes.create(rows, "faq", "fake@1", ChunkSettings())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert _state(store, "faq") is None
    store.close()


def test_a_reader_sees_one_moment_whatever_is_committed_meanwhile(url: str) -> None:
    store, other = Store(url), Store(url)
    with store.read() as rows:
        assert indexes.state(rows, "faq") is None
        _add(other, "faq")
        assert indexes.state(rows, "faq") is None
    assert _state(store, "faq") is not None
    store.close()
    other.close()


def test_a_name_that_is_taken_is_a_conflict(url: str) -> None:
    store = Store(url)
    _add(store, "faq")

    with pytest.raises(Conflict):
        _add(store, "faq")
    store.close()


def test_each_generation_has_a_token_of_its_own(url: str) -> None:
    store = Store(url)
    _add(store, "faq")
    for _ in range(3):
        with store.write() as rows:
            state = indexes.lock(rows, "faq")
            assert state is not None
            indexes.advance(rows, state, state.tally)

    with store.read() as rows:
        state = indexes.state(rows, "faq")
        assert state is not None
        tokens = [indexes.token(rows, state.id, generation) for generation in (1, 2, 3)]
        assert indexes.token(rows, state.id, 4) is None
    assert len(set(tokens)) == 3
    assert tokens[2] == state.token
    store.close()


def test_numbers_are_given_once_whoever_asks(url: str) -> None:
    stores = [Store(url) for _ in range(4)]
    taken: list[int] = []

    def take(store: Store) -> None:
        for _ in range(5):
            taken.extend(store.take_numbers(3))

    threads = [threading.Thread(target=take, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(taken) == list(range(1, 61))
    for store in stores:
        store.close()


def test_many_threads_may_create_the_database_at_once(url: str) -> None:
    barrier = threading.Barrier(8)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        barrier.wait(timeout=30)
        try:
            store = Store(url)
            _add(store, f"index{number}")
            store.close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    store = Store(url)
    assert all(_state(store, f"index{number}") for number in range(8))
    store.close()


def test_a_path_with_signs_that_mean_something_in_a_url_is_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "a?b=c #%20é"
    folder.mkdir()

    _add(Store(sqlite_url(folder / "rag.sqlite")), "faq")

    assert (folder / "rag.sqlite").is_file()


def test_a_newer_schema_is_refused(file: Path) -> None:
    Store(sqlite_url(file)).close()
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE rag_schema SET version = 99")

    with pytest.raises(RagError, match=r"written by a newer version .*schema 99, not 3"):
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


def test_another_programs_postgresql_database_is_refused(postgres_url: str) -> None:
    engine = sa.create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE chunks (x integer)"))

    with pytest.raises(RagError, match=r"another program's database .*'chunks'"):
        Store(postgres_url)
    engine.dispose()


def _cut(postgres_server: str) -> None:
    """Ends the connections whose application calls itself cut."""
    with psycopg.connect(host=postgres_server, user="postgres", dbname="postgres") as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cut'")


def test_a_connection_that_is_cut_in_a_transaction_is_one_line_and_the_next_call_has_another(
    postgres_server: str, postgres_url: str
) -> None:
    store = Store(f"{postgres_url}&application_name=cut")

    def written() -> None:
        with store.write() as rows:
            indexes.create(rows, "faq", "fake@1", ChunkSettings())
            _cut(postgres_server)

    with pytest.raises(RagError, match="cannot be written") as caught:
        written()

    assert "\n" not in str(caught.value)
    assert _state(store, "faq") is None
    _add(store, "faq")
    assert _state(store, "faq") is not None
    store.close()


def test_connections_that_are_cut_between_two_transactions_are_not_noticed(
    postgres_server: str, postgres_url: str
) -> None:
    store = Store(f"{postgres_url}&application_name=cut")
    _cut(postgres_server)

    _add(store, "faq")

    _cut(postgres_server)
    assert _state(store, "faq") is not None
    store.close()


@pytest.mark.parametrize(
    "damage", ["settings = '{torn'", "settings = '[]'", "settings = '{\"x\": 1}'", "content_sum = 'no sum'"]
)
def test_the_damaged_row_of_an_index_is_an_error_of_one_line(file: Path, damage: str) -> None:
    store = Store(sqlite_url(file))
    _add(store, "faq")
    with sqlite3.connect(file) as connection:
        connection.execute(f"UPDATE indexes SET {damage}")

    with pytest.raises(
        RagError, match=r"the row of index 'faq' is damaged .*put a copy of the database back"
    ) as caught:
        _state(store, "faq")
    assert "\n" not in str(caught.value)
    store.close()


def test_a_folder_that_is_not_there_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(RagError, match=r"rag\.sqlite' cannot be read: unable to open database file"):
        Store(sqlite_url(tmp_path / "missing" / "rag.sqlite"))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://ann:s3cret@127.0.0.1:1/faq",
        "postgresql+psycopg://ann@127.0.0.1:1/faq?password=s3cret",
        "nonsense:s3cret",
        "nosuchdatabase://ann:s3cret@host/faq",
        "postgresql+psycopg://ann@host:s3cret/faq",
    ],
)
def test_a_database_that_cannot_be_reached_is_an_error_of_one_line_without_the_password(url: str) -> None:
    with pytest.raises(RagError) as caught:
        Store(url)

    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


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
    # More than the write-ahead log holds already, and less than what is written.
    limit = 16 * os.sysconf("SC_PAGESIZE") + file.stat().st_size
    script = f"""
import resource
from pathlib import Path
from rag.chunking.chunk import ChunkSettings
from rag.errors import RagError
from rag.store import indexes
from rag.store.store import Store, sqlite_url
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    with Store(sqlite_url(Path({str(file)!r}))).write() as rows:
        for number in range(2000):
            indexes.create(rows, f"{{number:01000}}", "fake@1", ChunkSettings())
except RagError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)

    assert "cannot be written" in done.stdout
    assert done.stdout.count("\n") == 1
    engine = sa.create_engine(sqlite_url(file))
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT name FROM indexes")).scalars().all() == ["faq"]
        assert connection.execute(sa.text("PRAGMA integrity_check")).scalar() == "ok"
    engine.dispose()
