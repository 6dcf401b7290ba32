"""Metadata filters in OpenAI's form: which documents a search may give passages of.

found = parse_filter({"type": "and", "filters": [
    {"type": "eq", "key": "language", "value": "en"},
    {"type": "gte", "key": "year", "value": 2020},
]})
matches(found, {"language": "en", "year": 2024})  # True

Texts, numbers and booleans are compared only with their like. A document without the attribute, or with one of another
kind, is not equal to the value: `ne` and `nin` are true of it, everything else is false. Texts are ordered by code
point, so that dates like 2026-01-31 are in order.
"""

from __future__ import annotations

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

_ORDERS: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_COMPARISONS = ("eq", "ne", "gt", "gte", "lt", "lte", "in", "nin")
_COMPOUNDS = ("and", "or")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One attribute against a value; `in` and `nin` have several values, the others one."""

    type: str
    key: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Compound:
    """`and` or `or` of at least one filter."""

    type: str
    filters: tuple[Comparison | Compound, ...]


Filter = Comparison | Compound


def parse_filter(value: object) -> Filter:
    """The filter in a JSON value. Raises RagError naming the fault, or the limit that the filter is over."""
    parsed = _parse(value, 1)
    if (compared := _num_compared(parsed)) > MAX_COMPARED:
        raise RagError(f"filter compares with {compared} values; it may with {MAX_COMPARED}")
    if (comparisons := _num_comparisons(parsed)) > MAX_COMPARISONS:
        raise RagError(f"filter has {comparisons} comparisons; it may have {MAX_COMPARISONS}: give values as 'in'")
    return parsed


def kind_of(value: object) -> Kind | None:
    """What a value is compared as; None for what is not compared: lists, objects, null, and numbers beyond floats."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "text"
    if isinstance(value, int | float):
        try:
            return "number" if math.isfinite(value) else None
        except OverflowError:
            return None
    return None


def matches(found: Filter, attributes: Mapping[str, object]) -> bool:
    """Whether a document with these attributes passes the filter."""
    if isinstance(found, Compound):
        parts = (matches(part, attributes) for part in found.filters)
        return all(parts) if found.type == "and" else any(parts)
    present = attributes.get(found.key)
    kind = kind_of(present)
    order, is_negated = _order(found)
    # A database holds numbers as floats.
    one = float(present) if kind == "number" else present  # type: ignore[arg-type]
    holds = any(kind is not None and kind == kind_of(value) and order(one, value) for value in found.values)
    return holds != is_negated


def filter_clause(
    found: Filter, attributes: sa.Table, index_id: int, document_id: sa.ColumnElement[str]
) -> sa.ColumnElement[bool]:
    """The filter as SQL: true of the rows whose `document_id` is that of a document that passes it.

    `attributes` has the columns index_id, document_id, key, kind, text and number; booleans are the numbers 0 and 1. In
    PostgreSQL its text must have the collation "C", the order of code points.
    """
    if isinstance(found, Compound):
        parts = [filter_clause(part, attributes, index_id, document_id) for part in found.filters]
        return sa.and_(*parts) if found.type == "and" else sa.or_(*parts)
    rows = attributes.alias()
    order, is_negated = _order(found)
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
    return document_id.not_in(passing) if is_negated else document_id.in_(passing)


def _order(found: Comparison) -> tuple[Callable[[Any, Any], Any], bool]:
    """What compares an attribute with one value, and whether the result is turned round."""
    return _ORDERS.get(found.type, operator.eq), found.type in ("ne", "nin")


def _parse(value: object, depth: int) -> Filter:
    if depth > MAX_DEPTH:
        raise RagError(f"filter is nested more than {MAX_DEPTH} deep; write it flatter")
    if not isinstance(value, Mapping):
        raise RagError(f"a filter is an object with a type, not {_shown(value)}")
    kind = value.get("type")
    if kind in _COMPOUNDS:
        _check_keys(value, {"type", "filters"})
        parts = value["filters"]
        if not isinstance(parts, list | tuple) or not parts:
            raise RagError(f"filters of {kind!r} must be a list of at least one filter, not {_shown(parts)}")
        return Compound(str(kind), tuple(_parse(part, depth + 1) for part in parts))
    if kind not in _COMPARISONS:
        names = ", ".join((*_COMPARISONS, *_COMPOUNDS))
        raise RagError(f"filter type must be one of {names}, not {_shown(kind)}")
    _check_keys(value, {"type", "key", "value"})
    key = value["key"]
    if not isinstance(key, str) or not key or not _is_storable(key):
        raise RagError(f"filter key must be a text of 1 to {MAX_CHARS} characters, not {_shown(key)}")
    compared = value["value"]
    if kind not in ("in", "nin"):
        return Comparison(str(kind), key, (_parse_value(str(kind), key, compared),))
    if not isinstance(compared, list | tuple) or not compared:
        raise RagError(f"filter {kind!r} on {key!r} needs a list of at least one value, not {_shown(compared)}")
    return Comparison(str(kind), key, tuple(_parse_value(str(kind), key, part) for part in compared))


def _parse_value(type_: str, key: str, value: object) -> Value:
    kind = kind_of(value)
    if kind == "text" and _is_storable(value):
        return str(value)
    if kind == "number":
        return float(value)  # type: ignore[arg-type]
    if kind == "boolean":
        if type_ in ("gt", "gte", "lt", "lte"):
            raise RagError(f"filter {type_!r} on {key!r} cannot order {value!r}; give it a number or a text")
        return bool(value)
    raise RagError(
        f"filter {type_!r} on {key!r} compares with a number, a boolean or a text of up to {MAX_CHARS} characters, "
        f"not {_shown(value)}"
    )


def _check_keys(value: Mapping[object, object], expected: set[str]) -> None:
    for key in sorted(expected - value.keys()):
        raise RagError(f"filter of type {value['type']!r} lacks {key!r}")
    for other in sorted(value.keys() - expected, key=str):
        raise RagError(f"filter of type {value['type']!r} has no {_shown(other)}; it has {', '.join(sorted(expected))}")


def _is_storable(value: object) -> bool:
    """Databases take neither NUL nor half a surrogate pair in a text."""
    text = str(value)
    return len(text) <= MAX_CHARS and "\0" not in text and not any("\ud800" <= sign <= "\udfff" for sign in text)


def _num_compared(found: Filter) -> int:
    if isinstance(found, Compound):
        return sum(_num_compared(part) for part in found.filters)
    return len(found.values)


def _num_comparisons(found: Filter) -> int:
    return sum(map(_num_comparisons, found.filters)) if isinstance(found, Compound) else 1


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
