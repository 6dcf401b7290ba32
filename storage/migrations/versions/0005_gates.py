"""What gates said when a decision was promoted, and who let it pass in spite of that."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("promotions", sa.Column("overridden_by", sa.Text))
    op.add_column("promotions", sa.Column("override_reason", sa.Text))
    op.add_column("promotions", sa.Column("overridden", sa.JSON))
    op.add_column("promotions", sa.Column("gate_warnings", sa.JSON))
