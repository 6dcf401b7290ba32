"""The first tables: documents without their text, chunks with their vectors."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    schema = op.create_table("rag_schema", sa.Column("version", sa.Integer, nullable=False))
    op.bulk_insert(schema, [{"version": 1}])
    op.create_table(
        "indexes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("embedder", sa.Text, nullable=False),
        sa.Column("chunk_tokens", sa.Integer, nullable=False),
        sa.Column("overlap_tokens", sa.Integer, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("num_documents", sa.Integer, nullable=False),
        sa.Column("num_chunks", sa.Integer, nullable=False),
        sa.Column("indexing_s", sa.Float, nullable=False),
    )
    op.create_table(
        "documents",
        sa.Column("index_id", sa.Integer, sa.ForeignKey("indexes.id"), primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("content_hash", sa.Text, nullable=False),
    )
    op.create_table(
        "chunks",
        sa.Column("index_id", sa.Integer, sa.ForeignKey("indexes.id"), primary_key=True),
        sa.Column("document_id", sa.Text, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("text_hash", sa.Text, nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.Column("embed_s", sa.Float, nullable=False),
        sa.UniqueConstraint("index_id", "id"),
    )
    op.create_index("ix_chunks_text_hash", "chunks", ["text_hash"])
    op.create_table(
        "pending_embeddings",
        sa.Column("index_name", sa.Text, primary_key=True),
        sa.Column("embedder", sa.Text, primary_key=True),
        sa.Column("text_hash", sa.Text, primary_key=True),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.Column("embed_s", sa.Float, nullable=False),
    )
