"""Rows of a JSON-lines file with their line numbers, and faults that name the line.

for line, row in read_jsonl(Path("data/train.jsonl")): ...
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from storage.errors import StorageError

_SHOWN = 10
_BOM = b"\xef\xbb\xbf"


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """`(line number from 1, row)` for every line that is not blank.

    Raises StorageError at the first line that is no JSON object in UTF-8, and when the file cannot be opened.
    """
    for line, row in scan_jsonl(path):
        if isinstance(row, str):
            raise StorageError(f"{path}:{line}: {row}")
        yield line, row


def scan_jsonl(path: Path) -> Iterator[tuple[int, dict[str, object] | str]]:
    """As `read_jsonl`, but a faulty line yields what is wrong with it, so that a caller can list all faults."""
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
        raise StorageError(f"cannot read {str(path)!r}: {error.strerror or error}") from error


def faults_error(path: Path, faults: Sequence[tuple[int, str]]) -> StorageError:
    """One error for all `(line, fault)` pairs of a file; the first ten are listed."""
    shown = "; ".join(f"{path}:{line}: {fault}" for line, fault in faults[:_SHOWN])
    if len(faults) == 1:
        return StorageError(shown)
    more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    return StorageError(f"{len(faults)} faulty lines: {shown}{more}")


def _parse(raw: bytes) -> dict[str, object] | str:
    """The row, or what is wrong with the line."""
    try:
        row = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        return f"not UTF-8 (byte {raw[error.start]:#04x} at {error.start + 1}); save the file as UTF-8"
    except json.JSONDecodeError as error:
        return f"not valid JSON ({error.msg} at column {error.colno}); write one JSON object a line"
    except RecursionError:
        return "nested too deeply"
    if not isinstance(row, dict):
        return f"a JSON {_json_type(row)} where an object is needed"
    if b"\\u" in raw and not _is_encodable(row):
        return "half of a surrogate pair (\\ud800 to \\udfff) in a string; write the whole character"
    return row


def _is_encodable(row: object) -> bool:
    try:
        json.dumps(row, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _json_type(value: object) -> str:
    names: dict[type, str] = {list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
