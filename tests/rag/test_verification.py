"""`verify` finds what is wrong with rows and files, and `repair` mends it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from rag.documents.document import Document
from rag.errors import RagError
from rag.index import Index
from rag.indexing import Progress
from rag.search.dense import DenseView
from rag.search.settings import SearchSettings
from rag.store import chunks
from rag.store.indexes import existing
from rag.verification import NearDuplicate, VerifyReport, count_stray, mend, verify
from rag.views import live_vectors, live_words
from storage.database import Database, sqlite_url
from storage.errors import StorageError
from tests.fakes.indexes import create_index, open_index
from tests.rag.conftest import SETTINGS, Library


@pytest.fixture
def database(home: Path, index: Index) -> sqlite3.Connection:
    connection = sqlite3.connect(home / "arbiter.db", isolation_level=None)
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


def _verify(home: Path, progress: Progress) -> VerifyReport:
    store = Database(sqlite_url(home / "arbiter.db"))
    folder = home / "indexes" / "faq"
    try:
        return verify(store, "faq", (live_vectors(folder), live_words(folder)), progress=progress)
    finally:
        store.close()


def test_a_sound_index_has_no_problems(index: Index) -> None:
    report = index.verify()

    assert (report.problems, report.is_sound, report.repaired, report.damaged) == ((), True, False, ())
    assert (report.num_documents, report.num_chunks, report.recall, report.near_duplicates) == (3, 3, 1.0, ())


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
        ("UPDATE documents SET digest = 'torn' WHERE id = 'hours'", "its chunks are not those that were stored"),
        ("UPDATE documents SET metadata = '{torn' WHERE id = 'hours'", "document 'hours': its metadata is damaged"),
        ("UPDATE documents SET metadata = '[1]' WHERE id = 'hours'", "document 'hours': its metadata is damaged"),
        ("UPDATE documents SET pages = '[0,' WHERE id = 'hours'", "document 'hours': its page numbers are damaged"),
        ("UPDATE chunks SET headings = '[' WHERE number = 2", "document 'hours': chunk 0 has damaged headings"),
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
    fresh = open_index(home, "faq", make_embedder())
    assert fresh.verify().problems == ()
    assert {passage.document_id for passage in fresh.search("desk", 3)} == {"hours", "fines", "rooms"}


def test_words_are_not_taken_for_those_of_another_document_where_one_is_missing(
    home: Path, embedder: Any, library: Library
) -> None:
    bm25 = SearchSettings(mode="bm25")
    index = create_index(home, "faq", embedder, SETTINGS, settings=SearchSettings(mode="dense"))
    index.sync(library)
    with sqlite3.connect(home / "arbiter.db") as connection:
        connection.execute("DELETE FROM documents WHERE id = 'fines'")

    with pytest.raises(RagError, match="documents of some chunks are missing; mend the index"):
        index.search("rooms", 1, settings=bm25)

    index.verify(repair=True)
    assert index.search("rooms", 1, settings=bm25)[0].document_id == "rooms"


def test_a_repair_that_was_killed_is_found_and_ended(
    index: Index, database: sqlite3.Connection, home: Path, embedder: Any
) -> None:
    database.execute("UPDATE chunks SET text = 'Made up.' WHERE number = 2")
    broken = open_index(home, "faq", _Interrupted(embedder))
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

    report = open_index(home, "faq", embedder).verify(repair=True)

    assert report.problems == ("view file '1.bm25' is damaged, or not of this index",)
    assert open_index(home, "faq", embedder).verify().problems == ()


def test_a_repair_builds_anew_what_searches_have_used(home: Path, embedder: Any, library: Library) -> None:
    index = create_index(home, "faq", embedder, SETTINGS, settings=SearchSettings(mode="dense"))
    index.sync(library)
    index.search("desk", 1, settings=SearchSettings(mode="bm25"))
    with sqlite3.connect(home / "arbiter.db") as connection:
        connection.execute("UPDATE indexes SET num_chunks = 9")

    index.verify(repair=True)

    assert {file.suffix for file in (home / "indexes" / "faq").glob("[0-9]*")} == {".faiss", ".bm25"}


def test_a_view_that_another_process_writes_meanwhile_is_no_fault(index: Index, home: Path, embedder: Any) -> None:
    index.search("desk", 1)
    store = Database(sqlite_url(home / "arbiter.db"))
    live = live_vectors(home / "indexes" / "faq")
    with store.read() as rows:
        before = existing(rows, "faq")
        open_index(home, "faq", embedder).sync([Document("new", "", "Something else.")])
        assert [file.name for file in (home / "indexes" / "faq").glob("*.faiss")] == ["2.faiss"]

        assert live.damaged_files(rows, before) == []
    store.close()


def test_a_view_that_comes_while_the_files_are_looked_at_is_no_fault(index: Index, home: Path) -> None:
    index.search("desk", 1)
    index.set_metadata("fines", {"year": 2026})
    folder = home / "indexes" / "faq"
    assert [file.name for file in folder.glob("*.faiss")] == ["1.faiss"]
    store = Database(sqlite_url(home / "arbiter.db"))
    with store.read() as rows:
        state = existing(rows, "faq")

        class Late:
            """Writes a newer file when it is to read one."""

            build = staticmethod(DenseView.build)

            @staticmethod
            def load(file: Path, stamp: str) -> DenseView | None:
                DenseView.build(*chunks.vectors(rows, state.id)).save(folder / "2.faiss", state.token)
                return DenseView.load(file, stamp)

        assert live_vectors(folder, Late()).damaged_files(rows, state) == []
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


def test_metadata_that_cannot_be_read_is_mended_from_what_filters_compare(home: Path, embedder: Any) -> None:
    index = create_index(home, "faq", embedder, SETTINGS)
    compared = {"team": "front", "year": 2026, "share": 0.5, "draft": True}
    index.sync([Document("a", "A", "A boat.", {**compared, "tags": ["x"]}, "a.md", (0,))])
    with sqlite3.connect(home / "arbiter.db") as connection:
        connection.execute("UPDATE documents SET metadata = '{torn', pages = '7'")

    with pytest.raises(StorageError, match=r"damaged rows .* mend it with: arbiter index verify --repair"):
        index.search("boat", 1)
    assert index.verify(repair=True).problems == (
        "document 'a': its metadata is damaged; a repair keeps of it what filters compare",
    )

    assert index.verify().problems == ()
    assert index.document("a") == Document("a", "A", "A boat.", compared, "a.md", ())
    assert index.search("boat", 1)[0].metadata == compared


def test_one_damaged_vector_is_not_taken_for_the_measure_of_the_others(
    index: Index, database: sqlite3.Connection
) -> None:
    database.execute("UPDATE vectors SET vector = x'00' WHERE number = 1")

    assert index.verify().damaged == ("fines",)


def test_documents_of_several_parts_are_all_checked(home: Path, embedder: Any) -> None:
    index = create_index(home, "faq", embedder, SETTINGS)
    index.sync([Document(f"{n:03}", "", f"word{n} " * 30) for n in range(120)])
    told: list[tuple[int, int]] = []

    assert index.verify().problems == ()
    with sqlite3.connect(home / "arbiter.db") as connection:
        connection.execute("UPDATE chunks SET text = 'Made up.' WHERE document_id >= '117' AND position = 1")
    report = _verify(home, lambda done, total: told.append((done, total)))

    assert report.damaged == ("117", "118", "119")
    assert report.problems == tuple(f"document {n!r}: chunk 1 is not in its text" for n in ("117", "118", "119"))
    # Once to check the rows, once to compare their words.
    assert (told[0], told[-2:]) == ((2, 480), [(240, 480), (480, 480)])


@pytest.mark.parametrize("suffix", [".faiss", ".bm25"])
@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_a_check_writes_no_file(index: Index, home: Path, suffix: str, damage: str) -> None:
    index.search("desk", 1, settings=SearchSettings(mode="hybrid"))
    folder = home / "indexes" / "faq"
    file = folder / f"1{suffix}"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.unlink()
    if damage == "flipped":
        file.write_bytes(data)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    problems = index.verify().problems

    assert problems == ((f"view file {file.name!r} is damaged, or not of this index",) if damage == "flipped" else ())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_file_that_the_rows_have_left_behind_is_no_fault(home: Path, embedder: Any) -> None:
    index = create_index(home, "faq", embedder, SETTINGS, settings=SearchSettings(mode="hybrid"))
    index.sync([Document(f"{n:02}", "", f"word{n}") for n in range(60)])
    index.add([Document("new", "", "something new")])
    index.delete(["07"])
    assert sorted(path.name for path in (home / "indexes" / "faq").iterdir()) == ["1.bm25", "1.faiss"]

    report = index.verify()

    assert (report.problems, report.num_chunks, report.recall) == ((), 60, 1.0)


def test_chunks_that_repeat_others_are_counted(home: Path, embedder: Any) -> None:
    index = create_index(home, "faq", embedder, SETTINGS)
    text = "the very same words in two of the three documents"
    index.sync([Document("a", "", text), Document("b", "B", text), Document("c", "", "something else altogether here")])

    report = index.verify()

    assert report.problems == ()
    assert report.near_duplicates == (NearDuplicate("b", None, "a", None, 1.0),)


def test_an_index_that_does_not_exist_cannot_be_verified(home: Path, embedder: Any) -> None:
    with pytest.raises(RagError, match="no index 'faq'"):
        create_index(home, "faq", embedder, SETTINGS).verify()


_FILL = (
    "INSERT INTO indexes VALUES (1, 'faq', 'fake@1', '{}', 1, 'token', '0', 1, 20000, 0)",
    "INSERT INTO documents VALUES (1, 'a', '', '', '0', 20000, 0, '', '', '[]', '{}', '')",
    "INSERT INTO chunks SELECT n, 1, 'a', n, 1, '', '', 0, NULL, '[]', NULL, NULL, '' FROM generate_series(1, 20000) n",
    "INSERT INTO vectors SELECT n, 1, 0, '' FROM generate_series(1, 20000) n",
    "ANALYZE chunks, vectors",
    # As with the usual 4 MB and 300,000 chunks.
    "SET LOCAL work_mem = '64kB'",
)


@pytest.fixture
def plans() -> Iterator[list[str]]:
    """How PostgreSQL does each statement that counts or deletes."""
    found: list[str] = []

    def explain(
        connection: sa.Connection, _cursor: object, statement: str, parameters: object, _context: object, _is_many: bool
    ) -> None:
        if statement.startswith(("SELECT count", "DELETE")):
            cursor = connection.connection.cursor()
            cursor.execute(f"EXPLAIN {statement}", parameters)
            found.append("\n".join(row[0] for row in cursor.fetchall()))

    sa.event.listen(sa.Engine, "before_cursor_execute", explain)
    yield found
    sa.event.remove(sa.Engine, "before_cursor_execute", explain)


def test_stray_rows_of_a_large_index_are_not_looked_for_one_by_one(postgres_url: str, plans: list[str]) -> None:
    store = Database(postgres_url)
    with store.write() as rows:
        for statement in _FILL:
            rows.exec_driver_sql(statement)
        assert count_stray(rows, 1) == 0
        mend(rows, 1, [])
    store.close()

    assert len(plans) == 4
    # A subplan that is too large for a hash reads all chunks again for each vector.
    assert [plan for plan in plans if "SubPlan" in plan] == []
