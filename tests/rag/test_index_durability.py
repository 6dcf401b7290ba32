"""What happens to an index when its files are damaged, the disk is full, or several write and read at once."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag.documents.document import Document
from rag.index import Index
from rag.search.settings import SearchSettings
from tests.fakes.indexes import create_index, open_index
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
    expected = {mode: index.search("desk", 3, settings=SearchSettings(mode=mode)) for mode in ("dense", "bm25")}
    files = [home / "indexes" / "faq" / f"1{suffix}" for suffix in (".faiss", ".bm25")]
    for file in files:
        # Replaced, not written over: the index has the old file's pages in use.
        damaged = damage(file.read_bytes())
        file.unlink()
        file.write_bytes(damaged)
    embedder = make_embedder()
    again = open_index(home, "faq", embedder)

    for mode, passages in expected.items():
        assert again.search("desk", 3, settings=SearchSettings(mode=mode)) == passages
    assert embedder.num_embedded == 1  # the query
    third = open_index(home, "faq", make_embedder())
    assert third.verify().problems == ()


def test_a_missing_view_is_rebuilt_from_the_rows(index: Index, home: Path, embedder: Any) -> None:
    file = home / "indexes" / "faq" / "1.faiss"
    expected = index.search("desk", 3)
    file.unlink()

    assert open_index(home, "faq", embedder).search("desk", 3) == expected
    assert file.exists()


def test_the_view_of_an_older_generation_under_the_newer_name_is_not_believed(
    index: Index, home: Path, embedder: Any, library: Library
) -> None:
    old = (home / "indexes" / "faq" / "1.faiss").read_bytes()
    index.sync([Document("hours", "", "Closed."), *library[1:]])
    (home / "indexes" / "faq" / "2.faiss").unlink()
    (home / "indexes" / "faq" / "2.faiss").write_bytes(old)

    found = open_index(home, "faq", embedder).search("closed", 1)

    assert found[0].text == "Closed."


def test_a_reader_that_cannot_write_the_view_searches_all_the_same(index: Index, home: Path, embedder: Any) -> None:
    folder = home / "indexes" / "faq"
    shutil.rmtree(folder)
    folder.write_text("a file where the folder should be")

    assert len(open_index(home, "faq", embedder).search("desk", 3)) == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, the device that is always full")
def test_a_view_that_finds_the_disk_full_does_not_undo_what_is_committed(
    index: Index, home: Path, embedder: Any, library: Library
) -> None:
    folder = home / "indexes" / "faq"
    shutil.rmtree(folder)
    folder.symlink_to("/dev/full")

    report = index.sync([*library, Document("new", "", "A new thing.")])

    assert report.added == 1
    assert index.search("new thing", 1)[0].document_id == "new"
    assert open_index(home, "faq", embedder).search("new thing", 1)[0].document_id == "new"


_FILLS_THE_DISK = """
import resource, sys
from pathlib import Path
from rag.documents.document import Document
from storage.errors import ArbiterError
from tests.fakes.indexes import create_index
from tests.rag.conftest import SETTINGS, FakeEmbedder
documents = [Document(f"{n}", "", f"new {n} " * 15) for n in range(600)]
for limit in map(int, sys.argv[2:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        index = create_index(Path(sys.argv[1]), "faq", FakeEmbedder(), SETTINGS)
        index.sync(documents)
        print("done")
    except ArbiterError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        state = (index.state.version, index.verify().problems, [p.document_id for p in index.search("desk", 3)])
        print(f"{error} {state}")
    index.close()
"""


@pytest.mark.slow
def test_a_file_system_that_refuses_at_any_point_leaves_the_old_index_whole(index: Index, home: Path) -> None:
    state = (index.state.version, (), [passage.document_id for passage in index.search("desk", 3)])
    index.close()

    limits = ["150000", "600000", "1500000", "2500000", "1000000000"]
    command = [sys.executable, "-c", _FILLS_THE_DISK, str(home), *limits]
    root = Path(__file__).parents[2]
    *refused, last = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()

    assert last == "done"
    assert len(refused) == 4
    for line in refused:
        assert "cannot be written: " in line
        assert line.endswith(str(state))


def test_another_reader_sees_a_change_at_its_next_search(
    index: Index, home: Path, embedder: Any, library: Library
) -> None:
    reader = open_index(home, "faq", embedder, settings=SearchSettings(mode="dense"))
    assert len(reader.search("desk", 10)) == 3

    index.sync([*library, Document("new", "", "desk desk desk")])

    assert reader.search("desk", 10)[0].document_id == "new"


def test_two_syncs_at_once_leave_one_of_both_contents(home: Path, make_embedder: Any) -> None:
    contents = [[Document(f"{side}{n}", "", f"{side} {n}") for n in range(30)] for side in ("left", "right")]
    barrier = threading.Barrier(2)
    errors: list[Exception] = []

    def run(documents: list[Document]) -> None:
        try:
            index = create_index(home, "faq", make_embedder(), SETTINGS)
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
    index = open_index(home, "faq", make_embedder())
    found = sorted(passage.document_id for passage in index.search("left right", 100))
    assert found in [sorted(document.id for document in documents) for documents in contents]
    assert index.state.num_documents == 30


@pytest.mark.slow
def test_searches_during_syncs_see_one_content_or_the_other_and_never_a_mixture(home: Path, make_embedder: Any) -> None:
    contents = [[Document(f"{n}", "", f"{side} {n}") for n in range(20)] for side in ("left", "right")]
    index = create_index(home, "faq", make_embedder(), SETTINGS)
    index.sync(contents[0])
    done = threading.Event()
    seen: list[frozenset[str]] = []
    errors: list[Exception] = []

    def read() -> None:
        reader = open_index(home, "faq", make_embedder())
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
    (home / "indexes" / "faq" / "1.faiss.123-456.tmp").write_bytes(b"torn")

    index.sync(library[1:])

    assert sorted(file.name for file in (home / "indexes" / "faq").iterdir()) == ["2.bm25", "2.faiss"]


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_while_documents_come_and_go_searches_see_those_that_are_there_and_no_others(
    home: Path, make_embedder: Any, database: str, request: pytest.FixtureRequest
) -> None:
    url = None if database == "sqlite" else request.getfixturevalue("postgres_url")
    hybrid = SearchSettings(mode="hybrid")
    other = create_index(home, "other", make_embedder(), SETTINGS, url=url)
    other.sync([Document(f"other{n}", "", "common words of another collection") for n in range(5)])
    index = create_index(home, "faq", make_embedder(), SETTINGS, url=url, settings=hybrid)
    index.sync([Document(f"stays{n}", "", f"common word{n}") for n in range(20)])
    stays = {f"stays{n}" for n in range(20)}
    deleted: list[str] = []
    done = threading.Event()
    searches = itertools.count()
    errors: list[object] = []

    def read(reader: Index) -> None:
        try:
            while not done.is_set():
                gone = set(deleted)
                found = {passage.document_id for passage in reader.search("common", 100)}
                if not stays <= found or found & gone or any(name.startswith("other") for name in found):
                    errors.append((stays - found, found & gone))
                next(searches)
        except Exception as error:
            errors.append(error)

    readers = [index, open_index(home, "faq", make_embedder(), url=url, settings=hybrid)]
    threads = [threading.Thread(target=read, args=(reader,)) for reader in readers]
    for thread in threads:
        thread.start()
    try:
        for turn in range(25):
            index.add([Document(f"goes{turn}", "", "common guest")])
            assert index.search("guest", 1)[0].document_id == f"goes{turn}"
            index.delete([f"goes{turn}"])
            deleted.append(f"goes{turn}")
    finally:
        done.set()
        for thread in threads:
            thread.join()

    assert errors == []
    assert next(searches) > 10
    assert index.verify().problems == ()


@pytest.mark.slow
def test_writers_of_several_processes_do_not_lose_each_others_documents(home: Path, make_embedder: Any) -> None:
    indexes = [create_index(home, "faq", make_embedder(), SETTINGS) for _ in range(3)]
    errors: list[Exception] = []

    def write(number: int) -> None:
        try:
            for turn in range(8):
                indexes[number].add([Document(f"{number}-{turn}", "", f"writer{number} turn{turn}")])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert {entry.id for entry in indexes[0].documents()} == {f"{n}-{turn}" for n in range(3) for turn in range(8)}
    assert indexes[0].verify().problems == ()
