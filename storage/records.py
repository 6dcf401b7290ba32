"""Dataclasses out of JSON, checked by pydantic, and back: `from_json(Interval, '{"mean": 1, "low": 0, "high": 1}')`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

T = TypeVar("T")
Extra = Literal["forbid", "ignore"]


class WrongShape(ValueError):
    """JSON of something else: another version's, perhaps."""


def from_json(kind: type[T], text: str | bytes, *, extra: Extra = "forbid") -> T:
    """The value whose `dataclasses.asdict` was written; `extra` says what is done about keys besides.

    Raises WrongShape, and ValueError for what is no JSON.
    """
    found: T = _read(kind, lambda shape: shape.validate_json(text, strict=True, extra=extra))
    return found


def from_row(kind: type[T], row: object, *, extra: Extra = "forbid") -> T:
    """The same of what `json.loads` gave."""
    found: T = _read(kind, lambda shape: shape.validate_python(row, extra=extra))
    return found


def as_json(value: object) -> Any:
    """What JSON would give back: dataclasses are objects, times text, NaN and infinities null, the unknown its text."""
    return to_jsonable_python(value, inf_nan_mode="null", bytes_mode="base64", fallback=str)


def json_lines(rows: Iterable[object]) -> str:
    """Rows as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _read(kind: Any, read: Callable[[TypeAdapter[Any]], Any]) -> Any:
    try:
        return read(_adapter(kind))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        fault = ValueError if first["type"] == "json_invalid" else WrongShape
        raise fault(f"{where}: {first['msg']}".lstrip(": ")) from error
