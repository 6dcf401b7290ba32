from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from storage.database import Database, _refuse_emptied, find_database, make_engine, open_database, sqlite_url
from storage.errors import StorageError, UnfitValue

ROOT = Path(__file__).parents[2]
NOTES = sa.table("chunk_numbers", sa.column("next"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "arbiter.db"


def _add(database: Database, number: int) -> None:
    with database.write() as rows:
        rows.execute(sa.insert(NOTES).values(next=number))


def _numbers(rows: sa.Connection) -> list[int]:
    """What was added; a new database has a 1."""
    return sorted(rows.execute(sa.select(NOTES.c.next)).scalars())[1:]


def _has(database: Database) -> list[int]:
    with database.read() as rows:
        return _numbers(rows)


def test_what_is_written_is_there_when_opened_again(database_url: str) -> None:
    with closing(Database(database_url)) as first:
        _add(first, 5)
    with closing(Database(database_url)) as again:
        assert _has(again) == [5]


def test_a_block_that_raises_writes_nothing(database: Database) -> None:
    def interrupted() -> None:
        with database.write() as rows:
            rows.execute(sa.insert(NOTES).values(next=5))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert _has(database) == []


def test_a_reader_sees_one_moment_whatever_is_committed_meanwhile(database: Database, database_url: str) -> None:
    with closing(Database(database_url)) as other:
        with database.read() as rows:
            assert _numbers(rows) == []
            _add(other, 5)
            assert _numbers(rows) == []
        assert _has(database) == [5]


def test_what_a_write_reads_holds_until_it_ends(database_url: str) -> None:
    databases = [Database(database_url) for _ in range(4)]

    def count_up(database: Database) -> None:
        for _ in range(5):
            with database.write() as rows:
                rows.execute(sa.insert(NOTES).values(next=len(_numbers(rows)) + 2))

    threads = [threading.Thread(target=count_up, args=(database,)) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert _has(databases[0]) == list(range(2, 22))
    for database in databases:
        database.close()


def test_a_writer_reads_beside_its_transaction_however_many_wait_to_write(database: Database) -> None:
    barrier, read = threading.Barrier(60), []

    def run() -> None:
        barrier.wait(timeout=30)
        with database.write():
            read.append(_has(database))

    threads = [threading.Thread(target=run) for _ in range(barrier.parties)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read) == barrier.parties


def test_many_threads_may_make_the_database_at_once(database_url: str) -> None:
    barrier = threading.Barrier(8)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        barrier.wait(timeout=30)
        try:
            with closing(Database(database_url)) as database:
                _add(database, 2 + number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    with closing(Database(database_url)) as database:
        assert _has(database) == list(range(2, 10))


def test_the_engine_serves_a_library_that_keeps_tables_of_its_own(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE theirs (x INTEGER)"))
    with make_engine(database.engine.url).begin() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM theirs")).scalar() == 0
        if connection.dialect.name == "sqlite":
            pragmas = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "foreign_keys")
            ]
            assert pragmas == ["wal", 1]


def test_a_data_directory_has_a_database_when_it_is_opened(tmp_path: Path) -> None:
    home = tmp_path / "deep" / "home"
    assert find_database(home) is None
    open_database(home).close()
    found = find_database(home)
    assert found is not None
    found.close()


def test_a_data_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"^data directory '.*a' cannot be made: file name too long$"):
        open_database(tmp_path / ("a" * 300))


def test_a_path_with_signs_that_mean_something_in_a_url_is_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "a?b=c #%20é"
    folder.mkdir()

    Database(sqlite_url(folder / "arbiter.db")).close()

    assert (folder / "arbiter.db").is_file()


def _filled(file: Path) -> bytes:
    """A database of several pages, and its bytes."""
    with closing(Database(sqlite_url(file))) as database:
        for number in range(5, 4_000, 500):
            with database.write() as rows:
                rows.execute(sa.insert(NOTES), [{"next": n} for n in range(number, number + 500)])
    # The last one to close has brought the log into the file.
    return file.read_bytes()


def _garbage(content: bytes) -> bytes:
    """All but the first page made of noise."""
    return content[:8192] + random.Random(1).randbytes(len(content) - 8192)


DAMAGES = {
    "a text": lambda content: b"These are notes, not a database. " * 100,
    "cut in the middle": lambda content: content[: len(content) // 2],
    "cut in a page": lambda content: content[: len(content) // 2 + 1000],
    "cut in the header": lambda content: content[:60],
    "garbage pages": _garbage,
    "no bytes": lambda content: b"",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_database_is_one_line_that_says_what_to_do_and_is_left_alone(file: Path, damage: str) -> None:
    damaged = DAMAGES[damage](_filled(file))
    file.write_bytes(damaged)
    os.utime(file, (1, 1))

    with pytest.raises(StorageError, match=r"arbiter\.db' .*put a copy of it back") as caught:
        _has(Database(sqlite_url(file)))

    assert "\n" not in str(caught.value)
    assert file.read_bytes() == damaged


def test_a_database_that_another_thread_is_making_is_not_taken_for_an_emptied_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "being-made.db"
    file.touch()

    def made_meanwhile(path: Path) -> Path:
        log = path.with_name(f"{path.name}-wal")
        for part in (path, log):
            part.write_bytes(b"x")
        return log

    monkeypatch.setattr("storage.database._log_of", made_meanwhile)
    _refuse_emptied(file)


def test_an_emptied_file_beside_its_log_is_refused_at_once(file: Path) -> None:
    log = file.with_name("arbiter.db-wal")
    log.write_bytes(b"rows that are not in the file yet")
    file.touch()

    with pytest.raises(StorageError, match="has been emptied"):
        Database(sqlite_url(file))

    assert log.read_bytes() == b"rows that are not in the file yet"


def test_an_empty_file_that_another_process_has_just_begun_is_a_new_database(file: Path) -> None:
    file.touch()
    with closing(Database(sqlite_url(file))) as database:
        assert _has(database) == []


def test_another_programs_database_is_refused_and_left_alone(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE documents (x)")

    with pytest.raises(StorageError, match=r"another program's database .*documents"):
        Database(sqlite_url(file))

    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("documents",)]


def test_another_programs_postgresql_database_is_refused(postgres_url: str) -> None:
    engine = sa.create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE chunks (x integer)"))

    with pytest.raises(StorageError, match=r"another program's database .*chunks"):
        Database(postgres_url)
    engine.dispose()


def _cut(postgres_server: str) -> None:
    """Ends the connections whose application calls itself cut."""
    with psycopg.connect(host=postgres_server, user="postgres", dbname="postgres") as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cut'")


def test_a_connection_that_is_cut_in_a_transaction_is_one_line_and_the_next_call_has_another(
    postgres_server: str, postgres_url: str
) -> None:
    database = Database(f"{postgres_url}&application_name=cut")

    def written() -> None:
        with database.write() as rows:
            rows.execute(sa.insert(NOTES).values(next=5))
            _cut(postgres_server)

    with pytest.raises(StorageError, match="cannot be written") as caught:
        written()

    assert "\n" not in str(caught.value)
    assert _has(database) == []
    _add(database, 5)
    assert _has(database) == [5]
    database.close()


def test_connections_that_are_cut_between_two_transactions_are_not_noticed(
    postgres_server: str, postgres_url: str
) -> None:
    database = Database(f"{postgres_url}&application_name=cut")
    _cut(postgres_server)

    _add(database, 5)

    _cut(postgres_server)
    assert _has(database) == [5]
    database.close()


def test_a_folder_that_is_not_there_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        StorageError, match=r"arbiter\.db' cannot be read: unable to open database file; make its folder"
    ):
        Database(sqlite_url(tmp_path / "missing" / "arbiter.db"))


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
    with pytest.raises(StorageError) as caught:
        Database(url)

    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert "@127.0.0.1:1/" not in url or str(caught.value).endswith(
        "correct its URL in ARBITER_DATABASE or index.database"
    )


@pytest.mark.parametrize("is_open_elsewhere", [False, True])
def test_what_may_not_be_written_can_be_read(
    file: Path, is_open_elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Database(sqlite_url(file))
    _add(writer, 5)
    if not is_open_elsewhere:
        writer.close()
    before = sorted(file.parent.iterdir())
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    with closing(Database(sqlite_url(file))) as database:
        assert _has(database) == [5]
        with pytest.raises(
            StorageError, match=r"cannot be written: .*; make it and its folder writable, or set ARBITER"
        ):
            _add(database, 6)
    assert sorted(file.parent.iterdir()) == before
    writer.close()


def test_a_database_that_may_grow_no_more_is_a_full_disk(file: Path) -> None:
    database = Database(sqlite_url(file))
    sa.event.listen(database.engine, "connect", lambda connection, _: connection.execute("PRAGMA max_page_count = 1"))
    database.close()

    def written() -> None:
        with database.write() as rows:
            rows.execute(sa.insert(NOTES), [{"next": number} for number in range(10_000)])

    with pytest.raises(StorageError, match="the disk is full; nothing is lost, free some space"):
        written()
    assert _has(database) == []
    database.close()


@pytest.mark.slow
def test_a_write_that_the_system_refuses_halfway_leaves_the_old_rows(file: Path) -> None:
    with closing(Database(sqlite_url(file))) as database:
        _add(database, 5)
    # More than the write-ahead log holds already, and less than what is written.
    limit = 16 * os.sysconf("SC_PAGESIZE") + file.stat().st_size
    script = f"""
import resource
import sqlalchemy as sa
from storage.database import Database
from storage.errors import StorageError, UnfitValue
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    with Database({str(sqlite_url(file))!r}).write() as rows:
        rows.execute(sa.text("INSERT INTO chunk_numbers VALUES (:next)"), [{{"next": n}} for n in range(200_000)])
except StorageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)

    assert "cannot be written: disk I/O error; look at the disk, its quota and the limit on file" in done.stdout
    assert done.stdout.count("\n") == 1
    with closing(Database(sqlite_url(file))) as database:
        assert _has(database) == [5]
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("url", ["rubbish", "sqlite://", "sqlite:///:memory:", "mysql://u:hidden@h/d"])
def test_a_url_that_nothing_can_be_kept_at_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(StorageError, match=r"^the database URL cannot be used .*sqlite:///FILE$") as caught:
        make_engine(url)
    assert "hidden" not in str(caught.value)


def test_a_value_that_cannot_be_kept_is_no_trouble_of_the_database(database: Database) -> None:
    def ask() -> None:
        with database.read() as rows:
            rows.execute(sa.select(sa.literal("a\0b", sa.Text)))
            # SQLite keeps it.
            raise sa.exc.DataError("SELECT 1", {}, Exception("text fields cannot contain NUL (0x00) bytes"))

    with pytest.raises(UnfitValue, match="cannot contain NUL"):
        ask()
