"""The tables of an index database; `rag/store.py` holds every statement on them."""

from __future__ import annotations

import sqlalchemy as sa

SCHEMA_VERSION = 1

METADATA = sa.MetaData()
SCHEMA = sa.Table("rag_schema", METADATA, sa.Column("version", sa.Integer, nullable=False))
INDEXES = sa.Table(
    "indexes",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("embedder", sa.Text, nullable=False),
    sa.Column("chunk_tokens", sa.Integer, nullable=False),
    sa.Column("overlap_tokens", sa.Integer, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("version", sa.Text, nullable=False, default=""),
    sa.Column("num_documents", sa.Integer, nullable=False, default=0),
    sa.Column("num_chunks", sa.Integer, nullable=False, default=0),
    sa.Column("indexing_s", sa.Float, nullable=False, default=0.0),
)
DOCUMENTS = sa.Table(
    "documents",
    METADATA,
    sa.Column("index_id", sa.ForeignKey(INDEXES.c.id), primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("metadata", sa.Text, nullable=False),
    sa.Column("content_hash", sa.Text, nullable=False),
)
CHUNKS = sa.Table(
    "chunks",
    METADATA,
    sa.Column("index_id", sa.ForeignKey(INDEXES.c.id), primary_key=True),
    sa.Column("document_id", sa.Text, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("text_hash", sa.Text, nullable=False, index=True),
    sa.Column("vector", sa.LargeBinary, nullable=False),
    sa.Column("embed_s", sa.Float, nullable=False),
    sa.UniqueConstraint("index_id", "id"),
)
# Vectors of a run that has not committed yet: what a killed run has embedded is not embedded again.
PENDING = sa.Table(
    "pending_embeddings",
    METADATA,
    sa.Column("index_name", sa.Text, primary_key=True),
    sa.Column("embedder", sa.Text, primary_key=True),
    sa.Column("text_hash", sa.Text, primary_key=True),
    sa.Column("vector", sa.LargeBinary, nullable=False),
    sa.Column("embed_s", sa.Float, nullable=False),
)
