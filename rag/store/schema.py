"""The tables of an index database, as the newest migration leaves them (`rag/store/migrations/versions/`).

A change here comes with a migration, and SCHEMA_VERSION counts them: a test holds both equal.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

SCHEMA_VERSION = 3

METADATA = sa.MetaData(
    naming_convention={"pk": "pk_%(table_name)s", "fk": "fk_%(table_name)s", "uq": "uq_%(table_name)s"}
)

# On SQLite only a plain INTEGER key is the row's own address.
_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
# Ordered by code point, on PostgreSQL too.
_PLAIN = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def _index_id() -> sa.Column[int]:
    return sa.Column("index_id", sa.ForeignKey("indexes.id", ondelete="CASCADE"), primary_key=True)


def _document() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["index_id", "document_id"], ["documents.index_id", "documents.id"], ondelete="CASCADE"
    )


# Read before anything else, and by programs of any age: what wrote this database.
SCHEMA = sa.Table("rag_schema", METADATA, sa.Column("version", sa.Integer, nullable=False))
# The next chunk number. Numbers are never given twice, whatever is deleted.
NUMBERS = sa.Table("numbers", METADATA, sa.Column("next", sa.BigInteger, nullable=False))
INDEXES = sa.Table(
    "indexes",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", _PLAIN, nullable=False, unique=True),
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
    METADATA,
    _index_id(),
    sa.Column("generation", sa.BigInteger, primary_key=True),
    sa.Column("token", sa.Text, nullable=False),
)
# The long text stands last: SQLite reads a row's columns in their order.
DOCUMENTS = sa.Table(
    "documents",
    METADATA,
    _index_id(),
    sa.Column("id", _PLAIN, primary_key=True),
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
    METADATA,
    sa.Column("number", _NUMBER, primary_key=True, autoincrement=False),
    sa.Column("index_id", sa.Integer, nullable=False),
    sa.Column("document_id", _PLAIN, nullable=False),
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
    METADATA,
    sa.Column("number", sa.ForeignKey("chunks.number", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    sa.Column("index_id", sa.Integer, nullable=False),
    sa.Column("embed_s", sa.Double, nullable=False),
    sa.Column("vector", sa.LargeBinary, nullable=False),
    sa.Index("vectors_by_index", "index_id", "number"),
)
# Numbers that were deleted, and by which generation, for views that are older.
TOMBSTONES = sa.Table(
    "tombstones",
    METADATA,
    _index_id(),
    sa.Column("generation", sa.BigInteger, primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True),
)
# What filters compare: the plain values at the top of a document's metadata. A number or boolean is in `number`.
ATTRIBUTES = sa.Table(
    "attributes",
    METADATA,
    sa.Column("index_id", sa.Integer, primary_key=True),
    sa.Column("document_id", _PLAIN, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("text", _PLAIN),
    sa.Column("number", sa.Double),
    _document(),
    sa.Index("attributes_by_text", "index_id", "key", "kind", "text", "document_id"),
    sa.Index("attributes_by_number", "index_id", "key", "kind", "number", "document_id"),
)
# Vectors of a run that has not committed yet, and when it made them, in seconds since 1970: what a killed run has
# embedded is not embedded again.
PENDING = sa.Table(
    "pending_embeddings",
    METADATA,
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
CONVERSIONS = sa.Table(
    "conversions",
    METADATA,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("used_at", sa.Double, nullable=False),
    sa.Column("pages", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
)
