"""Metadata filters in OpenAI's form: which documents a search may give passages of.

parse_filter({"type": "and", "filters": [
    {"type": "eq", "key": "language", "value": "en"},
    {"type": "gte", "key": "year", "value": 2020},
]})

Texts, numbers and booleans are compared only with their like. A document without the attribute, or with one of another
kind, is not equal to the value: `ne` and `nin` are true of it, everything else is false. Texts are ordered by code
point, so that dates like 2026-01-31 are in order.
"""

from __future__ import annotations

import contextlib
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from rag.errors import RagError

MAX_DEPTH = 8
MAX_COMPARED = 1_000
MAX_CHARS = 512
# Each is a query of its own: 500 take seconds to prepare, and SQLite refuses more. A list of values is one.
MAX_COMPARISONS = 100

Value = str | bool | float
Kind = Literal["text", "number", "boolean"]

# What orders an attribute and a value; all other comparisons are of equality.
_ORDERS: dict[str, Callable[[Any, Any], Any]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_LISTS = ("in", "nin")
_COMPOUNDS = ("and", "or")
_TYPES = ("eq", "ne", *_ORDERS, *_LISTS, *_COMPOUNDS)


@dataclass(frozen=True, slots=True)
class Filter:
    """`and` or `or` of at least one filter, or the attribute `key` against values: several for `in` and `nin`."""

    type: str
    key: str = ""
    values: tuple[Value, ...] = ()
    filters: tuple[Filter, ...] = ()

    def comparisons(self) -> list[Filter]:
        return [one for part in self.filters for one in part.comparisons()] or [self]


def parse_filter(value: object) -> Filter:
    """The filter in a JSON value. Raises RagError naming the fault, or the limit that the filter is over."""
    parsed = _parse(value, 1)
    comparisons = parsed.comparisons()
    if (compared := sum(len(one.values) for one in comparisons)) > MAX_COMPARED:
        raise RagError(f"filter compares with {compared} values; it may with {MAX_COMPARED}")
    if len(comparisons) > MAX_COMPARISONS:
        raise RagError(f"filter has {len(comparisons)} comparisons; it may have {MAX_COMPARISONS}: give values as 'in'")
    return parsed


def kind_of(value: object) -> Kind | None:
    """What a value is compared as; None for what is not compared: lists, objects, null, and numbers beyond floats."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "text"
    with contextlib.suppress(OverflowError):
        if isinstance(value, int | float) and math.isfinite(value):
            return "number"
    return None


def filter_clause(
    found: Filter, attributes: sa.Table, index_id: int, document_id: sa.ColumnElement[str]
) -> sa.ColumnElement[bool]:
    """The filter as SQL: true of the rows whose `document_id` is that of a document that passes it.

    `attributes` has the columns index_id, document_id, key, kind, text and number; booleans are the numbers 0 and 1. In
    PostgreSQL its text must have the collation "C", the order of code points.
    """
    if found.filters:
        parts = [filter_clause(part, attributes, index_id, document_id) for part in found.filters]
        return sa.and_(*parts) if found.type == "and" else sa.or_(*parts)
    rows = attributes.alias()
    order: Callable[[Any, Any], Any] = _ORDERS.get(found.type, operator.eq)
    conditions = []
    kinds: tuple[Kind, ...] = ("text", "number", "boolean")
    for kind in kinds:
        column = rows.c.text if kind == "text" else rows.c.number
        values = [float(value) if kind == "boolean" else value for value in found.values if kind_of(value) == kind]
        if values:
            compared = column.in_(values) if len(values) > 1 else order(column, values[0])
            conditions.append(sa.and_(rows.c.kind == kind, compared))
    passing = sa.select(rows.c.document_id).where(
        rows.c.index_id == index_id, rows.c.key == found.key, sa.or_(*conditions)
    )
    return document_id.not_in(passing) if found.type in ("ne", "nin") else document_id.in_(passing)


def _parse(value: object, depth: int) -> Filter:
    if depth > MAX_DEPTH:
        raise RagError(f"filter is nested more than {MAX_DEPTH} deep; write it flatter")
    if not isinstance(value, Mapping):
        raise RagError(f"a filter is an object with a type, not {value!a:.100}")
    kind = value.get("type")
    if kind not in _TYPES:
        raise RagError(f"filter type must be one of {', '.join(_TYPES)}, not {kind!a:.100}")
    fields = {"type", "filters"} if kind in _COMPOUNDS else {"type", "key", "value"}
    if value.keys() != fields:
        raise RagError(f"filter {kind!r} must have {', '.join(sorted(fields))}, not {sorted(map(str, value))!a:.100}")
    given = value["filters"] if kind in _COMPOUNDS else value["value"]
    if kind in _COMPOUNDS + _LISTS and (not isinstance(given, list | tuple) or not given):
        parts = "filter" if kind in _COMPOUNDS else "value"
        raise RagError(f"filter {kind!r} needs a list of at least one {parts}, not {given!a:.100}")
    if kind in _COMPOUNDS:
        return Filter(str(kind), filters=tuple(_parse(part, depth + 1) for part in given))
    key = value["key"]
    if not isinstance(key, str) or not key or not _is_storable(key):
        raise RagError(f"filter key must be a text of 1 to {MAX_CHARS} characters, not {key!a:.100}")
    values = given if kind in _LISTS else [given]
    for one in values:
        if kind_of(one) is None or not _is_storable(one):
            raise RagError(
                f"filter {kind!r} on {key!r} compares with a number, a boolean or a text of up to {MAX_CHARS} "
                f"characters, not {one!a:.100}"
            )
        if kind in _ORDERS and isinstance(one, bool):
            raise RagError(f"filter {kind!r} on {key!r} cannot order {one!r}; give it a number or a text")
    # A database holds numbers as floats.
    return Filter(str(kind), key, tuple(float(one) if kind_of(one) == "number" else one for one in values))


def _is_storable(value: object) -> bool:
    """Databases take neither NUL nor half a surrogate pair in a text."""
    text = str(value)
    return len(text) <= MAX_CHARS and "\0" not in text and not any("\ud800" <= sign <= "\udfff" for sign in text)
