"""Rows of a table, whatever file it is in: JSON lines, JSON, CSV, XLSX, Parquet, Arrow, YAML, or a folder that
`datasets` saved.

table = read_table(Path("testset.csv"))
table.rows  # (2, {"user_input": "...", ...}), (3, "5 cells for 4 columns; ..."), ...
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from storage.errors import StorageError, listed, reason_of
from tuning.data.formats.given import Row
from tuning.data.json_rows import number_rows, rows_in, rows_of_bytes
from tuning.data.promptfoo_config import is_config, tests_in
from tuning.data.spreadsheet import Sheet, as_cell, is_workbook, scan_cells, scan_sheets

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet", ".tsv", ".xlsx", ".arrow", ".ndjson", ".yaml", ".yml")
# What Git LFS leaves in place of a file.
_POINTER, _POINTER_BYTES = b"version https://git-lfs.github.com/", 1024
# What a file of text begins with that was packed, or is of another kind than its name says.
_PACKED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip, or a workbook", b"PAR1": "Parquet", b"BZh": "bzip2"}
# A few lines of YAML can stand for billions of values.
_MOST_VALUES = 20_000_000
_CASES = (".yaml", ".yml")
_TEXTS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".yaml", ".yml")
# A hub's name for a part of a file: train-00000-of-00003.parquet.
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<rest>\..+)")


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a file with their numbers, and what is wrong in place of a faulty one; `unit` is what is counted.

    `notes` say what else the file holds; `more` are other tables in it, of which one may be meant. `empty` are columns
    that have a name and no value.
    """

    rows: tuple[tuple[int, Row | str], ...]
    unit: Literal["line", "row"] = "line"
    notes: tuple[str, ...] = ()
    more: tuple[Table, ...] = ()
    empty: tuple[str, ...] = ()


def read_table(path: Path) -> Table:
    """The rows of a file, of all the files that a first one of several stands for by its name
    (`train-00000-of-00003.parquet`), of a sheet (`faq.xlsx/train`), or of a folder that `datasets` saved.

    Raises StorageError for what cannot be read, is of another kind or no table.
    """
    shards = shards_of(path)
    if len(shards) == 1:
        return _read(path)
    tables = [_read(shard) for shard in shards]
    rows = (row for table in tables for _, row in table.rows)
    return Table(tuple(enumerate(rows, start=1)), "row")


def _read(path: Path) -> Table:
    if is_workbook(path.parent):
        return _of_sheets(tuple(sheet for sheet in scan_sheets(path.parent) if sheet.title == path.name))
    kind = "folder" if path.is_dir() else path.suffix.lower()
    if kind != "folder":
        _check_kind(path, kind)
    match kind:
        case ".jsonl" | ".ndjson" | ".json":
            return _json(path)
        case ".csv" | ".tsv":
            header: list[str] = []
            rows = tuple(scan_cells(path, header))
            return Table(rows, "row", empty=_empty(header, rows))
        case ".xlsx":
            return _of_sheets(scan_sheets(path))
        case _:
            return Table(tuple(number_rows(_whole(path, kind))), "row")


def _check_kind(path: Path, kind: str) -> None:
    """Raises StorageError for a pointer to a file, and for one whose content is of another kind than its name says."""
    head = _bytes(path, _POINTER_BYTES)
    if head.startswith(_POINTER):
        raise StorageError(f"{str(path)!r} stands for a file that was not fetched; fetch it: git lfs pull")
    packed = next((found for mark, found in _PACKED.items() if head.startswith(mark)), None)
    if packed is not None and kind in _TEXTS:
        raise StorageError(f"{str(path)!r} is no text but {packed}; unpack it, or name it by its kind")


def _of_sheets(sheets: tuple[Sheet, ...]) -> Table:
    """The first sheet of a workbook; the others are what may be meant as well."""
    tables = []
    for sheet in sheets:
        unread = listed((repr(other.title) for other in sheets if other is not sheet), separator=", ")
        note = (f"sheet {sheet.title!r} is read, and not {unread}",) if unread else ()
        tables.append(Table(sheet.rows, "row", (*note, *sheet.notes), empty=_empty(sheet.header, sheet.rows)))
    return replace(tables[0], more=tuple(tables[1:])) if tables else Table((), "row")


def _empty(header: Sequence[str], rows: Sequence[tuple[int, Row | str]]) -> tuple[str, ...]:
    filled = {name for _, row in rows if not isinstance(row, str) for name in row}
    return tuple(name for name in header if name not in filled)


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


def is_shard(name: str) -> bool:
    """Whether a file's name says that it is one of several."""
    return _SHARD.fullmatch(name) is not None


def stem_of(path: Path) -> str:
    """What the rows of a file are called by: its name without suffix and number."""
    shard = _SHARD.fullmatch(path.name)
    return shard["stem"] if shard else path.stem


def _bytes(path: Path, most: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except FileNotFoundError:
        raise StorageError(f"no file {str(path)!r}; check the path") from None
    except OSError as error:
        raise StorageError(f"cannot read {str(path)!r}: {reason_of(error)}") from error


def _json(path: Path) -> Table:
    data = _bytes(path)
    try:
        if path.name.startswith("promptfooconfig"):
            return Table(tuple(number_rows(_rows_of_value(_value(path), path))), "row")
        rows, are_lines = rows_of_bytes(data, is_lines=path.suffix.lower() != ".json")
        return Table(tuple(rows), "line" if are_lines else "row")
    except UnicodeDecodeError as error:
        reason = f"not UTF-8 (byte {data[error.start]:#04x} at {error.start + 1}); save it as UTF-8"
        raise StorageError(f"cannot read rows from {str(path)!r}: {reason}") from error
    except (ValueError, NotImplementedError, RecursionError) as error:
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
                return _rows_of_value(_yaml(path), path)
            case "folder":
                return _saved(path)
        raise ValueError("it is of another kind")
    except (OSError, ValueError, NotImplementedError, RecursionError, _yaml_error()) as error:
        raise _unreadable(path, error) from error


def _yaml(path: Path) -> Any:
    """The value of a YAML file; all scalars are texts, for by YAML 1.1 the word Yes would be true."""
    import yaml

    # libyaml's loader is ten times faster, and takes question marks in {question: When?}.
    value = yaml.load(_bytes(path), Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))
    if _num_values(value, {}) > _MOST_VALUES:
        raise ValueError("its aliases repeat more than can be read; write out what is meant")
    return value


def _num_values(value: Any, known: dict[int, int]) -> int:
    """How many values there are when every alias is written out."""
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    if id(value) not in known:
        known[id(value)] = 1 + sum(_num_values(one, known) for one in inner)
    return known[id(value)]


def _rows_of_value(value: Any, path: Path) -> list[Any]:
    """The rows in a value, the tests of a promptfoo config among them."""
    return tests_in(value, path, _value) if is_config(value) else rows_in(value)


def _value(path: Path) -> Any:
    """What a file that a config names holds."""
    if path.suffix.lower() in _CASES:
        return _yaml(path)
    if path.suffix.lower() == ".json":
        return json.loads(_bytes(path).decode("utf-8-sig"))
    return [row for _, row in read_table(path).rows]


def _yaml_error() -> type[Exception]:
    import yaml

    return yaml.YAMLError


def _unreadable(path: Path, error: Exception) -> StorageError:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    if (mark := getattr(error, "problem_mark", None)) is not None:
        reason = f"{getattr(error, 'problem', reason)} in line {mark.line + 1}, column {mark.column + 1}"
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
    """Rows of an Arrow table; the numbers of labels that `datasets` names are those names, -1 is none. What JSON cannot
    say is text: times, decimals, and bytes, which some writers have texts as.
    """
    import pyarrow.types as kinds

    rows: list[Any] = table.to_pylist()
    for field in table.schema:
        if kinds.is_temporal(field.type) or kinds.is_decimal(field.type) or "binary" in str(field.type):
            for row in rows:
                row[field.name] = _as_json(row[field.name])
    described = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    features = (described.get("info") or {}).get("features") or {}
    for column, feature in features.items():
        if isinstance(feature, Mapping) and isinstance(labels := feature.get("names"), list):
            for row in rows:
                number = row.get(column)
                row[column] = labels[number] if isinstance(number, int) and 0 <= number < len(labels) else None
    return rows


def _as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value) if isinstance(value, Decimal | timedelta) else as_cell(value)
