"""Rows of a table, whatever file it is in: JSON lines, JSON, CSV, Parquet, or a folder that `datasets` saved.

rows, faults = read_rows(Path("testset.csv"))  # [("line 2", {"user_input": "...", ...}), ...]
"""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.errors import EvalError
from storage.jsonl import scan_jsonl

if TYPE_CHECKING:
    import pyarrow.parquet

Row = Mapping[str, Any]
Placed = tuple[str, Row]

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
# Keys under which a JSON file may keep its rows.
ROW_KEYS = ("results", "input_data", "samples", "data", "rows", "examples")
# A context in a CSV cell may be long; the csv module's own limit is 128 KiB.
_CELL_CHARACTERS = 1 << 28


def read_rows(path: Path) -> tuple[list[Placed], list[str]]:
    """All rows with their places in the file, and the faults of those that cannot be read, a line each.

    In CSV, a cell that holds a JSON or Python list is that list. Raises EvalError for a file that is missing, of
    another kind or no table.
    """
    try:
        if path.is_dir():
            return _numbered(_read_saved_dataset(path)), []
        reader = {".jsonl": _read_jsonl, ".json": _read_json, ".csv": _read_csv, ".parquet": _read_parquet}.get(
            path.suffix.lower()
        )
        if reader is None:
            raise EvalError(f"cannot read rows from {str(path)!r}; kinds read: {', '.join(SUFFIXES)}")
        return reader(path)
    except FileNotFoundError:
        raise EvalError(f"no file {str(path)!r}; check the path") from None
    except OSError as error:
        raise EvalError(f"cannot read {str(path)!r}: {error.strerror or error}") from error


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises EvalError when it is not valid."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise EvalError(f"{str(path)!r} is not valid JSON ({error}); correct it") from error


def rows_of_json(value: Any) -> list[Any] | None:
    """The rows in a JSON value: a list, an object with a list of them under a usual key, or an object of columns."""
    if isinstance(value, list):
        return value
    if not isinstance(value, Mapping):
        return None
    for key in ROW_KEYS:
        if isinstance(value.get(key), list):
            return list(value[key])
    columns = list(value.values())
    if columns and all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
        return [dict(zip(value, cells, strict=True)) for cells in zip(*columns, strict=True)]
    return None


def _numbered(rows: Sequence[Row]) -> list[Placed]:
    return [(f"row {number}", row) for number, row in enumerate(rows, start=1)]


def _read_jsonl(path: Path) -> tuple[list[Placed], list[str]]:
    rows: list[Placed] = []
    faults: list[str] = []
    for line, row in scan_jsonl(path):
        if isinstance(row, str):
            faults.append(f"line {line}: {row}")
        else:
            rows.append((f"line {line}", row))
    return rows, faults


def _read_json(path: Path) -> tuple[list[Placed], list[str]]:
    found = rows_of_json(read_json(path))
    if found is None:
        raise EvalError(f"{str(path)!r} holds no rows; give a list of objects, or one under {', '.join(ROW_KEYS)}")
    places = [(f"row {number}", row) for number, row in enumerate(found, start=1)]
    # Rows as a datasets server sends them are wrapped with their number.
    unwrapped = [(place, row["row"] if _is_wrapped(row) else row) for place, row in places]
    faults = [f"{place}: not an object" for place, row in unwrapped if not isinstance(row, Mapping)]
    return [(place, row) for place, row in unwrapped if isinstance(row, Mapping)], faults


def _is_wrapped(row: object) -> bool:
    return isinstance(row, Mapping) and "row_idx" in row and isinstance(row.get("row"), Mapping)


def _read_csv(path: Path) -> tuple[list[Placed], list[str]]:
    rows: list[Placed] = []
    faults: list[str] = []
    former = csv.field_size_limit(_CELL_CHARACTERS)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restkey="")
            for row in reader:
                if "" in row:
                    faults.append(f"line {reader.line_num}: more cells than the header names")
                else:
                    rows.append((f"line {reader.line_num}", {key: _cell(text) for key, text in row.items()}))
    except (csv.Error, UnicodeDecodeError) as error:
        raise EvalError(f"{str(path)!r} is not valid CSV ({error}); save it as UTF-8 with a header line") from error
    finally:
        csv.field_size_limit(former)
    return rows, faults


def _cell(text: str | None) -> Any:
    """A cell's text, the list that it spells, or None for an empty one."""
    if not text:
        return None
    if text[0] == "[" and text[-1] == "]":
        for read in (json.loads, ast.literal_eval):
            try:
                return read(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
    return text


def _read_parquet(path: Path) -> tuple[list[Placed], list[str]]:
    return _numbered(read_parquet(path)), []


def read_parquet(path: Path) -> list[dict[str, Any]]:
    """The rows of a Parquet file. Raises EvalError when it is none."""
    with _parquet(path) as file:
        rows: list[dict[str, Any]] = file.read().to_pylist()
    return rows


def parquet_columns(path: Path) -> set[str]:
    """The names of a Parquet file's columns. Raises EvalError when it is none."""
    with _parquet(path) as file:
        return set(file.schema_arrow.names)


@contextmanager
def _parquet(path: Path) -> Iterator[pyarrow.parquet.ParquetFile]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except pyarrow.ArrowException as error:
        raise EvalError(f"{str(path)!r} is no Parquet file that can be read ({error})") from error


def _read_saved_dataset(path: Path) -> list[dict[str, Any]]:
    import datasets

    try:
        found = datasets.load_from_disk(str(path))
    except (FileNotFoundError, ValueError) as error:
        raise EvalError(f"{str(path)!r} holds no data set that can be read; give one of its files") from error
    if isinstance(found, datasets.DatasetDict):
        raise EvalError(f"{str(path)!r} holds the splits {', '.join(found)}; give one of its folders")
    rows: list[dict[str, Any]] = found.to_list()
    return rows
