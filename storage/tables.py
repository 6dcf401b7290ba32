"""What all tables share: `sa.Table("decisions", TABLES, sa.Column("sequence", NUMBER, primary_key=True))`.

Frozen dataclasses are rows: `FILES.insert().values(values_of(upload))` and `read_row(StoreFile, row)`. A field has the
name of its column; columns that no field names are the store's own.

The tables stand beside the code that uses them. storage/migrations makes them; a test holds both equal, so a change of
a table comes with a migration.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

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


def values_of(stored: DataclassInstance) -> dict[str, Any]:
    """The fields, not copied, by name."""
    return {field.name: getattr(stored, field.name) for field in dataclasses.fields(stored)}


def read_row(kind: type[T], row: Any) -> T:
    """What a row of a SELECT holds; a field without a column has its default."""
    names = (field.name for field in dataclasses.fields(kind))
    return kind(**{name: row._mapping[name] for name in names if name in row._mapping})
