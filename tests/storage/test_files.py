"""Whether a disk is full, files that are replaced whole, and locks."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import text

from storage.database import open_database
from storage.errors import StorageError
from storage.files import hold_lock, is_full_disk, replace_file, replace_text
from storage.row_cache import RowCache


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        sqlite3.OperationalError("database or disk is full"),
    ],
)
def test_what_says_so_is_a_full_disk(tmp_path: Path, error: Exception) -> None:
    assert is_full_disk(error, tmp_path / "not" / "there")


@pytest.mark.parametrize("words", ["disk I/O error", "unable to open database file"])
def test_of_what_sqlite_leaves_open_the_disk_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    error = sqlite3.OperationalError(words)
    assert not is_full_disk(error, tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=4096))
    assert is_full_disk(error, tmp_path)


@pytest.mark.parametrize("error", [sqlite3.OperationalError("database is locked"), OSError(errno.EACCES, "denied")])
def test_other_errors_are_none(tmp_path: Path, error: Exception) -> None:
    assert not is_full_disk(error, tmp_path)


@pytest.mark.parametrize("words", ["File name too long", "unable to open database file"])
def test_a_place_that_cannot_be_looked_at_is_no_full_disk(tmp_path: Path, words: str) -> None:
    assert not is_full_disk(OSError(errno.ENAMETOOLONG, words), tmp_path / ("a" * 300))


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root, where it may, mounts a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def _fill(disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        (disk / "filler").write_bytes(bytes(4 << 20))


def test_a_real_full_disk_is_said_as_one_whatever_is_begun_on_it(tiny_disk: Path) -> None:
    _fill(tiny_disk)
    with pytest.raises(StorageError, match="the disk is full"):
        open_database(tiny_disk / "home")
    with pytest.raises(StorageError, match="the disk is full"):
        RowCache(tiny_disk / "cache.db", ("CREATE TABLE t (x)",), called="cache", row="a row")


def test_rows_are_read_while_the_disk_is_full_and_written_when_it_is_not(tiny_disk: Path) -> None:
    with closing(open_database(tiny_disk / "home")) as database:

        def write(count: int) -> None:
            statement = text("INSERT INTO pending_embeddings VALUES ('', '', '', :hash, 0, 0, zeroblob(100000))")
            with database.write() as rows:
                rows.execute(statement, [{"hash": str(number)} for number in range(count)])

        with pytest.raises(StorageError, match="the disk is full; nothing is lost"):
            write(40)
        with database.read() as rows:
            assert rows.execute(text("SELECT count(*) FROM pending_embeddings")).scalar() == 0
        write(1)


def test_a_write_that_fails_half_way_keeps_the_old_text(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("old")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        # The kernel stops the write after 10 bytes, as a full disk would.
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, limit[1]))
        with pytest.raises(StorageError, match=r"cannot write .*x\.json"):
            replace_text(path, "much longer than ten bytes")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


def test_replacing_a_file_never_shows_a_part(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    replace_text(path, json.dumps({"a": 1}))
    replace_text(path, json.dumps({"a": 2}))
    assert json.loads(path.read_text()) == {"a": 2}
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


def test_an_exception_between_two_pieces_keeps_the_old_text(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    replace_text(path, "old")

    def interrupted() -> None:
        with replace_file(path) as file:
            file.write("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


HOLDER = """
import sys, time
from pathlib import Path
from storage.files import hold_lock
with hold_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_that_another_process_has_is_busy_until_that_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(file)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(StorageError, match="busy"), hold_lock(file, busy=StorageError("busy")):
            pass
        process.kill()
    with hold_lock(file, busy=StorageError("busy")):
        pass


def test_without_an_error_to_raise_it_waits(tmp_path: Path) -> None:
    order: list[str] = []

    def wait() -> None:
        with hold_lock(tmp_path / "lock"):
            order.append("second")

    with hold_lock(tmp_path / "lock"):
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(timeout=0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
