"""Frozen dataclasses as rows: `FILES.insert().values(values_of(file))`, and back: `read_row(StoredFile, row)`.

A field has the name of its column; columns that no field names are the store's own.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


def values_of(stored: DataclassInstance) -> dict[str, Any]:
    """The fields, not copied, by name."""
    return {field.name: getattr(stored, field.name) for field in dataclasses.fields(stored)}


def read_row(kind: type[T], row: Any) -> T:
    """What a row of a SELECT holds."""
    return kind(**{field.name: row._mapping[field.name] for field in dataclasses.fields(kind)})
