"""Rows of a table, whatever file it is in: JSON lines, JSON, CSV, XLSX, Parquet, Arrow, YAML, or a folder that
`datasets` saved.

table = read_table(Path("testset.csv"))
table.rows  # (2, {"user_input": "...", ...}), (3, "5 cells for 4 columns; ..."), ...
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from storage.errors import StorageError, listed, reason_of
from storage.jsonl import parse_lines
from tuning.data.formats.given import Row
from tuning.data.formats.messages import are_messages
from tuning.data.spreadsheet import scan_cells, scan_sheet

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet", ".tsv", ".xlsx", ".arrow", ".ndjson", ".yaml", ".yml")
# Keys under which a JSON or YAML file may keep its rows.
ROW_KEYS = ("results", "input_data", "samples", "data", "rows", "examples", "tests", "goldens", "questions")
# What Git LFS leaves in place of a file.
_POINTER, _POINTER_BYTES = b"version https://git-lfs.github.com/", 1024
# A hub's name for a part of a file: train-00000-of-00003.parquet.
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<rest>\..+)")


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a file with their numbers, and what is wrong in place of a faulty one; `unit` is what is counted.
    `notes` say what else the file holds.
    """

    rows: tuple[tuple[int, Row | str], ...]
    unit: Literal["line", "row"] = "line"
    notes: tuple[str, ...] = ()


def read_table(path: Path) -> Table:
    """The rows of a file, of all the files that a first one of several stands for by its name
    (`train-00000-of-00003.parquet`), or of a folder that `datasets` saved.

    Raises StorageError for what cannot be read, is of another kind or no table.
    """
    if path.is_file() and path.stat().st_size < _POINTER_BYTES and _bytes(path).startswith(_POINTER):
        raise StorageError(f"{str(path)!r} stands for a file that was not fetched; fetch it: git lfs pull")
    match kind := "folder" if path.is_dir() else path.suffix.lower():
        case ".jsonl" | ".ndjson" | ".json":
            return _json(_bytes(path), path)
        case ".csv" | ".tsv":
            return Table(tuple(scan_cells(path)))
        case ".xlsx":
            rows, notes = scan_sheet(path)
            return Table(rows, "row", notes)
        case _:
            found = (row for shard in shards_of(path) for row in _whole(shard, kind))
            return Table(tuple(_numbered(found)), "row")


def shards_of(path: Path) -> tuple[Path, ...]:
    """The file, or all that its name counts. Raises StorageError naming those that are not there."""
    if (shard := _SHARD.fullmatch(path.name)) is None:
        return (path,)
    names = (f"{shard['stem']}-{i:05}-of-{shard['count']}{shard['rest']}" for i in range(int(shard["count"])))
    paths = tuple(path.with_name(name) for name in names)
    if lost := [other.name for other in paths if not other.exists()]:
        raise StorageError(
            f"{path} is one of {len(paths)} files, and {listed(lost, separator=', ')} is missing; fetch it"
        )
    return paths


def stem_of(path: Path) -> str:
    """What the rows of a file are called by: its name without suffix and number."""
    shard = _SHARD.fullmatch(path.name)
    return shard["stem"] if shard else path.stem


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read()
    except FileNotFoundError:
        raise StorageError(f"no file {str(path)!r}; check the path") from None
    except OSError as error:
        raise StorageError(f"cannot read {str(path)!r}: {reason_of(error)}") from error


def _json(data: bytes, path: Path) -> Table:
    """Rows of a value a line, or of one JSON value, whichever the file holds under either name."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # as PowerShell writes
        data = data.decode("utf-16", "replace").encode()
    lines = Table(tuple(parse_lines(data.split(b"\n"))))
    is_lines, start = path.suffix.lower() != ".json", data.removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    has_rows = any(isinstance(row, Mapping) for _, row in lines.rows)
    if is_lines and (start not in (b"[", b"{") or (start == b"{" and has_rows)):
        return lines
    try:
        return Table(tuple(_numbered(rows_in(json.loads(data.decode("utf-8-sig"))))), "row")
    except (ValueError, RecursionError) as error:
        if is_lines or str(error).startswith("Extra data"):
            return lines
        if isinstance(error, UnicodeDecodeError):
            reason = f"not UTF-8 (byte {data[error.start]:#04x} at {error.start + 1}); save it as UTF-8"
            raise StorageError(f"cannot read rows from {str(path)!r}: {reason}") from error
        raise _unreadable(path, error) from error


def _whole(path: Path, kind: str) -> Iterable[Any]:
    """The rows of a file that can only be read as a whole."""
    try:
        match kind:
            case ".parquet":
                import pyarrow.parquet

                with pyarrow.parquet.ParquetFile(path) as file:
                    return _of_arrow(file.read())
            case ".arrow":
                import pyarrow

                with pyarrow.memory_map(str(path)) as file:
                    try:
                        return _of_arrow(pyarrow.ipc.open_stream(file).read_all())
                    except pyarrow.ArrowInvalid:
                        return _of_arrow(pyarrow.ipc.open_file(file).read_all())
            case ".yaml" | ".yml":
                import yaml

                # All scalars are texts: by YAML 1.1 the word Yes would be true.
                return rows_in(yaml.load(_bytes(path), Loader=yaml.BaseLoader))
            case "folder":
                return _saved(path)
        raise ValueError("it is of another kind")
    except (OSError, ValueError, NotImplementedError, RecursionError, _yaml_error()) as error:
        raise _unreadable(path, error) from error


def _yaml_error() -> type[Exception]:
    import yaml

    return yaml.YAMLError


def _unreadable(path: Path, error: Exception) -> StorageError:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return StorageError(
        f"cannot read rows from {str(path)!r}: {reason}; kinds read: {', '.join(SUFFIXES)}, and a folder that "
        "`datasets` saved"
    )


def _saved(path: Path) -> list[Any]:
    import datasets

    found = datasets.load_from_disk(str(path))
    if isinstance(found, datasets.DatasetDict):
        raise ValueError(f"it holds the splits {', '.join(found)}; give one of its folders")
    return _of_arrow(found.with_format("arrow")[:])


def _of_arrow(table: Any) -> list[Any]:
    """Rows of an Arrow table; the numbers of labels that `datasets` names are those names, -1 is none."""
    rows: list[Any] = table.to_pylist()
    described = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    features = (described.get("info") or {}).get("features") or {}
    for column, feature in features.items():
        if isinstance(feature, Mapping) and isinstance(labels := feature.get("names"), list):
            for row in rows:
                number = row.get(column)
                row[column] = labels[number] if isinstance(number, int) and 0 <= number < len(labels) else None
    return rows


def _numbered(rows: Iterable[Any]) -> Iterator[tuple[int, Row | str]]:
    for number, row in enumerate(rows, start=1):
        yield number, row if isinstance(row, Mapping) else "not an object"


def rows_in(value: Any) -> list[Any]:
    """The rows in a JSON value: a list, an object with a list of them under a usual key, or an object of columns."""
    if isinstance(value, list):
        # Rows as a datasets server sends them are wrapped with their number.
        return [row.get("row", row) if isinstance(row, Mapping) and "row_idx" in row else row for row in value]
    if isinstance(value, Mapping):
        names, held = value.get("columns"), value.get("data")
        if isinstance(names, list) and isinstance(held, list) and all(isinstance(cells, list) for cells in held):
            return [dict(zip(names, cells, strict=True)) for cells in held]  # pandas' orient="split"
        for key in ROW_KEYS:
            if isinstance(value.get(key), list) and any(isinstance(row, Mapping) for row in value[key]):
                return rows_in(value[key])
        columns = list(value.values())
        if any(map(are_messages, columns)):  # one conversation
            return [value]
        if columns and all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
            return [dict(zip(value, cells, strict=True)) for cells in zip(*columns, strict=True)]
        # Pandas' own orientation: {"question": {"0": ...}}.
        if columns and all(isinstance(column, Mapping) and column.keys() == columns[0].keys() for column in columns):
            return [{name: column[place] for name, column in value.items()} for place in columns[0]]
    raise ValueError(f"it holds no rows, which are a list of objects, or one under {', '.join(ROW_KEYS)}")
