"""A database of the first version is brought up to date in place, whoever opens it, and loses nothing."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from rag.chunking.chunk import Chunk, ChunkSettings
from rag.documents.document import Document
from rag.embedding.embeddings import embed_chunks, text_hash
from rag.errors import RagError
from rag.index import Index
from rag.store.migrations import VERSION_TABLE
from rag.store.schema import METADATA, SCHEMA_VERSION
from rag.store.store import Store, sqlite_url

ROOT = Path(__file__).parents[3]

# As the first version made them, statement for statement.
V1 = """
CREATE TABLE rag_schema (version INTEGER NOT NULL);
CREATE TABLE indexes (
    id INTEGER NOT NULL, name TEXT NOT NULL, embedder TEXT NOT NULL, chunk_tokens INTEGER NOT NULL,
    overlap_tokens INTEGER NOT NULL, generation INTEGER NOT NULL, version TEXT NOT NULL,
    num_documents INTEGER NOT NULL, num_chunks INTEGER NOT NULL, indexing_s FLOAT NOT NULL,
    PRIMARY KEY (id), UNIQUE (name));
CREATE TABLE pending_embeddings (
    index_name TEXT NOT NULL, embedder TEXT NOT NULL, text_hash TEXT NOT NULL, vector BLOB NOT NULL,
    embed_s FLOAT NOT NULL, PRIMARY KEY (index_name, embedder, text_hash));
CREATE TABLE documents (
    index_id INTEGER NOT NULL, id TEXT NOT NULL, title TEXT NOT NULL, metadata TEXT NOT NULL,
    content_hash TEXT NOT NULL, PRIMARY KEY (index_id, id), FOREIGN KEY(index_id) REFERENCES indexes (id));
CREATE TABLE chunks (
    index_id INTEGER NOT NULL, document_id TEXT NOT NULL, position INTEGER NOT NULL, id TEXT NOT NULL,
    text TEXT NOT NULL, text_hash TEXT NOT NULL, vector BLOB NOT NULL, embed_s FLOAT NOT NULL,
    PRIMARY KEY (index_id, document_id, position), UNIQUE (index_id, id),
    FOREIGN KEY(index_id) REFERENCES indexes (id));
CREATE INDEX ix_chunks_text_hash ON chunks (text_hash);
INSERT INTO rag_schema VALUES (1);
"""
SETTINGS = ChunkSettings(5, 2)
PIECES = ("one two three four five", "four five six seven eight")


@pytest.fixture
def home(tmp_path: Path, embedder: Any) -> Path:
    """A home with an index of the first version: one document of two chunks, which share two words."""
    home = tmp_path / "home"
    home.mkdir()
    connection = sqlite3.connect(home / "rag.sqlite")
    connection.executescript("PRAGMA journal_mode=WAL;" + V1)
    connection.execute("INSERT INTO indexes VALUES (7, 'faq', 'fake@1', 5, 2, 3, 'old', 1, 2, 0.5)")
    metadata = json.dumps({"source": "a.md", "year": 2020, "draft": True, "tags": ["x"]})
    connection.execute("INSERT INTO documents VALUES (7, 'a', 'Count', ?, 'hash')", (metadata,))
    for position, piece in enumerate(PIECES):
        chunk = Chunk(f"id{position}", "a", "Count", piece, position)
        vector = embedder.embed([f"Count\n{piece}"])[0].tobytes()
        values = (position, chunk.id, piece, text_hash(chunk), vector, 0.25)
        connection.execute("INSERT INTO chunks VALUES (7, 'a', ?, ?, ?, ?, ?, ?)", values)
    waiting = embedder.embed(["waiting"])[0].tobytes()
    waiting_hash = text_hash(Chunk("", "", "", "waiting", 0))
    connection.execute("INSERT INTO pending_embeddings VALUES ('faq', 'fake@1', ?, ?, 0.1)", (waiting_hash, waiting))
    connection.commit()
    connection.close()
    return home


def test_what_the_first_version_indexed_is_searched_without_embedding(home: Path, make_embedder: Any) -> None:
    embedder = make_embedder()
    index = Index.open(home, "faq", embedder)

    passage = index.search("seven", 1)[0]

    assert (passage.text, passage.document_id, passage.title) == (PIECES[1], "a", "Count")
    assert embedder.num_embedded == 1  # the query
    assert (index.num_documents, index.num_chunks, index.indexing_s, index.generation) == (1, 2, 0.5, 3)
    assert index.chunk_settings == SETTINGS


def test_a_documents_text_is_put_together_again_and_its_chunks_are_slices_of_it(home: Path, embedder: Any) -> None:
    index = Index.open(home, "faq", embedder)

    document = index.document("a")

    assert document is not None
    assert document.text == "one two three four five six seven eight"
    assert document.source == "a.md"
    for chunk in index.chunks_of("a"):
        assert document.text[chunk.start : chunk.end] == chunk.text
    assert index.verify().problems == ()


def test_attributes_are_those_of_the_metadata(home: Path, embedder: Any) -> None:
    Index.open(home, "faq", embedder).close()

    with sqlite3.connect(home / "rag.sqlite") as connection:
        found = connection.execute("SELECT key, kind, text, number FROM attributes ORDER BY key").fetchall()
    assert found == [
        ("draft", "boolean", None, 1.0),
        ("source", "text", "a.md", None),
        ("year", "number", None, 2020.0),
    ]


def test_the_next_sync_embeds_nothing_that_was_embedded_before(home: Path, make_embedder: Any) -> None:
    embedder = make_embedder()
    index = Index.create(home, "faq", embedder, SETTINGS)

    report = index.sync([Document("w", "", "waiting")])

    assert (report.added, report.removed, report.embedded_chunks) == (1, 1, 0)


def test_two_processes_may_open_an_old_database_at_once(home: Path) -> None:
    script = f"from rag.store.store import Store, sqlite_url; Store(sqlite_url({str(home / 'rag.sqlite')!r}))"
    script = script.replace("sqlite_url(", "sqlite_url(__import__('pathlib').Path(", 1).replace("'))", "')))")
    processes = [
        subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(3)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]

    assert [process.returncode for process in processes] == [0, 0, 0], errors
    with sqlite3.connect(home / "rag.sqlite") as connection:
        assert connection.execute("SELECT version FROM rag_schema").fetchall() == [(SCHEMA_VERSION,)]
        assert connection.execute("SELECT count(*) FROM chunks").fetchone() == (2,)


def test_a_migration_that_fails_leaves_the_old_database(home: Path) -> None:
    with sqlite3.connect(home / "rag.sqlite") as connection:
        connection.execute("UPDATE documents SET metadata = 'no JSON'")
        before = list(connection.iterdump())

    with pytest.raises(RagError, match=r"damaged rows .*Expecting value.*move it away"):
        Store(sqlite_url(home / "rag.sqlite"))

    with sqlite3.connect(home / "rag.sqlite") as connection:
        assert list(connection.iterdump()) == before


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_new_database_and_a_migrated_one_have_the_same_tables(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = str(sqlite_url(tmp_path / "old.sqlite")) if database == "sqlite" else request.getfixturevalue("postgres_url")
    engine = sa.create_engine(url)
    statements = V1 if database == "sqlite" else V1.replace(" BLOB", " BYTEA")
    with engine.begin() as connection:
        for statement in filter(str.strip, statements.split(";")):
            connection.execute(sa.text(statement))

    Store(url).close()

    def is_ours(thing: Any, name: str, type_: str, *_: object) -> bool:
        return not (type_ == "table" and name == VERSION_TABLE)

    with engine.connect() as connection:
        options = {"include_object": is_ours, "compare_type": True}
        difference = compare_metadata(MigrationContext.configure(connection, opts=options), METADATA)
        assert connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalars().all() == [
            f"{SCHEMA_VERSION:04}"
        ]
    assert difference == []
    engine.dispose()


def test_what_a_stopped_run_of_the_second_version_has_embedded_is_found(tmp_path: Path, make_embedder: Any) -> None:
    embedder = make_embedder()
    url = sqlite_url(tmp_path / "rag.sqlite")
    Store(url).close()
    chunk = Chunk("", "a", "", "waiting", 0)
    with sqlite3.connect(tmp_path / "rag.sqlite") as connection:
        connection.execute("DROP INDEX pending_by_age")
        connection.execute("ALTER TABLE pending_embeddings DROP COLUMN kept_at")
        connection.execute("UPDATE rag_schema SET version = 2")
        values = (text_hash(chunk), 0.1, embedder.embed(["waiting"])[0].tobytes())
        connection.execute("INSERT INTO pending_embeddings VALUES ('faq', '', 'fake@1', ?, ?, ?)", values)

    store = Store(url)

    # Neither forgotten as too old nor embedded again.
    for chunks, made in (([Chunk("", "b", "", "other", 0)], 1), ([chunk], 0)):
        assert embed_chunks(chunks, embedder, store, index_name="faq", origin="")[1] == made
    store.close()
