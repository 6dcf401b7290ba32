"""The tables of uploaded files, of vector stores, of which files stand in which, and of batches of them."""

from __future__ import annotations

from typing import Literal, get_args

import sqlalchemy as sa

from storage.tables import NUMBER, TABLES

Status = Literal["in_progress", "completed", "failed", "cancelled"]
STATUSES: tuple[Status, ...] = get_args(Status)
# What is being deleted is hidden at once, and its row stays until the index and the disk have followed.
DELETING = "deleting"

FILES = sa.Table(
    "files",
    TABLES,
    sa.Column("sequence", NUMBER, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("filename", sa.Text, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("num_bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("is_deleting", sa.Boolean, nullable=False, default=False),
    # The data directory that its bytes lie in.
    sa.Column("home", sa.Text),
)
STORES = sa.Table(
    "vector_stores",
    TABLES,
    sa.Column("sequence", NUMBER, primary_key=True),
    # The name of its index.
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("last_active_at", sa.BigInteger, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("metadata", sa.JSON),
    # None until it is chosen, at the latest by the first file.
    sa.Column("chunking", sa.JSON(none_as_null=True)),
    # Made over HTTP, so that it exists before its index does.
    sa.Column("is_own", sa.Boolean, nullable=False),
    sa.Column("is_deleting", sa.Boolean, nullable=False, default=False),
)
STORE_FILES = sa.Table(
    "vector_store_files",
    TABLES,
    sa.Column("sequence", NUMBER, primary_key=True),
    sa.Column("store_id", sa.ForeignKey(STORES.c.id, ondelete="CASCADE"), nullable=False),
    # The file's id; it is the document's id in the index, too.
    sa.Column("id", sa.ForeignKey(FILES.c.id), nullable=False, index=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("status", sa.Text, nullable=False, index=True),
    sa.Column("last_error", sa.JSON),
    # What it comes into the index with; of a file that is there the index's hold.
    sa.Column("attributes", sa.JSON, nullable=False),
    # How often its indexing broke off.
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.UniqueConstraint("store_id", "id"),
)
BATCHES = sa.Table(
    "file_batches",
    TABLES,
    sa.Column("sequence", NUMBER, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("store_id", sa.ForeignKey(STORES.c.id, ondelete="CASCADE"), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("is_cancelled", sa.Boolean, nullable=False, default=False),
)
BATCH_FILES = sa.Table(
    "file_batch_files",
    TABLES,
    sa.Column("batch_id", sa.ForeignKey(BATCHES.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("file_id", sa.Text, primary_key=True),
)
