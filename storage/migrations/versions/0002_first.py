"""The first tables: indexes, uploaded files and vector stores, evals, decisions, jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = None

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
PLAIN = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "chunk_numbers",
        sa.Column("next", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "indexes",
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
    op.create_table(
        "generations",
        sa.Column("index_id", sa.Integer, sa.ForeignKey("indexes.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("generation", sa.BigInteger, primary_key=True),
        sa.Column("token", sa.Text, nullable=False),
    )
    op.create_table(
        "documents",
        sa.Column("index_id", sa.Integer, sa.ForeignKey("indexes.id", ondelete="CASCADE"), primary_key=True),
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
    )
    op.create_index("documents_by_origin", "documents", ["index_id", "origin", "id", "content_hash"])
    op.create_table(
        "chunks",
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
        sa.UniqueConstraint("index_id", "document_id", "position"),
        sa.ForeignKeyConstraint(
            ["index_id", "document_id"], ["documents.index_id", "documents.id"], ondelete="CASCADE"
        ),
    )
    op.create_index("chunks_by_generation", "chunks", ["index_id", "generation"])
    op.create_index("chunks_by_text_hash", "chunks", ["text_hash"])
    op.create_table(
        "vectors",
        sa.Column(
            "number", NUMBER, sa.ForeignKey("chunks.number", ondelete="CASCADE"), primary_key=True, autoincrement=False
        ),
        sa.Column("index_id", sa.Integer, nullable=False),
        sa.Column("embed_s", sa.Double, nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
    )
    op.create_index("vectors_by_index", "vectors", ["index_id", "number"])
    op.create_table(
        "tombstones",
        sa.Column("index_id", sa.Integer, sa.ForeignKey("indexes.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("generation", sa.BigInteger, primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True),
    )
    op.create_table(
        "attributes",
        sa.Column("index_id", sa.Integer, primary_key=True),
        sa.Column("document_id", PLAIN, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("text", PLAIN),
        sa.Column("number", sa.Double),
        sa.ForeignKeyConstraint(
            ["index_id", "document_id"], ["documents.index_id", "documents.id"], ondelete="CASCADE"
        ),
    )
    op.create_index("attributes_by_number", "attributes", ["index_id", "key", "kind", "number", "document_id"])
    op.create_index("attributes_by_text", "attributes", ["index_id", "key", "kind", "text", "document_id"])
    op.create_table(
        "pending_embeddings",
        sa.Column("index_name", sa.Text, primary_key=True),
        sa.Column("origin", sa.Text, primary_key=True),
        sa.Column("embedder", sa.Text, primary_key=True),
        sa.Column("text_hash", sa.Text, primary_key=True),
        sa.Column("embed_s", sa.Double, nullable=False),
        sa.Column("kept_at", sa.Double, nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
    )
    op.create_index("pending_by_age", "pending_embeddings", ["kept_at"])
    op.create_index("pending_by_text_hash", "pending_embeddings", ["text_hash"])
    op.create_table(
        "files",
        sa.Column("sequence", NUMBER, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("num_bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("is_deleting", sa.Boolean, nullable=False),
    )
    op.create_table(
        "vector_stores",
        sa.Column("sequence", NUMBER, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("last_active_at", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("metadata", sa.JSON),
        sa.Column("chunking", sa.JSON),
        sa.Column("is_own", sa.Boolean, nullable=False),
        sa.Column("is_deleting", sa.Boolean, nullable=False),
    )
    op.create_table(
        "vector_store_files",
        sa.Column("sequence", NUMBER, primary_key=True),
        sa.Column("store_id", sa.Text, sa.ForeignKey("vector_stores.id", ondelete="CASCADE"), nullable=False),
        sa.Column("id", sa.Text, sa.ForeignKey("files.id"), nullable=False, index=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False, index=True),
        sa.Column("last_error", sa.JSON),
        sa.Column("attributes", sa.JSON, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.UniqueConstraint("store_id", "id"),
    )
    op.create_table(
        "file_batches",
        sa.Column("sequence", NUMBER, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("store_id", sa.Text, sa.ForeignKey("vector_stores.id", ondelete="CASCADE"), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("is_cancelled", sa.Boolean, nullable=False),
    )
    op.create_table(
        "file_batch_files",
        sa.Column("batch_id", sa.Text, sa.ForeignKey("file_batches.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("file_id", sa.Text, primary_key=True),
    )
    op.create_table(
        "evals",
        sa.Column("sequence", NUMBER, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("updates", sa.BigInteger, nullable=False, unique=True),
        sa.Column("card", sa.JSON, nullable=False),
    )
    op.create_table(
        "eval_runs",
        sa.Column("sequence", NUMBER, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("eval_id", sa.Text, sa.ForeignKey("evals.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("status", sa.Text, nullable=False, index=True),
        sa.Column("error", sa.JSON),
        sa.Column("work", sa.JSON, nullable=False),
        sa.Column("card", sa.JSON, nullable=False),
    )
    op.create_table(
        "eval_items",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("run_id", sa.Text, sa.ForeignKey("eval_runs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("card", sa.JSON, nullable=False),
        sa.UniqueConstraint("run_id", "position"),
    )
    op.create_table(
        "decisions",
        sa.Column("sequence", NUMBER, nullable=False, unique=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("scope", sa.Text, nullable=False, index=True),
        sa.Column("config_fingerprint", sa.Text, nullable=False, index=True),
        sa.Column("card", sa.JSON, nullable=False),
        sa.Column("evidence", sa.JSON, nullable=False),
    )
    op.create_table(
        "promotions",
        sa.Column("sequence", NUMBER, primary_key=True),
        sa.Column("scope", sa.Text, nullable=False, index=True),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("decision_id", sa.Text, sa.ForeignKey("decisions.id"), nullable=False),
        sa.Column("previous_id", sa.Text, sa.ForeignKey("decisions.id")),
        sa.Column("promoted_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "jobs",
        sa.Column("sequence", NUMBER, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False, index=True),
        sa.Column("owner", sa.Text),
        sa.Column("seen_at", sa.Double, nullable=False),
        sa.Column("is_again", sa.Boolean, nullable=False),
        sa.Column("is_cancelling", sa.Boolean, nullable=False),
        sa.Column("progress", sa.JSON, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("ended_at", sa.Double),
    )
    op.create_table(
        "job_events",
        sa.Column("sequence", NUMBER, primary_key=True),
        sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
    )
    op.execute("INSERT INTO chunk_numbers VALUES (1)")
