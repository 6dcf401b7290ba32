"""What the rows of a file say, whatever format it is in.

reading = read_rows(Path("train.csv"), {"question": "Frage"}, say=print)
reading.rows  # (2, Given("Wann?", "um neun")), (3, "a message has no role"), ...
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from storage.errors import listed
from storage.jsonl import grouped
from tuning.data.formats.given import Columns, Given, LeftOut, Row
from tuning.data.formats.registry import check_parts, columns_of, recognise, renamed, strangers
from tuning.data.table_files import read_table
from tuning.errors import TuningError

Say = Callable[[str], object]
"""Takes a line for a person: which format was found, what was left out."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What each row says, with its number, or what is wrong with it; several things of one row have its number.

    `format` is its name, '' of a file without rows. `said` names it with its columns, '' for rows of our own; `unit` is
    what the numbers count.
    """

    rows: tuple[tuple[int, Given | str], ...]
    unit: str
    format: str = ""
    said: str = ""

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
    columns = columns or {}
    table = read_table(path)
    sound = [(number, row) for number, row in table.rows if not isinstance(row, str)]
    chosen = _check_columns(path, columns, [row for _, row in sound], say)
    sound = [(number, renamed(row, chosen)) for number, row in sound]
    faulty: list[tuple[int, Given | str]] = [(number, row) for number, row in table.rows if isinstance(row, str)]
    for note in table.notes:
        say(f"{path.name}: {note}")
    if not sound:
        return Reading(tuple(faulty), table.unit)
    try:
        found = recognise([row for _, row in sound], chosen, format, needs_answers=needs_answers)
    except ValueError as error:
        if faulty and len(faulty) >= len(sound):  # what is wrong with the lines is the fault
            return Reading(tuple(faulty), table.unit)
        raise TuningError(f"{path}: {error}") from error
    if found.said:
        say(f"{path.name} is {found.said}")
    strange = strangers(sound, found) if format is None else {}
    rows, left_out = faulty, list[tuple[int, str]]()
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
            left_out.append((number, str(reason)))
        except ValueError as fault:
            rows.append((number, str(fault)))
    if left_out:
        reasons = listed(grouped(left_out, table.unit))
        if not rows:
            raise TuningError(f"{path}: all {len(left_out)} rows are of no use: {reasons}")
        say(f"{path.name}: {len(left_out)} of {len(sound)} rows are left out: {reasons}")
    return Reading(tuple(sorted(rows, key=lambda row: row[0])), table.unit, found.name, found.said)


def parse_columns(text: str) -> Columns:
    """`question=Frage,answer=Antwort` as a mapping. Raises TuningError for anything else."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not pairs or not all(part.strip() and column.strip() for part, _, column in pairs):
        raise TuningError(f"columns must be like question=Frage,answer=Antwort, not {text!r}")
    return {part.strip(): column.strip() for part, _, column in pairs}


def _check_columns(path: Path, columns: Columns, rows: Sequence[Row], say: Say) -> Columns:
    """The columns that were set, none of them for a file that has none of them."""
    try:
        check_parts(columns)
    except ValueError as error:
        raise TuningError(str(error)) from error
    there = columns_of(rows)
    missing = [column for column in columns.values() if column not in there]
    if columns and len(missing) == len(columns):
        say(f"{path.name} has none of the columns that are set ({', '.join(columns.values())}), so it is read without")
        return {}
    if missing and rows:
        known = listed(there, separator=", ") or "none"
        raise TuningError(f"{path} has no column {missing[0]!r}, only {known}; correct columns")
    return columns
