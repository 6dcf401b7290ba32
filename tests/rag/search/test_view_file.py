from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rag.search.view_file import Sink, read_view, write_view


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "7.view"


def write(file: Path, stamp: str = "s1") -> None:
    def write_bytes(sink: Sink) -> None:
        sink(b"abc")
        sink(b"de")

    write_view(file, stamp, {"rows": np.arange(6.0).reshape(2, 3), "bytes": write_bytes, "none": np.empty((0, 4))})


def test_sections_come_back_as_they_were(file: Path) -> None:
    write(file)
    sections = read_view(file, "s1")
    assert sections is not None
    assert sections["rows"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert sections["rows"].dtype == np.float64
    assert sections["bytes"].tobytes() == b"abcde"
    assert sections["none"].shape == (0, 4)


def test_a_file_of_another_stamp_is_refused(file: Path) -> None:
    write(file)
    assert read_view(file, "s2") is None


def test_a_missing_and_an_empty_file_are_refused(file: Path) -> None:
    assert read_view(file, "s1") is None
    file.parent.mkdir()
    file.touch()
    assert read_view(file, "s1") is None


def test_every_flipped_bit_is_found(file: Path) -> None:
    write(file)
    whole = file.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        file.write_bytes(damaged)
        assert read_view(file, "s1") is None, place


def test_every_torn_file_is_found(file: Path) -> None:
    write(file)
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        assert read_view(file, "s1") is None, length


def test_a_write_that_fails_leaves_the_old_file_and_no_other(file: Path) -> None:
    write(file)

    def fail(sink: Sink) -> None:
        sink(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_view(file, "s2", {"bytes": fail})
    assert read_view(file, "s1") is not None
    assert list(file.parent.iterdir()) == [file]


def test_what_was_read_outlives_its_file(file: Path) -> None:
    write(file)
    sections = read_view(file, "s1")
    write(file, "s2")
    file.unlink()
    assert sections is not None
    assert sections["rows"].sum() == 15
