"""The rows that are the truth about every index of a home: `with Store(url).read() as rows: rows.state("faq")`.

Documents, chunks and embeddings of an index change together with its generation number, in one transaction. The FAISS
files are a view of these rows (`rag/view.py`).
"""

from __future__ import annotations

import contextlib
import errno
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from rag.chunking.chunk import Chunk, ChunkSettings
from rag.documents.document import Document
from rag.errors import RagError
from rag.store.schema import CHUNKS, DOCUMENTS, INDEXES, METADATA, PENDING, SCHEMA, SCHEMA_VERSION

# A second process waits this long for the first one's transaction, which holds no embedding work.
_BUSY_TIMEOUT_S = 30.0
# SQLite allows 32,766 variables in a statement.
_VARIABLES = 5_000


@dataclass(frozen=True, slots=True)
class IndexState:
    """The row of one index: what it was built with, and what it holds."""

    id: int
    name: str
    embedder: str
    settings: ChunkSettings
    generation: int
    version: str
    num_documents: int
    num_chunks: int
    indexing_s: float


@dataclass(frozen=True, slots=True)
class Embedding:
    """A unit vector, (d,) float32, and the seconds that embedding its text took."""

    vector: NDArray[np.float32]
    embed_s: float


class Conflict(Exception):
    """Another process changed the index since its state was read; read again and start over."""


class Store:
    """The database at a SQLAlchemy URL; safe to use from several threads and processes."""

    def __init__(self, url: str | sa.URL) -> None:
        """Opens the database, and creates its tables if it has none.

        Raises RagError if it is no database, another program's, or written by a newer version of this one.
        """
        self._url = sa.make_url(url)
        self._where = self._url.database or self._url.render_as_string()
        is_sqlite = self._url.get_backend_name() == "sqlite"
        arguments = {"timeout": _BUSY_TIMEOUT_S} if is_sqlite else {}
        isolation = {} if is_sqlite else {"isolation_level": "REPEATABLE READ"}
        self._engine = sa.create_engine(self._url, connect_args=arguments, **isolation)
        if is_sqlite:
            sa.event.listen(self._engine, "connect", _configure_sqlite)
            sa.event.listen(self._engine, "begin", _begin_sqlite)
        # A write transaction that first reads would fail, not wait, if another one commits in between.
        self._writer = self._engine.execution_options(begin="BEGIN IMMEDIATE")
        self._prepare()

    @contextlib.contextmanager
    def read(self) -> Iterator[Rows]:
        """One consistent view of all rows, whatever others commit meanwhile."""
        with self._explained("read"), self._engine.connect() as connection, connection.begin():
            yield Rows(connection)

    @contextlib.contextmanager
    def write(self) -> Iterator[Rows]:
        """One transaction: all of it is committed at the end of the block, nothing if the block raises."""
        with self._explained("written"), self._writer.begin() as connection:
            yield Rows(connection)

    def close(self) -> None:
        self._engine.dispose()

    def _prepare(self) -> None:
        with self.read() as rows:
            version = rows.schema_version(self._where)
        if version is None:
            with self.write() as rows:
                if rows.schema_version(self._where) is None:
                    rows.create_schema()
        elif version > SCHEMA_VERSION:
            raise RagError(
                f"{self._where!r} was written by a newer version of arbiter (schema {version}, not {SCHEMA_VERSION}); "
                "install that one"
            )

    @contextlib.contextmanager
    def _explained(self, action: str) -> Iterator[None]:
        try:
            yield
        except (sa.exc.SQLAlchemyError, sqlite3.Error, OSError) as error:
            cause = getattr(error, "orig", None) or error
            raise RagError(f"{self._where!r} cannot be {action}: {advice(cause)}") from error


class Rows:
    """The statements on one open transaction. Methods that take `index_id` touch that index only."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def schema_version(self, where: str) -> int | None:
        """None if the database has no tables of ours yet; RagError if they are somebody else's."""
        tables = set(sa.inspect(self._connection).get_table_names())
        if SCHEMA.name in tables:
            return int(self._connection.execute(sa.select(SCHEMA.c.version)).scalar_one())
        if taken := sorted(tables & set(METADATA.tables)):
            raise RagError(f"{where!r} is another program's database (it has a table {taken[0]!r}); move it away")
        return None

    def create_schema(self) -> None:
        METADATA.create_all(self._connection)
        self._connection.execute(SCHEMA.insert().values(version=SCHEMA_VERSION))

    def state(self, name: str) -> IndexState | None:
        row = self._connection.execute(sa.select(INDEXES).where(INDEXES.c.name == name)).one_or_none()
        if row is None:
            return None
        return IndexState(
            id=row.id,
            name=row.name,
            embedder=row.embedder,
            settings=ChunkSettings(row.chunk_tokens, row.overlap_tokens),
            generation=row.generation,
            version=row.version,
            num_documents=row.num_documents,
            num_chunks=row.num_chunks,
            indexing_s=row.indexing_s,
        )

    def advance(self, name: str, seen: IndexState | None, embedder: str, settings: ChunkSettings) -> IndexState:
        """The index with its next generation number. Raises Conflict if it is no longer what was `seen`."""
        built_with = {
            "embedder": embedder,
            "chunk_tokens": settings.chunk_tokens,
            "overlap_tokens": settings.overlap_tokens,
        }
        if seen is None:
            try:
                self._connection.execute(INDEXES.insert().values(name=name, generation=1, **built_with))
            except sa.exc.IntegrityError as error:
                raise Conflict from error
        else:
            changed = self._connection.execute(
                INDEXES.update()
                .where(INDEXES.c.id == seen.id, INDEXES.c.generation == seen.generation)
                .values(generation=seen.generation + 1, **built_with)
            )
            if changed.rowcount != 1:
                raise Conflict
        state = self.state(name)
        assert state is not None
        return state

    def summarise(self, index_id: int, version: str) -> None:
        """Writes the version and the totals of the rows as they are now into the index's row."""
        chunks = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(CHUNKS.c.embed_s), 0.0))
        num_chunks, indexing_s = self._connection.execute(chunks.where(CHUNKS.c.index_id == index_id)).one()
        documents = sa.select(sa.func.count()).where(DOCUMENTS.c.index_id == index_id)
        self._connection.execute(
            INDEXES.update()
            .where(INDEXES.c.id == index_id)
            .values(
                version=version,
                num_documents=self._connection.execute(documents).scalar_one(),
                num_chunks=num_chunks,
                indexing_s=indexing_s,
            )
        )

    def content_hashes(self, index_id: int) -> dict[str, str]:
        """Document id -> hash of its content."""
        query = sa.select(DOCUMENTS.c.id, DOCUMENTS.c.content_hash).where(DOCUMENTS.c.index_id == index_id)
        return {row.id: row.content_hash for row in self._connection.execute(query)}

    def delete_documents(self, index_id: int, document_ids: Iterable[str]) -> None:
        """Removes the documents, their chunks and their embeddings."""
        rows = [{"gone": document_id} for document_id in document_ids]
        if rows:
            for table, column in ((CHUNKS, CHUNKS.c.document_id), (DOCUMENTS, DOCUMENTS.c.id)):
                statement = table.delete().where(table.c.index_id == index_id, column == sa.bindparam("gone"))
                self._connection.execute(statement, rows)

    def insert_documents(self, index_id: int, documents: Iterable[tuple[Document, str]]) -> None:
        """Adds documents, each with the hash of its content."""
        rows = [
            {
                "index_id": index_id,
                "id": document.id,
                "title": document.title,
                "metadata": json.dumps(dict(document.metadata), ensure_ascii=False),
                "content_hash": content_hash,
            }
            for document, content_hash in documents
        ]
        if rows:
            self._connection.execute(DOCUMENTS.insert(), rows)

    def insert_chunks(self, index_id: int, chunks: Iterable[tuple[Chunk, str, Embedding]]) -> None:
        """Adds chunks, each with the hash of what was embedded for it and the embedding."""
        rows = [
            {
                "index_id": index_id,
                "document_id": chunk.document_id,
                "position": chunk.position,
                "id": chunk.id,
                "text": chunk.text,
                "text_hash": text_hash,
                "vector": _to_bytes(embedding.vector),
                "embed_s": embedding.embed_s,
            }
            for chunk, text_hash, embedding in chunks
        ]
        if rows:
            self._connection.execute(CHUNKS.insert(), rows)

    def chunk_ids(self, index_id: int) -> list[str]:
        """In the order of document id and position: the order of the vectors."""
        query = sa.select(CHUNKS.c.id).where(CHUNKS.c.index_id == index_id)
        return list(self._connection.execute(query.order_by(CHUNKS.c.document_id, CHUNKS.c.position)).scalars())

    def vectors(self, index_id: int) -> NDArray[np.float32]:
        """(n, d) float32 in the order of `chunk_ids`; (0, 0) for an empty index."""
        query = sa.select(CHUNKS.c.vector).where(CHUNKS.c.index_id == index_id)
        rows = self._connection.execute(query.order_by(CHUNKS.c.document_id, CHUNKS.c.position)).scalars().all()
        return np.frombuffer(b"".join(rows), dtype="<f4").reshape(len(rows), -1 if rows else 0)

    def chunks(self, index_id: int, chunk_ids: Sequence[str]) -> dict[str, Chunk]:
        """The chunks with these ids, by id."""
        found = {}
        for part in _parts(chunk_ids):
            found.update({chunk.id: chunk for chunk in self._select_chunks(index_id, CHUNKS.c.id.in_(part))})
        return found

    def chunks_of(self, index_id: int, document_id: str) -> list[Chunk]:
        """A document's chunks in the order of their position; none if the document is unknown."""
        return sorted(
            self._select_chunks(index_id, CHUNKS.c.document_id == document_id), key=lambda chunk: chunk.position
        )

    def embeddings(self, embedder: str, text_hashes: Iterable[str]) -> dict[str, Embedding]:
        """The embeddings already made by this embedder, in whatever index or interrupted run, by hash of the text."""
        found: dict[str, Embedding] = {}
        done = CHUNKS.join(INDEXES, CHUNKS.c.index_id == INDEXES.c.id)
        for part in _parts(text_hashes):
            for query in (
                sa.select(CHUNKS.c.text_hash, CHUNKS.c.vector, CHUNKS.c.embed_s)
                .select_from(done)
                .where(INDEXES.c.embedder == embedder, CHUNKS.c.text_hash.in_(part)),
                sa.select(PENDING.c.text_hash, PENDING.c.vector, PENDING.c.embed_s).where(
                    PENDING.c.embedder == embedder, PENDING.c.text_hash.in_(part)
                ),
            ):
                for row in self._connection.execute(query):
                    found[row.text_hash] = Embedding(np.frombuffer(row.vector, dtype="<f4"), row.embed_s)
        return found

    def keep_pending(self, index_name: str, embedder: str, embeddings: Mapping[str, Embedding]) -> None:
        """Keeps embeddings (by hash of the text) of a run that is not finished."""
        rows = [
            {
                "index_name": index_name,
                "embedder": embedder,
                "text_hash": text_hash,
                "vector": _to_bytes(embedding.vector),
                "embed_s": embedding.embed_s,
            }
            for text_hash, embedding in embeddings.items()
        ]
        if rows:
            # Two runs on the same index may embed the same text; either vector will do.
            gone = sa.and_(
                PENDING.c.index_name == index_name,
                PENDING.c.embedder == embedder,
                PENDING.c.text_hash == sa.bindparam("gone"),
            )
            self._connection.execute(PENDING.delete().where(gone), [{"gone": row["text_hash"]} for row in rows])
            self._connection.execute(PENDING.insert(), rows)

    def drop_pending(self, index_name: str) -> None:
        self._connection.execute(PENDING.delete().where(PENDING.c.index_name == index_name))

    def _select_chunks(self, index_id: int, condition: sa.ColumnElement[bool]) -> list[Chunk]:
        of_document = sa.and_(DOCUMENTS.c.index_id == CHUNKS.c.index_id, DOCUMENTS.c.id == CHUNKS.c.document_id)
        query = (
            sa.select(
                CHUNKS.c.id,
                CHUNKS.c.document_id,
                DOCUMENTS.c.title,
                CHUNKS.c.text,
                CHUNKS.c.position,
                DOCUMENTS.c.metadata,
            )
            .select_from(CHUNKS.join(DOCUMENTS, of_document))
            .where(CHUNKS.c.index_id == index_id, condition)
        )
        return [Chunk(*row[:5], metadata=json.loads(row[5])) for row in self._connection.execute(query)]


def sqlite_url(file: Path) -> sa.URL:
    return sa.URL.create("sqlite", database=str(file))


def _configure_sqlite(connection: Any, _record: object) -> None:
    # Python's driver begins transactions late and not for reads; _begin_sqlite begins all of them.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))


def advice(error: BaseException) -> str:
    """What happened and what to do, in one line."""
    words = str(error).split("\n", 1)[0]
    if "disk is full" in words or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; nothing is lost, free some space and run the same command again"
    if "locked" in words:
        return "another process has been writing it for long; try again when that is done"
    if "not a database" in words or "malformed" in words:
        return f"it is not a database, or damaged ({words}); move it away and index the documents again"
    return words


def _parts(values: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(values)
    while part := list(islice(remaining, _VARIABLES)):
        yield part


def _to_bytes(vector: NDArray[np.float32]) -> bytes:
    return vector.astype("<f4", copy=False).tobytes()
