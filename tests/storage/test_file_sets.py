from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import StorageError
from storage.file_sets import write_files

FILES = {"a.txt": "one", "inner/b.txt": "two"}


def listed(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_a_new_folder_holds_all_files(tmp_path: Path) -> None:
    paths = write_files(tmp_path / "deep" / "new", FILES)
    assert listed(tmp_path) == {"deep/new/a.txt": "one", "deep/new/inner/b.txt": "two"}
    assert [path.relative_to(tmp_path / "deep" / "new").as_posix() for path in paths] == list(FILES)


def test_files_beside_them_stay(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    write_files(tmp_path, FILES)
    assert listed(tmp_path) == {**FILES, "mine.txt": "kept"}


def test_nothing_is_overwritten_unless_told_to(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(StorageError, match=r"has a\.txt already; give another folder, or --force"):
        write_files(tmp_path, FILES)
    assert listed(tmp_path) == {"a.txt": "old"}
    write_files(tmp_path, FILES, is_forced=True)
    assert listed(tmp_path) == FILES


@pytest.mark.parametrize("is_new", [True, False])
def test_files_that_fail_the_check_leave_nothing_behind(tmp_path: Path, is_new: bool) -> None:
    folder = tmp_path / "out"
    if not is_new:
        folder.mkdir()
        (folder / "a.txt").write_text("old")

    def refuse(written: Path) -> None:
        raise StorageError(f"{written / 'a.txt'}: not good")

    # The fault names the file where it would be, not where it was for a moment.
    with pytest.raises(StorageError, match=f"^{folder / 'a.txt'}: not good$"):
        write_files(folder, FILES, is_forced=True, check=refuse)
    assert listed(tmp_path) == ({} if is_new else {"out/a.txt": "old"})
    assert [path.name for path in tmp_path.iterdir()] == ([] if is_new else ["out"])


@pytest.mark.parametrize(
    ("where", "text", "fault"),
    [
        ("file", "x", "is a file; give a folder"),
        ("file/below", "x", "cannot write to"),
        ("out", "\ud800", "half a character"),
    ],
)
def test_what_cannot_be_written_is_one_line(tmp_path: Path, where: str, text: str, fault: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=fault):
        write_files(tmp_path / where, {"a.txt": text})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
