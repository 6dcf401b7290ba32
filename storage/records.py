"""Dataclasses out of JSON, checked by pydantic: `from_json(Interval, '{"mean": 0.5, "low": 0.4, "high": 0.6}')`."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")
Extra = Literal["forbid", "ignore"]


class WrongShape(ValueError):
    """JSON of something else: another version's, perhaps."""


def from_json(kind: type[T], text: str | bytes, *, extra: Extra = "forbid") -> T:
    """The value whose `dataclasses.asdict` was written; `extra` says what is done about keys besides.

    Raises WrongShape, and ValueError for what is no JSON.
    """
    try:
        found: T = _adapter(kind).validate_json(text, strict=True, extra=extra)  # type: ignore[arg-type]  # a class is hashable
    except ValidationError as error:
        raise _fault(error) from error
    return found


def from_row(kind: type[T], row: object, *, extra: Extra = "forbid") -> T:
    """The same of what `json.loads` gave."""
    try:
        found: T = _adapter(kind).validate_python(row, extra=extra)  # type: ignore[arg-type]  # a class is hashable
    except ValidationError as error:
        raise _fault(error) from error
    return found


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _fault(error: ValidationError) -> ValueError:
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    return (ValueError if first["type"] == "json_invalid" else WrongShape)(f"{where}: {first['msg']}".lstrip(": "))
