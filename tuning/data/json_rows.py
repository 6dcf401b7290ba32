"""Rows in JSON, however a file holds them: a value a line, one after the other, a list, columns as pandas has them.

number_rows(rows_in({"question": {"0": "When?"}, "answer": {"0": "nine"}}))  # (1, {"question": "When?", ...})
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from storage.jsonl import parse_lines
from tuning.data.formats.given import Row
from tuning.data.formats.messages import are_messages

# Keys under which a JSON or YAML file may keep its rows.
ROW_KEYS = ("results", "input_data", "samples", "data", "rows", "examples", "tests", "goldens", "questions")

Numbered = tuple[int, Row | str]


def rows_of_bytes(data: bytes, *, is_lines: bool) -> tuple[list[Numbered], bool]:
    """The rows of a file, and whether their numbers are lines. `is_lines` says that its name promises a value a line;
    the other form is read under either name.

    Raises ValueError, UnicodeDecodeError among them, and RecursionError for a value that holds no rows.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # as PowerShell writes
        data = data.decode("utf-16", "replace").encode()
    lines: list[Numbered] = [*parse_lines(data.split(b"\n"))]
    start = data.removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    has_rows = any(isinstance(row, Mapping) and not (len(lines) == 1 and _wraps(row)) for _, row in lines)
    if is_lines and (start not in (b"[", b"{") or (start == b"{" and has_rows)):
        return lines, True
    try:
        return list(number_rows(rows_in(json.loads(data.decode("utf-8-sig"))))), False
    except (ValueError, RecursionError) as error:
        is_several = str(error).startswith("Extra data")
        if is_several and not has_rows and (values := _one_after_another(data)):
            return list(number_rows(values)), False
        if is_lines or is_several:
            return lines, True
        raise


def number_rows(rows: Iterable[Any]) -> Iterator[Numbered]:
    """Rows with their numbers from 1, and what is wrong with one that is no object."""
    for number, row in enumerate(rows, start=1):
        yield number, row if isinstance(row, Mapping) else "not an object"


def rows_in(value: Any) -> list[Any]:
    """The rows in a JSON value: a list, an object with a list of them under a usual key, or an object of columns.

    Raises ValueError for anything else.
    """
    if isinstance(value, list):
        # Rows as a datasets server sends them are wrapped with their number.
        return [row.get("row", row) if isinstance(row, Mapping) and "row_idx" in row else row for row in value]
    if isinstance(value, Mapping):
        names, held = value.get("columns"), value.get("data")
        if isinstance(names, list) and isinstance(held, list) and all(isinstance(cells, list) for cells in held):
            return [dict(zip(names, cells, strict=True)) for cells in held]  # pandas' orient="split"
        for key in ROW_KEYS:
            if isinstance(value.get(key), list) and any(map(_is_object, value[key])):
                return rows_in(value[key])
        columns = list(value.values())
        if any(map(are_messages, columns)):  # one conversation
            return [value]
        if columns and all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
            return [dict(zip(value, cells, strict=True)) for cells in zip(*columns, strict=True)]
        if columns and all(isinstance(column, Mapping) and column.keys() == columns[0].keys() for column in columns):
            return _from_pandas(value)
    raise ValueError(f"it holds no rows, which are a list of objects, or one under {', '.join(ROW_KEYS)}")


def _wraps(row: Mapping[str, Any]) -> bool:
    """Whether an object is no row, but holds some."""
    return any(isinstance(row.get(key), list) and any(map(_is_object, row[key])) for key in ROW_KEYS)


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping)


def _from_pandas(value: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """Rows of an object of objects with equal keys: `{"question": {"0": ...}}`, or orient="index", `{"0": {...}}`."""
    inner = next(iter(value.values()))
    is_index = [all(key.isdecimal() for key in keys) for keys in (value, inner)]
    # Rows of other names than numbers are more than columns.
    if is_index == [True, False] or (is_index == [False, False] and len(value) > len(inner)):
        return list(value.values())
    return [{name: column[place] for name, column in value.items()} for place in inner]


def _one_after_another(data: bytes) -> list[Any]:
    """Values over several lines each, as jq prints them; none where something else is among them."""
    decoder, text, place, values = json.JSONDecoder(), data.decode("utf-8-sig").lstrip(), 0, []
    while place < len(text):
        try:
            value, place = decoder.raw_decode(text, place)
        except ValueError:
            return []
        values.append(value)
        place += len(text[place:]) - len(text[place:].lstrip())
    return values
