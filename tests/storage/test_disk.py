from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import text

from storage.database import open_database
from storage.disk import is_full_disk
from storage.errors import StorageError
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
