from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from rag.search.dense import View

ROWS = np.array([[1, 0, 0], [0.6, 0.8, 0], [0, 1, 0], [0.6, 0.8, 0]], dtype=np.float32)
IDS = ("a", "b", "c", "d")


@pytest.fixture
def view() -> View:
    return View.build("v1", 1, IDS, ROWS)


def test_search_ranks_by_cosine_and_breaks_ties_by_row(view: View) -> None:
    query = np.array([1, 0, 0], dtype=np.float32)

    assert view.search(query, 3) == [("a", 1.0), ("b", pytest.approx(0.6)), ("d", pytest.approx(0.6))]
    assert view.search(query, 99)[-1] == ("c", 0.0)


def test_scores_stay_within_the_range_of_a_cosine() -> None:
    long = np.array([[1.0001, 0], [-1.0001, 0]], dtype=np.float32)

    assert View.build("v", 1, ("a", "b"), long).search(long[0], 2) == [("a", 1.0), ("b", -1.0)]


def test_an_empty_view_finds_nothing() -> None:
    empty = View.build("v1", 1, (), np.empty((0, 0), dtype=np.float32))

    assert empty.search(np.ones(3, dtype=np.float32), 5) == []


def test_a_saved_view_is_loaded_whole_and_is_a_plain_faiss_file(view: View, tmp_path: Path) -> None:
    file = tmp_path / "sub" / "1.faiss"
    view.save(file)

    loaded = View.load(file, "v1", 1, IDS)

    assert loaded is not None
    query = np.array([0, 1, 0], dtype=np.float32)
    assert loaded.search(query, 4) == view.search(query, 4)
    assert [path.name for path in file.parent.iterdir()] == ["1.faiss"]
    assert faiss.read_index(str(file)).ntotal == 4


@pytest.mark.parametrize(("version", "ids"), [("v2", IDS), ("v1", IDS[:3])])
def test_a_view_of_other_rows_is_not_loaded(view: View, tmp_path: Path, version: str, ids: tuple[str, ...]) -> None:
    view.save(tmp_path / "1.faiss")

    assert View.load(tmp_path / "1.faiss", version, 1, ids) is None


def test_a_view_is_not_loaded_if_any_byte_is_flipped_or_the_end_is_torn(view: View, tmp_path: Path) -> None:
    file = tmp_path / "1.faiss"
    view.save(file)
    whole = file.read_bytes()

    for position in range(len(whole)):
        file.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        assert View.load(file, "v1", 1, IDS) is None
        file.write_bytes(whole[:position])
        assert View.load(file, "v1", 1, IDS) is None
