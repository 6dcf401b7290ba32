"""Rows of a table, whatever file it is in: JSON lines, JSON, CSV, Parquet, or a folder that `datasets` saved.

for place, row in scan_rows(Path("testset.csv")): ...  # "row 2", {"user_input": "...", ...}
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eval.errors import EvalError
from storage.jsonl import scan_jsonl
from tuning.data.spreadsheet import scan_cells

Row = Mapping[str, Any]

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
# Keys under which a JSON file may keep its rows.
ROW_KEYS = ("results", "input_data", "samples", "data", "rows", "examples")


def scan_rows(path: Path) -> Iterator[tuple[str, Row | str]]:
    """`(place, row)` for every row, and what is wrong in place of a faulty one.

    In CSV, a cell that holds a JSON or Python list is that list. Raises ArbiterError for a file that cannot be read, of
    another kind or no table.
    """
    match kind := "folder" if path.is_dir() else path.suffix.lower():
        case ".jsonl":
            yield from ((f"line {line}", row) for line, row in scan_jsonl(path))
        case ".csv":
            for number, cells in scan_cells(path):
                row = cells if isinstance(cells, str) else {name: _cell(text) for name, text in cells.items()}
                yield f"row {number}", row
        case _:
            for number, row in enumerate(_whole(path, kind), start=1):
                yield f"row {number}", row if isinstance(row, Mapping) else "not an object"


def _whole(path: Path, kind: str) -> list[Any]:
    """The rows of a file that can only be read as a whole."""
    try:
        match kind:
            case ".json":
                return _rows_in(json.loads(path.read_text(encoding="utf-8-sig")))
            case ".parquet":
                import pyarrow.parquet

                with pyarrow.parquet.ParquetFile(path) as file:
                    return list(file.read().to_pylist())
            case "folder":
                import datasets

                found = datasets.load_from_disk(str(path))
                if isinstance(found, datasets.DatasetDict):
                    raise ValueError(f"it holds the splits {', '.join(found)}; give one of its folders")
                return list(found.to_list())
        raise ValueError("it is of another kind")
    except (OSError, ValueError, NotImplementedError, RecursionError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise EvalError(
            f"cannot read rows from {str(path)!r}: {reason}; kinds read: {', '.join(SUFFIXES)}, and a folder that "
            "`datasets` saved"
        ) from error


def _rows_in(value: Any) -> list[Any]:
    """The rows in a JSON value: a list, an object with a list of them under a usual key, or an object of columns."""
    if isinstance(value, list):
        # Rows as a datasets server sends them are wrapped with their number.
        return [row.get("row", row) if isinstance(row, Mapping) and "row_idx" in row else row for row in value]
    if isinstance(value, Mapping):
        for key in ROW_KEYS:
            if isinstance(value.get(key), list):
                return _rows_in(value[key])
        columns = list(value.values())
        if columns and all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
            return [dict(zip(value, cells, strict=True)) for cells in zip(*columns, strict=True)]
    raise ValueError(f"it holds no rows, which are a list of objects, or one under {', '.join(ROW_KEYS)}")


def _cell(text: str) -> Any:
    """A cell's text, or the list that it spells."""
    if text[0] == "[" and text[-1] == "]":
        for read in (json.loads, ast.literal_eval):
            try:
                return read(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
    return text
