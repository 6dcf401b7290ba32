"""What all tables share: `sa.Table("decisions", TABLES, sa.Column("sequence", NUMBER, primary_key=True))`.

The tables stand beside the code that uses them. storage/migrations makes them; a test holds both equal, so a change of
a table comes with a migration.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

TABLES = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)
# A number of 64 bits. On SQLite only a plain INTEGER key is the row's own address, and counts up by itself.
NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
# Ordered by code point, on PostgreSQL too.
PLAIN = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
