"""Rows of a CSV file or an XLSX workbook as a spreadsheet has them: `for number, row in scan_cells(path): ...`."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from itertools import chain
from pathlib import Path
from typing import Any

from storage.encoding import decode
from storage.errors import StorageError, reason_of
from tuning.data.formats.given import plain_name, spelt

# Excel's own word for the delimiter.
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*"')
_HEAD_CHARS = 20_000
_LISTS = ("doc_ids", "document_ids")
_BETWEEN_IDS = re.compile(r"[;|\n]")
# Rows that may stand above the header: a title, a blank one.
_ABOVE = 5

# What a cell shows in place of a value that could not be computed.
_ERRORS = ("#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!")

Numbered = tuple[int, dict[str, Any] | str]


@dataclass(frozen=True, slots=True)
class Sheet:
    """The rows of a sheet with their numbers, and what a person should know of them."""

    title: str
    rows: tuple[Numbered, ...]
    notes: tuple[str, ...] = ()
    header: tuple[str, ...] = ()


def scan_cells(path: Path, header: list[str] | None = None) -> Iterator[Numbered]:
    """`(row number, cells by column)` of a CSV file, the first row being 1, or what is wrong with a row. Empty cells
    and rows are left out; `header` is given the names of all columns.

    Delimiter and encoding are found out. Raises StorageError for a file that cannot be read as CSV.
    """
    try:
        text = decode(path.read_bytes())
    except OSError as error:
        raise StorageError(f"cannot read {str(path)!r}: {reason_of(error)}") from error
    except StorageError as error:
        raise StorageError(f"cannot read {str(path)!r}: {error}") from error
    named = _SEPARATOR_LINE.match(text)
    text = text[named.end() :] if named else text
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=named[1] if named else _delimiter(text), strict=True)
    try:
        yield from _below_header(rows, header)
    except csv.Error as error:
        raise StorageError(f"{path}:{rows.line_num}: not valid CSV ({error}); export it again") from error


def is_workbook(path: Path) -> bool:
    """Whether this is a file of sheets, by its name."""
    return path.suffix.lower() == ".xlsx" and path.is_file()


def sheet_titles(path: Path) -> list[str]:
    """What the visible sheets of a workbook are called. Raises StorageError for what is no workbook."""
    from openpyxl import load_workbook

    with _reading(path):
        workbook = load_workbook(path, read_only=True)
        titles = [str(sheet.title) for sheet in workbook.worksheets if sheet.sheet_state == "visible"]
        workbook.close()
    return titles


def scan_sheets(path: Path) -> tuple[Sheet, ...]:
    """The same of every visible sheet of a workbook that has rows.

    Numbers stay numbers, times become text; formulas are as last computed. A cell that is merged over several rows
    stands in each of them. Raises StorageError for what is no workbook.
    """
    from openpyxl import load_workbook

    with _reading(path):
        # Only a sheet that is read as a whole knows of merged cells; that takes much more memory.
        workbook = load_workbook(path, read_only=not _has_merged_cells(path), data_only=True)
        found = [_sheet(sheet) for sheet in workbook.worksheets if sheet.sheet_state == "visible"]
        workbook.close()
    return tuple(sheet for sheet in found if sheet.rows)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raises StorageError for whatever reading a workbook raises."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot read {str(path)!r}: {reason_of(error)}") from error
    except Exception as error:  # a damaged file has zipfile, zlib, the XML parser and openpyxl raise whatever they like
        raise StorageError(f"cannot read {str(path)!r} as a workbook ({error}); save it again as .xlsx") from error


def _has_merged_cells(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        names = (name for name in archive.namelist() if name.startswith("xl/worksheets/"))
        return any(b"<mergeCell " in archive.read(name) for name in names)


def _sheet(sheet: Any) -> Sheet:
    if hasattr(sheet, "reset_dimensions"):
        sheet.reset_dimensions()  # the size that a file states may be far from that of its content
    cells = [[as_cell(cell) for cell in row] for row in sheet.iter_rows(values_only=True)]
    for merged in getattr(getattr(sheet, "merged_cells", None), "ranges", ()):
        for row in range(merged.min_row, merged.max_row):
            cells[row][merged.min_col - 1] = cells[merged.min_row - 1][merged.min_col - 1]
    num_errors = sum(cell in _ERRORS for row in cells for cell in row if isinstance(cell, str))
    cells = [[None if isinstance(cell, str) and cell in _ERRORS else cell for cell in row] for row in cells]
    note = f"cells of sheet {sheet.title!r} that hold an error like {_ERRORS[0]} are read as empty: {num_errors}"
    header: list[str] = []
    rows = tuple(_below_header(cells, header))
    return Sheet(sheet.title, rows, (note,) if num_errors else (), tuple(header))


def _below_header(rows: Iterable[Sequence[Any]], into: list[str] | None = None) -> Iterator[Numbered]:
    numbered = enumerate(rows, start=1)
    head: list[tuple[int, Sequence[Any]]] = []
    for number, cells in numbered:
        head.append((number, cells))
        if len(head) > _ABOVE or sum(map(_is_filled, cells)) > 1:
            break
    # A title stands alone in its row; where every row has one cell, the first one is the header.
    is_table = bool(head) and sum(map(_is_filled, head[-1][1])) > 1
    above = [(number, cells) for number, cells in head if any(map(_is_filled, cells))]
    if not above:
        return
    above = above[-1:] if is_table else above
    header = [str(name) if _is_filled(name) else "" for name in above[0][1]]
    names = [name.strip() for name in header]
    if into is not None:
        into += filter(None, names)
    if twice := next((name for name, count in Counter(names).items() if name and count > 1), None):
        yield above[0][0], f"two columns are called {twice!r}; rename one, or take it away"
        return
    # Where blanks stand around the names of columns they stand around the cells, and mean nothing.
    is_padded = names != header
    for number, cells in chain(above[1:], numbered):
        if any(map(_is_filled, cells[len(names) :])):
            yield number, f"{len(cells)} cells for {len(names)} columns; put a text with the delimiter in quotes"
            continue
        # A short row has no value in the last columns.
        filled = ((name, cell) for name, cell in zip(names, cells, strict=False) if name and _is_filled(cell))
        cells_of = ((name, cell.strip() if is_padded and isinstance(cell, str) else cell) for name, cell in filled)
        if row := {name: _value(name, cell) for name, cell in cells_of}:
            yield number, row


def _value(name: str, cell: Any) -> Any:
    """The cell, a list where it holds ids of documents: JSON's, or with ; or | between them."""
    if plain_name(name) not in _LISTS:
        return cell
    found = spelt(cell)
    split = (part.strip() for part in _BETWEEN_IDS.split(str(cell)))
    return found if isinstance(found, list) else [part for part in split if part]


def _is_filled(cell: Any) -> bool:
    return cell is not None and (not isinstance(cell, str) or bool(cell.strip()))


def as_cell(cell: Any) -> Any:
    """A value as a cell shows it: text and numbers as they are, times and truth as text."""
    if isinstance(cell, bool):
        return str(cell).upper()
    if isinstance(cell, datetime):
        return cell.date().isoformat() if cell.time() == time() else cell.isoformat(sep=" ")
    if isinstance(cell, date | time):
        return cell.isoformat()
    if isinstance(cell, float):
        return int(cell) if cell.is_integer() else float(f"{cell:.15g}")  # as spreadsheets show: 0.1 * 3 is 0.3
    return cell if cell is None or isinstance(cell, str | int) else str(cell)


def _delimiter(text: str) -> str:
    """The one that stands most often in the first line that has any, since a title may stand above the header; with
    one column any will do.
    """
    lines = _QUOTED.sub("", text[:_HEAD_CHARS]).splitlines()
    counts = (Counter(re.findall(r"[,;\t|]", line)) for line in lines[: _ABOVE + 1])
    return next((count.most_common(1)[0][0] for count in counts if count), ",")
