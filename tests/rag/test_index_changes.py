"""Changes to a part of an index: origins, additions, deletions, metadata; and what each of them costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rag.chunking.chunk import ChunkSettings
from rag.documents.document import Document
from rag.documents.load import load_documents
from rag.errors import RagError
from rag.home import IndexHome
from rag.index import Index, SyncReport
from rag.search.dense import DenseView
from rag.search.filters import parse_filter
from rag.search.settings import SearchSettings
from tests.fakes.indexes import create_index, open_index
from tests.rag.conftest import SETTINGS, Library

HYBRID = SearchSettings(mode="hybrid")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str | None:
    return None if request.param == "sqlite" else request.getfixturevalue("postgres_url")


class _Counted:
    """A DenseView that counts the vectors it is given."""

    def __init__(self, counts: dict[str, int], inner: DenseView | None = None) -> None:
        self.counts = counts
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def build(self, numbers: NDArray[np.int64], vectors: NDArray[np.float32]) -> _Counted:
        self.counts["built"] = self.counts.get("built", 0) + len(numbers)
        return _Counted(self.counts, DenseView.build(numbers, vectors))

    def load(self, file: Path, stamp: str) -> _Counted | None:
        inner = DenseView.load(file, stamp)
        self.counts["loaded"] = self.counts.get("loaded", 0) + (inner is not None)
        return None if inner is None else _Counted(self.counts, inner)

    def clear(self, numbers: NDArray[np.int64]) -> None:
        self.counts["cleared"] = len(numbers)

    def close(self) -> None:
        self.counts["closed"] = 1

    def changed(self, numbers: NDArray[np.int64], vectors: NDArray[np.float32], removed: NDArray[np.int64]) -> _Counted:
        assert self.inner is not None
        self.counts["added"] = self.counts.get("added", 0) + len(numbers)
        self.counts["removed"] = self.counts.get("removed", 0) + len(removed)
        return _Counted(self.counts, self.inner.changed(numbers, vectors, removed))


def _counts(report: SyncReport) -> tuple[int, int, int, int]:
    return report.added, report.updated, report.removed, report.unchanged


def _ids(index: Index) -> list[str]:
    return [entry.id for entry in index.documents()]


def test_a_sync_leaves_the_documents_of_other_origins_alone(index: Index, library: Library) -> None:
    index.sync([Document("a", "", "alpha"), Document("b", "", "beta")], origin="folder")

    report = index.sync([Document("b", "", "beta")], origin="folder")

    assert _counts(report) == (0, 0, 1, 1)
    assert _ids(index) == ["b", "fines", "hours", "rooms"]
    assert {entry.origin for entry in index.documents() if entry.id != "b"} == {""}
    assert _counts(index.sync(library)) == (0, 0, 0, 3)


def test_add_replaces_what_has_the_same_id_and_leaves_the_rest(index: Index) -> None:
    report = index.add([Document("hours", "", "Closed."), Document("new", "", "News.")])

    assert _counts(report) == (1, 1, 0, 0)
    assert _ids(index) == ["fines", "hours", "new", "rooms"]
    assert [chunk.text for chunk in index.chunks_of("hours")] == ["Closed."]
    assert _counts(index.add([Document("new", "", "News.")])) == (0, 0, 0, 1)


def test_a_document_that_another_origin_gives_becomes_that_ones_without_being_embedded(
    index: Index, library: Library
) -> None:
    report = index.sync(library[:1], origin="folder")

    assert (_counts(report), report.embedded_chunks) == ((0, 0, 0, 1), 0)
    index.sync([])
    assert _ids(index) == ["hours"]


def test_other_settings_cut_the_documents_of_every_origin_again(
    index: Index, home: Path, embedder: Any, url: str | None
) -> None:
    index.add([Document("other", "", "one two three four five six")], origin="folder")
    renewed = create_index(home, "faq", embedder, ChunkSettings(3, 0), url=url)

    report = renewed.add([Document("new", "", "seven")])

    assert _counts(report) == (1, 4, 0, 0)
    assert [chunk.text for chunk in renewed.chunks_of("other")] == ["one two three", "four five six"]
    assert {entry.id: entry.origin for entry in renewed.documents()}["other"] == "folder"
    assert renewed.verify().problems == ()


def test_another_embedder_of_another_dimension_replaces_every_vector(
    index: Index, home: Path, make_embedder: Any, url: str | None
) -> None:
    index.search("desk", 1)
    other = make_embedder("fake@2", dimension=16)
    renewed = create_index(home, "faq", other, SETTINGS, url=url)

    report = renewed.add([])

    assert _counts(report) == (0, 3, 0, 0)
    assert renewed.search("When does the desk open?", 1)[0].document_id == "hours"
    assert open_index(home, "faq", other, url=url).verify().problems == ()


def test_a_deleted_document_is_found_by_nobody_from_then_on(
    index: Index, home: Path, embedder: Any, url: str | None
) -> None:
    reader = open_index(home, "faq", embedder, url=url, settings=HYBRID)
    assert reader.search("desk", 3)[0].document_id == "hours"

    assert index.delete(["hours", "unknown", "hours"]) == 1

    for search in (index.search, reader.search, open_index(home, "faq", embedder, url=url).search):
        assert {passage.document_id for passage in search("the desk opens at nine", 3)} <= {"fines", "rooms"}
    assert (index.document("hours"), index.chunks_of("hours"), index.state.num_documents, index.state.num_chunks) == (
        None,
        (),
        2,
        2,
    )
    generation = index.state.generation
    assert index.delete(["hours"]) == 0
    assert index.state.generation == generation


def test_a_version_does_not_depend_on_how_its_content_came_about(
    index: Index, home: Path, embedder: Any, library: Library, url: str | None
) -> None:
    before = index.state.version
    index.add([Document("new", "", "News.")], origin="x")
    index.delete(["hours"])
    assert index.state.version != before

    index.delete(["new"])
    index.add(library)

    assert index.state.version == before
    assert (index.state.num_documents, index.state.num_chunks) == (3, 3)


def test_metadata_is_replaced_without_embedding_and_filters_see_it(index: Index, embedder: Any) -> None:
    version, embedded = index.state.version, embedder.num_embedded

    index.set_metadata("fines", {"team": "front", "year": 2026})

    found = index.search("desk", 3, filters=parse_filter({"type": "eq", "key": "team", "value": "front"}))
    assert [(passage.document_id, passage.metadata) for passage in found] == [
        ("fines", {"team": "front", "year": 2026})
    ]
    assert index.state.version != version
    assert embedder.num_embedded == embedded + 1  # the query
    assert index.verify().problems == ()
    with pytest.raises(RagError, match="no document 'unknown' in index 'faq'"):
        index.set_metadata("unknown", {})
    with pytest.raises(RagError, match="cannot be stored"):
        index.set_metadata("fines", {"a": {1}})


def test_metadata_that_was_changed_comes_back_with_the_next_sync(index: Index, library: Library) -> None:
    index.set_metadata("hours", {"page": 2})

    assert _counts(index.sync(library)) == (0, 1, 0, 2)
    assert index.search("desk", 1)[0].metadata == {"page": 1}


def test_a_change_to_a_large_index_reads_what_changed_and_leaves_the_file(
    home: Path, embedder: Any, url: str | None
) -> None:
    counts: dict[str, int] = {}
    index = create_index(home, "large", embedder, SETTINGS, url=url, views=_Counted(counts))
    index.sync([Document(f"{n:04}", "", f"word{n} common") for n in range(500)])
    assert counts == {"built": 500}
    file = home / "indexes" / "large" / "1.faiss"
    written = file.stat().st_mtime_ns

    index.add([Document("new", "", "something new")])
    index.delete(["0007"])

    assert index.search("something new", 1)[0].document_id == "new"
    assert "0007" not in {passage.document_id for passage in index.search("word7 common", 20)}
    assert (counts, file.stat().st_mtime_ns) == ({"built": 500, "added": 1, "removed": 1}, written)
    reopened: dict[str, int] = {}
    again = open_index(home, "large", embedder, url=url, views=_Counted(reopened))
    assert again.search("something new", 5) == index.search("something new", 5)
    assert reopened == {"loaded": 1, "added": 1, "removed": 1}


def test_a_file_that_fell_a_tenth_behind_is_written_anew(home: Path, embedder: Any, url: str | None) -> None:
    index = create_index(home, "large", embedder, SETTINGS, url=url, settings=HYBRID)
    index.sync([Document(f"{n:04}", "", f"word{n} common") for n in range(100)])
    for n in range(11):
        index.add([Document(f"new{n:02}", "", f"new{n}")])

    names = sorted(file.name for file in (home / "indexes" / "large").iterdir())

    # 11 of 110 are not more than a tenth, 12 of 111 are.
    assert names == ["1.bm25", "1.faiss"]
    index.add([Document("last", "", "new11"), Document("very last", "", "new12")])
    names = sorted(file.name for file in (home / "indexes" / "large").iterdir())
    assert names == ["13.bm25", "13.faiss"]
    assert index.search("new12", 1)[0].document_id == "very last"


@pytest.mark.slow
def test_a_reader_that_slept_through_many_changes_finds_its_way(home: Path, embedder: Any, url: str | None) -> None:
    index = create_index(home, "faq", embedder, SETTINGS, url=url, settings=HYBRID)
    index.sync([Document(f"{n:02}", "", f"word{n}") for n in range(5)])
    reader = open_index(home, "faq", embedder, url=url, settings=HYBRID)
    reader.search("word1", 3)

    for n in range(66):
        index.sync([Document(f"{i:02}", "", f"word{i + n}") for i in range(5)])

    assert reader.search("word69", 3) == index.search("word69", 3)
    assert index.verify().problems == ()


def test_an_index_that_was_dropped_is_gone_and_one_of_its_name_begins_anew(
    index: Index, home: Path, embedder: Any, library: Library, url: str | None
) -> None:
    other = create_index(home, "other", embedder, SETTINGS, url=url)
    other.sync(library)
    reader = open_index(home, "faq", embedder, url=url)
    reader.search("desk", 3)

    index.drop()

    assert list(IndexHome(home, url=url).states()) == ["other"]
    assert not (home / "indexes" / "faq").exists()
    with pytest.raises(RagError, match="no index 'faq'"):
        reader.search("desk", 3)
    assert len(other.search("desk", 3)) == 3
    again = create_index(home, "faq", embedder, SETTINGS, url=url)
    # Equal content in another order: equal version and generation, other numbers.
    again.sync([library[2]])
    assert [passage.document_id for passage in reader.search("desk", 3)] == ["rooms"]


def test_another_vector_store_is_told_what_is_dropped_and_closed(home: Path, embedder: Any, library: Library) -> None:
    counts: dict[str, int] = {}
    index = create_index(home, "faq", embedder, SETTINGS, views=_Counted(counts))
    index.sync(library)

    index.drop()
    index.close()

    assert (counts["cleared"], counts["closed"]) == (3, 1)


def test_collections_cannot_see_each_other(home: Path, embedder: Any, url: str | None) -> None:
    left = create_index(home, "left", embedder, SETTINGS, url=url, settings=HYBRID)
    right = create_index(home, "right", embedder, SETTINGS, url=url, settings=HYBRID)
    left.sync([Document("a", "", "shared words left", {"side": "left"})])
    right.sync([Document("a", "", "shared words right", {"side": "right"}), Document("b", "", "shared words")])
    either = parse_filter({"type": "in", "key": "side", "value": ["left", "right"]})

    for index, expected in ((left, ["shared words left"]), (right, ["shared words right"])):
        for mode in ("dense", "bm25", "hybrid"):
            found = index.search("shared", 10, settings=SearchSettings(mode=mode), filters=either)
            assert [passage.text for passage in found] == expected
    assert left.delete(["b"]) == 0
    left.delete(["a"])
    assert (right.state.num_documents, right.document("a") is not None) == (2, True)


def test_documents_are_listed_in_pages(index: Index, library: Library) -> None:
    first = index.documents(limit=2)

    assert [entry.id for entry in first] == ["fines", "hours"]
    assert [entry.id for entry in index.documents(limit=2, after="hours")] == ["rooms"]
    hours = first[1]
    assert (hours.title, hours.num_chunks, hours.num_chars, hours.metadata) == ("Loan desk hours", 1, 42, {"page": 1})


def test_a_document_comes_back_as_it_was_given(home: Path, embedder: Any, url: str | None) -> None:
    given = Document("a", "T", "Ünï\n\n# Head\n\n" + "word " * 50, {"x": [1, {"y": None}]}, "f/a.pdf", (0, 7))
    index = create_index(home, "faq", embedder, SETTINGS, url=url)
    index.sync([given])

    assert index.document("a") == given
    chunks = index.chunks_of("a")
    assert len(chunks) > 1
    assert all(given.text[chunk.start : chunk.end] == chunk.text for chunk in chunks)
    assert {chunk.source for chunk in chunks} == {"f/a.pdf"}
    assert chunks[-1].page == 2


def test_an_export_is_read_again_by_load_documents(index: Index, tmp_path: Path, library: Library) -> None:
    file = tmp_path / "export.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in index.export()))

    loaded = load_documents(file).documents

    assert [(d.id, d.title, d.text) for d in loaded] == sorted((d.id, d.title, d.text) for d in library)
    assert {d.id: dict(d.metadata) for d in loaded}["hours"]["page"] == 1


def test_what_progress_raises_ends_the_sync_and_leaves_the_index_as_it_was(index: Index) -> None:
    class Cancelled(Exception):
        pass

    def cancel(done: int, total: int) -> None:
        raise Cancelled

    before = index.state.version
    with pytest.raises(Cancelled):
        index.add([Document("new", "", "News.")], progress=cancel)

    assert (index.state.version, index.document("new")) == (before, None)


def test_a_delete_of_an_index_that_does_not_exist_says_so(home: Path, embedder: Any, url: str | None) -> None:
    with pytest.raises(RagError, match="no index 'faq'"):
        create_index(home, "faq", embedder, SETTINGS, url=url).delete(["a"])


def test_an_empty_index_exists_and_finds_nothing(home: Path, embedder: Any, url: str | None) -> None:
    index = create_index(home, "empty", embedder, SETTINGS, url=url, settings=HYBRID)
    index.sync([])

    assert list(IndexHome(home, url=url).states()) == ["empty"]
    assert index.search("anything", 5) == ()
    assert index.verify().problems == ()


class Away(_Counted):
    """Views in a store that cannot be reached when it is to be cleared."""

    def clear(self, numbers: Any) -> None:
        raise RagError("the store is away")


def test_an_index_is_dropped_though_its_vector_store_is_away(home: Path, embedder: Any, url: str | None) -> None:
    index = create_index(home, "faq", embedder, ChunkSettings(20, 0), url=url, views=Away({}))
    index.sync([Document("a", "", "a boat")])

    index.drop()

    assert IndexHome(home, url=url).states() == {}
    assert not (home / "indexes" / "faq").exists()
