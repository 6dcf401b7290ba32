"""Rows of a CSV file as a spreadsheet exports it, in the words of JSONL: `for number, row in scan_csv(path): ...`."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from storage.errors import StorageError, listed, reason_of

_COLUMNS = ("id", "question", "user_input", "answers", "answer", "reference", "doc_ids", "metadata")
# Excel's own word for the delimiter.
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*"')
_BETWEEN_IDS = re.compile(r"[;|\n]")


def scan_csv(path: Path) -> Iterator[tuple[int, dict[str, object] | str]]:
    """The rows of `scan_cells` in our columns' names.

    `answers` and `doc_ids` may be JSON lists, and `doc_ids` have ; or | between them. Columns of other names are
    metadata.
    """
    for number, cells in scan_cells(path, needs=("question", "user_input")):
        yield number, cells if isinstance(cells, str) else _row(cells)


def scan_cells(path: Path, needs: Sequence[str] = ()) -> Iterator[tuple[int, dict[str, str] | str]]:
    """`(row number, cells by column)`, the header being row 1, or what is wrong with a row. Empty cells and rows are
    left out.

    Delimiter and encoding are found out. Raises StorageError for a file that cannot be read as CSV, and where it has
    none of the columns that it `needs`.
    """
    try:
        text = _decode(path.read_bytes())
    except OSError as error:
        raise StorageError(f"cannot read {str(path)!r}: {reason_of(error)}") from error
    named = _SEPARATOR_LINE.match(text)
    text = text[named.end() :] if named else text
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=named[1] if named else _delimiter(text), strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
        if any(header) and needs and not any(_known(name) in needs for name in header):
            there = listed(header, separator=", ")
            raise StorageError(f"{path} has no column {needs[0]!r}, only {there}; call them question and answers")
        for number, cells in enumerate(rows, start=2):
            if any(cells[len(header) :]):
                yield number, f"{len(cells)} cells for {len(header)} columns; put a text with the delimiter in quotes"
            # A short row has no value in the last columns.
            elif found := {name: cell for name, cell in zip(header, cells, strict=False) if name and cell.strip()}:
                yield number, found
    except csv.Error as error:
        raise StorageError(f"{path}:{rows.line_num}: not valid CSV ({error}); export it again") from error


def _decode(data: bytes) -> str:
    """UTF-8 or UTF-16 by its mark, UTF-8 where it is valid, else what Windows writes in the West."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _delimiter(text: str) -> str:
    """The one that stands most often in the header; with one column any will do."""
    header = next(iter(_QUOTED.sub("", text[:20_000]).splitlines()), "")
    count = Counter(re.findall(r"[,;\t|]", header))
    return count.most_common(1)[0][0] if count else ","


def _row(cells: dict[str, str]) -> dict[str, object]:
    row: dict[str, object] = {}
    others: dict[str, object] = {}
    for name, cell in cells.items():
        known = _known(name)
        if known in _COLUMNS:
            row[known] = _value(known, cell)
        else:
            others[name] = cell
    return row | {"metadata": others} if others and "metadata" not in row else row


def _known(header: str) -> str:
    return header.lower().replace(" ", "_")


def _value(name: str, cell: str) -> object:
    text = cell.strip()
    # An answer may well be JSON itself.
    if text[0] == {"answers": "[", "doc_ids": "[", "metadata": "{"}.get(name):
        try:
            return json.loads(text)
        except ValueError:
            return cell
    if name == "doc_ids":
        return [part.strip() for part in _BETWEEN_IDS.split(text) if part.strip()]
    return cell
