import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.logs import Logged

from storage.errors import StorageError
from storage.row_cache import RowCache

TABLE = "CREATE TABLE IF NOT EXISTS notes (key TEXT PRIMARY KEY, text TEXT NOT NULL)"
FIND = "SELECT text FROM notes WHERE key = ?"
WRITE = "INSERT OR REPLACE INTO notes VALUES (?, ?)"
COUNT = 600


def open_notes(path: Path) -> RowCache:
    return RowCache(path, (TABLE,), called="notebook", row="a note")


def filled(path: Path) -> bytes:
    """A file of many pages."""
    notes = open_notes(path)
    for number in range(COUNT):
        notes.write(WRITE, (f"k{number}", json.dumps("x" * 300)))
    notes.close()
    return path.read_bytes()


def num_found(notes: RowCache) -> int:
    return sum(notes.find(FIND, f"k{number}", json.loads) == "x" * 300 for number in range(COUNT))


def test_a_row_is_there_for_another_reader_before_the_file_is_closed(tmp_path: Path) -> None:
    writer = open_notes(tmp_path / "deep" / "notes.db")
    writer.write(WRITE, ("k", "7"))
    reader = open_notes(tmp_path / "deep" / "notes.db")
    assert (reader.find(FIND, "k", json.loads), reader.find(FIND, "other", json.loads)) == (7, None)
    reader.close()
    writer.close()


def test_a_row_that_cannot_be_read_counts_as_none_and_is_written_anew(tmp_path: Path) -> None:
    notes = open_notes(tmp_path / "notes.db")
    for torn in ("{torn", "[]"):
        notes.write(WRITE, ("k", torn))
        assert notes.find(FIND, "k", lambda row: json.loads(row)["text"]) is None
    notes.write("INSERT OR REPLACE INTO notes VALUES (?, CAST(x'ff' AS TEXT))", ("k",))
    assert notes.find(FIND, "k", json.loads) is None
    notes.write(WRITE, ("k", "7"))
    assert notes.find(FIND, "k", json.loads) == 7
    notes.close()


def _garbage(content: bytes) -> bytes:
    return content[:4096] + random.Random(1).randbytes(len(content) - 4096)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a text": lambda content: b"These are notes, not a database. " * 100,
    "cut in the middle": lambda content: content[: len(content) // 2],
    "cut in a page": lambda content: content[: len(content) // 2 + 1000],
    "cut in the header": lambda content: content[:60],
    "garbage in the header": lambda content: content[:18] + random.Random(2).randbytes(82) + content[100:],
    "garbage pages": _garbage,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_set_aside_in_one_line_and_begun_anew(tmp_path: Path, damage: str, logged: Logged) -> None:
    path = tmp_path / "notes.db"
    damaged = DAMAGES[damage](filled(path))
    path.write_bytes(damaged)

    notes = open_notes(path)
    assert num_found(notes) < COUNT
    notes.write(WRITE, ("k", "7"))
    assert notes.find(FIND, "k", json.loads) == 7
    notes.close()

    (record,) = logged.records
    assert "the notebook 'notes.db' was damaged" in record.getMessage()
    assert "it is 'notes.db.damaged' now, and is begun anew" in record.getMessage()
    assert (tmp_path / "notes.db.damaged").read_bytes() == damaged


def test_what_was_set_aside_before_stays(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    for text in ("The first. ", "The second. "):
        path.write_text(text * 300)
        open_notes(path).close()
    asides = [file.read_text()[:10] for file in sorted(tmp_path.glob("notes.db.damaged*"))]
    assert asides == ["The first.", "The second"]


def test_an_empty_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.touch()
    notes = open_notes(path)
    notes.write(WRITE, ("k", "7"))
    assert notes.find(FIND, "k", json.loads) == 7
    notes.close()


def test_of_two_that_find_the_damage_one_sets_it_aside(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_bytes(_garbage(filled(path)))
    first, second = open_notes(path), open_notes(path)
    assert num_found(first) == 0
    first.write(WRITE, ("k0", json.dumps("x" * 300)))
    # The second still has the damaged file, finds the new one beside it, and leaves that as it is.
    assert (num_found(second), num_found(first)) == (1, 1)
    for notes in (first, second):
        notes.close()


def test_a_full_disk_is_named_and_is_no_damage(tmp_path: Path) -> None:
    notes = open_notes(tmp_path / "notes.db")
    notes.write("PRAGMA max_page_count = 3")
    with pytest.raises(StorageError, match=r"cannot keep a note in .*: the disk is full; free some space"):
        notes.write(WRITE, ("k", "x" * 1_000_000))
    assert not (tmp_path / "notes.db.damaged").exists()
    notes.close()


def test_a_folder_in_place_of_the_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot open the notebook .*; check its folder"):
        open_notes(tmp_path)
