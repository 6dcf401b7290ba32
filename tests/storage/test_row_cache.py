from pathlib import Path

import pytest

from storage.errors import StorageError
from storage.row_cache import RowCache

TABLE = "CREATE TABLE IF NOT EXISTS notes (key TEXT PRIMARY KEY, text TEXT NOT NULL)"
FIND = "SELECT text FROM notes WHERE key = ?"


def open_notes(path: Path) -> RowCache:
    return RowCache(path, (TABLE,), called="notebook", row="a note")


def test_a_row_is_there_for_another_reader_before_the_file_is_closed(tmp_path: Path) -> None:
    writer = open_notes(tmp_path / "deep" / "notes.db")
    writer.write("INSERT INTO notes VALUES (?, ?)", ("k", "kept"))
    reader = open_notes(tmp_path / "deep" / "notes.db")
    assert (reader.find(FIND, "k"), reader.find(FIND, "other")) == ("kept", None)
    reader.close()
    writer.close()


def test_another_kind_of_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("no database, but long enough to be looked at as one" * 9)
    with pytest.raises(StorageError, match=r"cannot open the notebook '.*notes\.db'.*move the file away"):
        open_notes(path)
