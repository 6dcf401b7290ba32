"""`verify` finds what is wrong with rows and files, and `repair` mends it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from rag.documents.document import Document
from rag.errors import RagError
from rag.index import Index
from rag.search.settings import SearchSettings
from rag.search.vector_view import FaissViews
from rag.store.indexes import state as state_of
from rag.store.store import Store, sqlite_url
from rag.views import LiveView, dense_kind
from tests.rag.conftest import SETTINGS, Library


@pytest.fixture
def database(home: Path, index: Index) -> sqlite3.Connection:
    connection = sqlite3.connect(home / "rag.sqlite", isolation_level=None)
    connection.execute("PRAGMA foreign_keys=OFF")
    return connection


class _Interrupted:
    """The embedder, ended by an interrupt when it is to cut a text."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def token_spans(self, texts: Any) -> Any:
        raise KeyboardInterrupt


def test_a_sound_index_has_no_problems(index: Index) -> None:
    report = index.verify()

    assert (report.problems, report.is_sound, report.repaired, report.damaged) == ((), True, False, ())
    assert (report.num_documents, report.num_chunks, report.recall, report.num_near_duplicates) == (3, 3, 1.0, 0)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (
            "UPDATE vectors SET vector = zeroblob(2048) WHERE number = 1",
            "document 'fines': chunk 0 has no valid vector",
        ),
        ("UPDATE vectors SET vector = x'00' WHERE number = 2", "document 'hours': chunk 0 has no valid vector"),
        ("DELETE FROM vectors WHERE number = 3", "document 'rooms': chunk 0 has no valid vector"),
        ("UPDATE chunks SET text = 'Made up.' WHERE number = 2", "document 'hours': chunk 0 is not in its text"),
        ("DELETE FROM chunks WHERE number = 2", "document 'hours': has 0 chunks and should have 1"),
        ("UPDATE chunks SET id = 'x' WHERE number = 2", "'hours': its chunks are not those that were stored"),
        ("UPDATE documents SET content_hash = 'x' WHERE id = 'hours'", "its chunks are not those that were stored"),
        ("DELETE FROM documents WHERE id = 'hours'", "document 'hours': has chunks and is not there"),
        ("UPDATE indexes SET num_chunks = 9", "counts 3 documents and 9 chunks, its rows are 3 and 3"),
    ],
)
def test_damaged_rows_are_found_and_repaired(
    index: Index,
    database: sqlite3.Connection,
    home: Path,
    library: Library,
    make_embedder: Any,
    damage: str,
    problem: str,
) -> None:
    database.execute(damage)

    report = index.verify()

    assert problem in "; ".join(report.problems)
    assert not report.is_sound
    repaired = index.verify(repair=True)
    assert (repaired.repaired, repaired.is_sound) == (True, True)
    assert index.verify().problems == ()
    index.sync(library)
    fresh = Index.open(home, "faq", make_embedder())
    assert fresh.verify().problems == ()
    assert {passage.document_id for passage in fresh.search("desk", 3)} == {"hours", "fines", "rooms"}


def test_a_repair_that_was_killed_is_found_and_ended(
    index: Index, database: sqlite3.Connection, home: Path, embedder: Any
) -> None:
    database.execute("UPDATE chunks SET text = 'Made up.' WHERE number = 2")
    broken = Index.open(home, "faq", _Interrupted(embedder))
    with pytest.raises(KeyboardInterrupt):
        broken.verify(repair=True)

    assert index.verify().problems == ("document 'hours': its repair was begun and not ended",)
    index.verify(repair=True)
    assert index.verify().problems == ()
    assert index.search("desk", 1)[0].document_id == "hours"


def test_a_damaged_view_file_is_found_and_repaired(index: Index, home: Path, embedder: Any) -> None:
    index.search("desk", 1, settings=SearchSettings(mode="bm25"))
    file = home / "indexes" / "faq" / "1.bm25"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.unlink()
    file.write_bytes(data)

    report = Index.open(home, "faq", embedder).verify(repair=True)

    assert report.problems == ("view file '1.bm25' is damaged, or not of this index",)
    assert Index.open(home, "faq", embedder).verify().problems == ()


def test_a_view_that_another_process_writes_meanwhile_is_no_fault(index: Index, home: Path, embedder: Any) -> None:
    index.search("desk", 1)
    store = Store(sqlite_url(home / "rag.sqlite"))
    live: LiveView[Any] = LiveView(home / "indexes" / "faq", dense_kind(FaissViews()))
    with store.read() as rows:
        before = state_of(rows, "faq")
        assert before is not None
        Index.open(home, "faq", embedder).sync([Document("new", "", "Something else.")])
        assert [file.name for file in (home / "indexes" / "faq").glob("*.faiss")] == ["2.faiss"]

        assert live.damaged_files(rows, before) == []
    store.close()


def test_a_view_of_other_vectors_than_the_rows_have_is_found(index: Index, database: sqlite3.Connection) -> None:
    (other,) = database.execute("SELECT vector FROM vectors WHERE number = 2").fetchone()
    database.execute("UPDATE vectors SET vector = ? WHERE number = 1", (other,))

    assert index.verify().problems == ("the view of vectors does not hold the vectors of the rows",)


def test_a_text_that_is_no_utf8_any_more_is_found_and_mended(
    index: Index, database: sqlite3.Connection, library: Library
) -> None:
    torn = b"A late\xffbook costs ten cents a day."
    database.execute("UPDATE documents SET text = CAST(? AS TEXT) WHERE id = 'fines'", (torn,))

    assert index.verify().damaged == ("fines",)
    assert index.verify(repair=True).is_sound
    assert index.verify().problems == ()
    index.sync(library)
    found = index.document("fines")
    assert found is not None
    assert found.text == library[1].text


def test_a_row_that_cannot_be_parsed_is_one_line(index: Index, database: sqlite3.Connection) -> None:
    database.execute("UPDATE documents SET metadata = '{torn' WHERE id = 'fines'")
    with pytest.raises(RagError, match=r"rag\.sqlite' has damaged rows"):
        index.verify()


def test_chunks_that_repeat_others_are_counted(home: Path, embedder: Any) -> None:
    index = Index.create(home, "faq", embedder, SETTINGS)
    text = "the very same words in two of the three documents"
    index.sync([Document("a", "", text), Document("b", "B", text), Document("c", "", "something else altogether here")])

    report = index.verify()

    assert (report.num_near_duplicates, report.problems) == (1, ())


def test_an_index_that_does_not_exist_cannot_be_verified(home: Path, embedder: Any) -> None:
    with pytest.raises(RagError, match="no index 'faq'"):
        Index.create(home, "faq", embedder, SETTINGS).verify()
