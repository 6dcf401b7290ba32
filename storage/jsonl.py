"""Rows of a JSON-lines file with their line numbers, and faults that name the line.

for line, row in scan_jsonl(Path("data/train.jsonl")): ...
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic_core import from_json

from storage.errors import ArbiterError, StorageError, listed, reason_of

Row = TypeVar("Row")

_BOM = b"\xef\xbb\xbf"
_SHOWN_LINES = 5


def scan_jsonl(path: Path) -> Iterator[tuple[int, dict[str, object] | str]]:
    """`(line number from 1, row)` for every line that is not blank, what is wrong with it in place of a faulty row.

    Raises StorageError when the file cannot be opened.
    """
    try:
        with path.open("rb") as file:
            yield from parse_lines(file)
    except FileNotFoundError:
        raise StorageError(f"no file {str(path)!r}; check the path") from None
    except OSError as error:
        raise StorageError(f"cannot read {str(path)!r}: {reason_of(error)}") from error


def parse_lines(lines: Iterable[bytes]) -> Iterator[tuple[int, dict[str, object] | str]]:
    """The same of lines that are there. They are bytes: U+2028 in a string is no line break, and a line of another
    encoding spoils only itself.
    """
    for line, raw in enumerate(lines, start=1):
        text = raw.removeprefix(_BOM) if line == 1 else raw
        if text.strip():
            yield line, _parse(text)


def sound_rows(
    path: Path | str,
    rows: Iterable[tuple[int, Row | str]],
    *,
    called: str,
    like: str,
    error: type[ArbiterError],
    unit: str = "line",
) -> tuple[Row, ...]:
    """The rows of a file; `rows` holds what is wrong in place of a faulty one, each with its number of `unit`.

    Raises `error` with all faults (the first ten are listed), and when there is no row, which is `like` this.
    """
    found = list(rows)
    faults = [(number, row) for number, row in found if isinstance(row, str)]
    if faults:
        raise error(f"{path}: {len(faults)} faulty {called}: {listed(grouped(faults, unit))}")
    if not found:
        raise error(f"{path} holds no {called}; add rows like {like}")
    return tuple(row for _, row in found if not isinstance(row, str))


def grouped(faults: Iterable[tuple[int | str, str]], unit: str = "") -> list[str]:
    """Every fault once, with the places that have it: `lines 2, 5 and 7 more: no question`."""
    places: dict[str, list[str]] = {}
    for place, fault in faults:
        places.setdefault(fault, []).append(str(place))
    return [f"{_counted(unit, where)}: {fault}" for fault, where in places.items()]


def _counted(unit: str, where: list[str]) -> str:
    shown = listed(where, separator=", ", shown=_SHOWN_LINES)
    return f"{unit}{'s' if len(where) > 1 else ''} {shown}" if unit else shown


def _parse(raw: bytes) -> dict[str, object] | str:
    """The row, or what is wrong with the line."""
    try:
        row = from_json(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        return f"not UTF-8 (byte {raw[error.start]:#04x} at {error.start + 1}); save the file as UTF-8"
    except ValueError as error:
        # The line of this text is always its first.
        return f"not valid JSON ({str(error).replace('line 1 ', '')}); write one JSON object a line"
    if not isinstance(row, dict):
        names: dict[type, str] = {list: "array", str: "string", bool: "boolean", type(None): "null"}
        return f"a JSON {names.get(type(row), 'number')} where an object is needed"
    return row
