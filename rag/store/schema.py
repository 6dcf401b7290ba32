"""The tables of indexes: documents, chunks, vectors, and what is needed to keep views of them up to date."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

import sqlalchemy as sa

from storage.tables import NUMBER, PLAIN, TABLES

# SQLite allows 32,766 variables in a statement.
VARIABLES = 5_000
# Rows that are made into dictionaries at a time.
BATCH = 2_000

T = TypeVar("T")


def parts(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """The values in lists of up to `size`."""
    remaining = iter(values)
    while part := list(islice(remaining, size)):
        yield part


def _index_id() -> sa.Column[int]:
    return sa.Column("index_id", sa.ForeignKey("indexes.id", ondelete="CASCADE"), primary_key=True)


def _document() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["index_id", "document_id"], ["documents.index_id", "documents.id"], ondelete="CASCADE"
    )


# The next chunk number. Numbers are never given twice, whatever is deleted.
NUMBERS = sa.Table("chunk_numbers", TABLES, sa.Column("next", sa.BigInteger, nullable=False))
INDEXES = sa.Table(
    "indexes",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", PLAIN, nullable=False, unique=True),
    sa.Column("embedder", sa.Text, nullable=False),
    sa.Column("settings", sa.Text, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("token", sa.Text, nullable=False),
    sa.Column("content_sum", sa.Text, nullable=False),
    sa.Column("num_documents", sa.BigInteger, nullable=False),
    sa.Column("num_chunks", sa.BigInteger, nullable=False),
    sa.Column("indexing_s", sa.Double, nullable=False),
)
# The token of each generation that a view may still be brought up to date from. A generation number alone would not
# do: a restored or dropped index counts through the same numbers again, with other rows.
GENERATIONS = sa.Table(
    "generations",
    TABLES,
    _index_id(),
    sa.Column("generation", sa.BigInteger, primary_key=True),
    sa.Column("token", sa.Text, nullable=False),
)
# The long text stands last: SQLite reads a row's columns in their order.
DOCUMENTS = sa.Table(
    "documents",
    TABLES,
    _index_id(),
    sa.Column("id", PLAIN, primary_key=True),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("content_hash", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("num_chunks", sa.Integer, nullable=False),
    sa.Column("num_chars", sa.Integer, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("pages", sa.Text, nullable=False),
    sa.Column("metadata", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Index("documents_by_origin", "index_id", "origin", "id", "content_hash"),
)
CHUNKS = sa.Table(
    "chunks",
    TABLES,
    sa.Column("number", NUMBER, primary_key=True, autoincrement=False),
    sa.Column("index_id", sa.Integer, nullable=False),
    sa.Column("document_id", PLAIN, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("text_hash", sa.Text, nullable=False),
    sa.Column("start", sa.Integer, nullable=False),
    sa.Column("page", sa.Integer),
    sa.Column("headings", sa.Text, nullable=False),
    sa.Column("context_start", sa.Integer),
    sa.Column("context_end", sa.Integer),
    sa.Column("text", sa.Text, nullable=False),
    _document(),
    sa.UniqueConstraint("index_id", "document_id", "position"),
    sa.Index("chunks_by_text_hash", "text_hash"),
    sa.Index("chunks_by_generation", "index_id", "generation"),
)
# Apart from the chunks, so that texts are read without vectors and vectors without texts.
VECTORS = sa.Table(
    "vectors",
    TABLES,
    sa.Column("number", sa.ForeignKey("chunks.number", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    sa.Column("index_id", sa.Integer, nullable=False),
    sa.Column("embed_s", sa.Double, nullable=False),
    sa.Column("vector", sa.LargeBinary, nullable=False),
    sa.Index("vectors_by_index", "index_id", "number"),
)
# Numbers that were deleted, and by which generation, for views that are older.
TOMBSTONES = sa.Table(
    "tombstones",
    TABLES,
    _index_id(),
    sa.Column("generation", sa.BigInteger, primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True),
)
# What filters compare: the plain values at the top of a document's metadata. A number or boolean is in `number`.
ATTRIBUTES = sa.Table(
    "attributes",
    TABLES,
    sa.Column("index_id", sa.Integer, primary_key=True),
    sa.Column("document_id", PLAIN, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("text", PLAIN),
    sa.Column("number", sa.Double),
    _document(),
    sa.Index("attributes_by_text", "index_id", "key", "kind", "text", "document_id"),
    sa.Index("attributes_by_number", "index_id", "key", "kind", "number", "document_id"),
)
# Vectors of a run that has not committed yet, and when it made them, in seconds since 1970: what a killed run has
# embedded is not embedded again.
PENDING = sa.Table(
    "pending_embeddings",
    TABLES,
    sa.Column("index_name", sa.Text, primary_key=True),
    sa.Column("origin", sa.Text, primary_key=True),
    sa.Column("embedder", sa.Text, primary_key=True),
    sa.Column("text_hash", sa.Text, primary_key=True),
    sa.Column("embed_s", sa.Double, nullable=False),
    sa.Column("kept_at", sa.Double, nullable=False),
    sa.Column("vector", sa.LargeBinary, nullable=False),
    sa.Index("pending_by_text_hash", "text_hash"),
    sa.Index("pending_by_age", "kept_at"),
)
