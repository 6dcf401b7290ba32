"""Which data directory the bytes of an uploaded file lie in; unknown of those from before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("files", sa.Column("home", sa.Text))
