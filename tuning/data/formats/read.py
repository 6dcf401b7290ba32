"""What the rows of a file say, whatever format it is in.

reading = read_rows(Path("train.csv"), {"question": "Frage"}, say=print)
reading.rows  # (2, Given("Wann?", "um neun")), (3, "a message has no role"), ...
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from storage.errors import listed
from storage.jsonl import grouped
from tuning.data.formats.given import Columns, Given, LeftOut, Row
from tuning.data.formats.registry import (
    Found,
    check_parts,
    columns_of,
    inner_columns,
    recognise,
    renamed,
    strangers,
    unwrapped,
)
from tuning.data.table_files import Table, read_table
from tuning.errors import TuningError

Say = Callable[[str], object]
"""Takes a line for a person: which format was found, what was left out."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What each row says, with its number, or what is wrong with it; several things of one row have its number.

    `format` is its name, '' of a file without rows. `said` names it with its columns, '' for rows of our own; `unit` is
    what the numbers count. `left_out` holds sound rows that are of no use, each with its number and the reason.
    """

    rows: tuple[tuple[int, Given | str], ...]
    unit: str
    format: str = ""
    said: str = ""
    left_out: tuple[tuple[int, Row, str], ...] = ()

    def called(self, path: Path) -> str:
        """The file, and how it was read, for a message about its rows."""
        return f"{path} ({self.said})" if self.said else str(path)


def read_rows(
    path: Path,
    columns: Columns | None = None,
    *,
    format: str | None = None,
    needs_answers: bool = True,
    keeps_unwanted: bool = False,
    say: Say = lambda _: None,
) -> Reading:
    """The rows of a file. `columns` says which hold which part, where their names do not; a table that needs no answers
    may lack their column. Answers that nobody wants are left out unless they are to be kept.

    Raises TuningError for columns that are not there, not known, or may be two things; StorageError for a file that
    cannot be read.
    """
    try:
        check_parts(columns or {})
    except ValueError as error:
        raise TuningError(str(error)) from error
    whole = read_table(path)
    tables = [_known(table, columns or {}, format, needs_answers) for table in (whole, *whole.more)]
    # Of a workbook the first sheet that is known, and has what was set; else what is wrong with the first.
    known = [table for table in tables if table.found is not None]
    chosen = next((table for table in known if not table.notes), known[0] if known else tables[0])
    for note in (*chosen.table.notes, *chosen.notes):
        say(f"{path.name}: {note}")
    faulty: list[tuple[int, Given | str]] = [(n, row) for n, row in chosen.table.rows if isinstance(row, str)]
    unit, sound = chosen.table.unit, chosen.sound
    if chosen.error and len(faulty) < max(len(sound), 1):  # else what is wrong with the lines is the fault
        raise TuningError("; ".join([f"{path}: {chosen.error}", *chosen.table.notes]))
    if (found := chosen.found) is None:
        return Reading(tuple(faulty), unit)
    if found.said:
        say(f"{path.name} is {found.said}")
    strange = strangers(sound, found) if format is None else {}
    rows, left_out = faulty, list[tuple[int, Row, str]]()
    for number, row in sound:
        if number in strange:
            rows.append((number, strange[number]))
            continue
        try:
            for given in found.format.read(row, found.parts):
                if given.is_wanted is False and not keeps_unwanted:
                    raise LeftOut("it is labelled as an answer that nobody wants")
                rows.append((number, given))
        except LeftOut as reason:
            left_out.append((number, row, str(reason)))
        except ValueError as fault:
            rows.append((number, str(fault)))
    if left_out:
        reasons = listed(grouped(((number, reason) for number, _, reason in left_out), unit))
        if not rows:
            raise TuningError(f"{path}: all {len(left_out)} rows are of no use: {reasons}")
        say(f"{path.name}: {len(left_out)} of {len(sound)} rows are left out: {reasons}")
    if cut := [(number, given.cut) for number, given in rows if isinstance(given, Given) and given.cut]:
        say(f"{path.name}: the end of {len(cut)} of {len(sound)} rows is left out: {listed(grouped(cut, unit))}")
    in_order = tuple(sorted(rows, key=lambda row: row[0]))
    return Reading(in_order, unit, found.name, found.said, tuple(left_out))


def parse_columns(text: str) -> Columns:
    """`question=Frage,answer=Antwort` as a mapping. Raises TuningError for anything else."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not pairs or not all(part.strip() and column.strip() for part, _, column in pairs):
        raise TuningError(f"columns must be like question=Frage,answer=Antwort, not {text!r}")
    return {part.strip(): column.strip() for part, _, column in pairs}


@dataclass(frozen=True, slots=True)
class _Known:
    """A table, its sound rows under the names that were set, and their format; `error` is why they have none."""

    table: Table
    sound: list[tuple[int, Row]]
    found: Found | None = None
    error: str = ""
    notes: tuple[str, ...] = ()


def _known(table: Table, columns: Columns, format: str | None, needs_answers: bool) -> _Known:
    rows = [(number, row) for number, row in table.rows if not isinstance(row, str)]
    if not rows:
        return _Known(table, rows)
    # A column that is named and empty is there: another one must not be taken for it.
    rows[0] = (rows[0][0], {**dict.fromkeys(table.empty, ""), **rows[0][1]})
    every = [row for _, row in rows]
    there = inner_columns(every) if columns else ()
    missing = [column for column in columns.values() if column not in {*there, *columns_of(every)}]
    notes, chosen = tuple[str, ...](), columns
    if columns and len(missing) == len(columns):
        notes = (f"it has none of the columns that are set ({', '.join(columns.values())}), so it is read without",)
        chosen = {}
    elif missing:
        return _Known(
            table, rows, error=f"no column {missing[0]!r}, only {listed(there, separator=', ')}; correct columns"
        )
    sound = [(number, unwrapped(renamed(row, chosen))) for number, row in rows]
    try:
        found = recognise([row for _, row in sound], chosen, format, needs_answers=needs_answers)
        return _Known(table, sound, found, notes=notes)
    except ValueError as error:
        return _Known(table, sound, error=str(error), notes=notes)
