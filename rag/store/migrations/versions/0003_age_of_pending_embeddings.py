"""Embeddings of runs that were not ended tell when they were made, so that they need not be kept for ever."""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    # What is there already is as old as this moment.
    now = sa.text(repr(time.time()))
    op.add_column("pending_embeddings", sa.Column("kept_at", sa.Double, nullable=False, server_default=now))
    op.create_index("pending_by_age", "pending_embeddings", ["kept_at"])
    op.execute("UPDATE rag_schema SET version = 3")
