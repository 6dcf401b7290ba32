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


def scan_jsonl(path: Path) -> Iterator[tuple[int, dict[str, object] | str]]:
    """`(line number from 1, row)` for every line that is not blank, what is wrong with it in place of a faulty row.

    Raises StorageError when the file cannot be opened.
    """
    try:
        with path.open("rb") as file:
            # Read as bytes: U+2028 in a string is no line break, and a line of another encoding spoils only itself.
            for line, raw in enumerate(file, start=1):
                text = raw.removeprefix(_BOM) if line == 1 else raw
                if text.strip():
                    yield line, _parse(text)
    except FileNotFoundError:
        raise StorageError(f"no file {str(path)!r}; check the path") from None
    except OSError as error:
        raise StorageError(f"cannot read {str(path)!r}: {reason_of(error)}") from error


def sound_rows(
    path: Path, rows: Iterable[tuple[int, Row | str]], *, called: str, like: str, error: type[ArbiterError]
) -> tuple[Row, ...]:
    """The rows of a file; `rows` holds what is wrong in place of a faulty one, each with its line.

    Raises `error` with all faults (the first ten are listed), and when there is no row, which is `like` this.
    """
    found = list(rows)
    faults = [f"line {line}: {row}" for line, row in found if isinstance(row, str)]
    if faults:
        raise error(f"{path}: {len(faults)} faulty {called}: {listed(faults)}")
    if not found:
        raise error(f"{path} holds no {called}; add rows like {like}")
    return tuple(row for _, row in found if not isinstance(row, str))


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
