"""What happens to an index when its files are damaged, the disk is full, or several write and read at once."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag.documents.document import Document
from rag.errors import RagError
from rag.index import Index
from tests.rag.conftest import SETTINGS, Library


def _truncate(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize(
    "damage", [_truncate, _flip, lambda _: b"", lambda data: data + b"x"], ids=["torn", "flipped", "empty", "longer"]
)
def test_a_damaged_view_is_rebuilt_from_the_rows_without_embedding(
    index: Index, home: Path, make_embedder: Any, damage: Callable[[bytes], bytes]
) -> None:
    file = home / "indexes" / "faq" / "1.faiss"
    whole, expected = file.read_bytes(), index.search("desk", 3)
    file.write_bytes(damage(whole))
    embedder = make_embedder()

    assert Index.open(home, "faq", embedder).search("desk", 3) == expected
    assert embedder.num_embedded == 1  # the query
    assert file.read_bytes() == whole


def test_a_missing_view_is_rebuilt_from_the_rows(index: Index, home: Path, embedder: Any) -> None:
    file = home / "indexes" / "faq" / "1.faiss"
    expected = index.search("desk", 3)
    file.unlink()

    assert Index.open(home, "faq", embedder).search("desk", 3) == expected
    assert file.exists()


def test_the_view_of_an_older_generation_under_the_newer_name_is_not_believed(
    index: Index, home: Path, embedder: Any, library: Library
) -> None:
    old = (home / "indexes" / "faq" / "1.faiss").read_bytes()
    index.sync([Document("hours", "", "Closed."), *library[1:]])
    (home / "indexes" / "faq" / "2.faiss").write_bytes(old)

    found = Index.open(home, "faq", embedder).search("closed", 1)

    assert found[0].text == "Closed."


def test_a_reader_that_cannot_write_the_view_searches_all_the_same(index: Index, home: Path, embedder: Any) -> None:
    folder = home / "indexes" / "faq"
    (folder / "1.faiss").unlink()
    (folder / "1.faiss.tmp").symlink_to("/dev/full")

    assert len(Index.open(home, "faq", embedder).search("desk", 3)) == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, the device that is always full")
def test_a_full_disk_leaves_the_old_state_and_the_same_sync_then_goes_on(
    index: Index, home: Path, embedder: Any, library: Library
) -> None:
    before, documents = index.version, [*library, Document("new", "", "A new thing.")]
    trap = home / "indexes" / "faq" / "2.faiss.tmp"
    trap.symlink_to("/dev/full")
    with pytest.raises(RagError, match=r"2\.faiss' cannot be written: the disk is full.*run the same command again"):
        index.sync(documents)
    assert (index.version, index.generation, len(index.search("new thing", 10))) == (before, 1, 3)

    assert sorted(file.name for file in (home / "indexes" / "faq").iterdir()) == ["1.faiss"]
    report = index.sync(documents)

    assert (report.added, report.unchanged, report.embedded_chunks) == (1, 3, 0)
    assert index.search("new thing", 1)[0].document_id == "new"


def test_another_reader_sees_a_change_at_its_next_search(
    index: Index, home: Path, embedder: Any, library: Library
) -> None:
    reader = Index.open(home, "faq", embedder)
    assert len(reader.search("desk", 10)) == 3

    index.sync([*library, Document("new", "", "desk desk desk")])

    assert reader.search("desk", 10)[0].document_id == "new"


def test_two_syncs_at_once_leave_one_of_both_contents(home: Path, make_embedder: Any) -> None:
    contents = [[Document(f"{side}{n}", "", f"{side} {n}") for n in range(30)] for side in ("left", "right")]
    barrier = threading.Barrier(2)
    errors: list[Exception] = []

    def run(documents: list[Document]) -> None:
        try:
            index = Index.create(home, "faq", make_embedder(), SETTINGS)
            for _ in range(5):
                barrier.wait(timeout=30)
                index.sync(documents)
        except Exception as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=run, args=(documents,)) for documents in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    index = Index.open(home, "faq", make_embedder())
    found = sorted(passage.document_id for passage in index.search("left right", 100))
    assert found in [sorted(document.id for document in documents) for documents in contents]
    assert index.num_documents == 30


def test_searches_during_syncs_see_one_content_or_the_other_and_never_a_mixture(home: Path, make_embedder: Any) -> None:
    contents = [[Document(f"{n}", "", f"{side} {n}") for n in range(20)] for side in ("left", "right")]
    index = Index.create(home, "faq", make_embedder(), SETTINGS)
    index.sync(contents[0])
    done = threading.Event()
    seen: list[frozenset[str]] = []
    errors: list[Exception] = []

    def read() -> None:
        reader = Index.open(home, "faq", make_embedder())
        try:
            while not done.is_set():
                seen.append(frozenset(passage.text.split()[0] for passage in reader.search("left right", 50)))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for turn in itertools.count(1):
        index.sync(contents[turn % 2])
        if errors or (turn >= 10 and len(seen) >= 20):
            break
    done.set()
    for thread in threads:
        thread.join()

    assert errors == []
    assert set(seen) <= {frozenset({"left"}), frozenset({"right"})}


def test_old_views_and_torn_temporary_files_are_removed(index: Index, home: Path, library: Library) -> None:
    (home / "indexes" / "faq" / "1.faiss.tmp").write_bytes(b"torn")

    index.sync(library[1:])

    assert sorted(file.name for file in (home / "indexes" / "faq").iterdir()) == ["2.faiss"]
