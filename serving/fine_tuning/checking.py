"""An uploaded file as rows to learn, each fault with its line: `rows_of(path, task, notes)`.

Every answer of a conversation is a row, behind all that was said before it, and of preferences every pair; rendered as
a request for the model will be: nothing is put before it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from router.answering.prompts import Prompt
from serving.fine_tuning.task import Task
from storage.errors import ArbiterError, listed
from storage.jsonl import grouped
from tuning.data.examples import Question, nothing_to_learn, scan_examples
from tuning.data.formats.given import Message
from tuning.data.formats.read import read_rows
from tuning.data.formats.registry import PAIR_FORMATS
from tuning.data.pairs import PreferencePair, scan_pairs
from tuning.data.rows import PairRow, Row, TrainingRow
from tuning.data.table_files import SUFFIXES, is_shard
from tuning.errors import TuningError
from tuning.objectives.registry import OBJECTIVES
from tuning.training.lengths import unfit_rows

AS_GIVEN = Prompt("as_given", system="")
"""A conversation as it is, without a system message of ours."""

_TOOLS = ("tools", "functions")
# The longest name that file systems take.
_NAME_BYTES = 255


_Said = tuple[Sequence[Row], Mapping[str, object]] | str
"""The rows of a line and what else it says, or what is wrong with it."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What the lines of a file say."""

    called: str
    unit: str
    format: str
    lines: Sequence[tuple[int, _Said]]


def named_by_kind(filename: str) -> str:
    """A file's name with an ending that says of what kind it is: JSON lines where it says nothing that is known. It
    stands for this file alone, also where it counts others beside it (`train-00000-of-00003.parquet`).
    """
    path = Path(filename)
    suffix = path.suffix if path.suffix.lower() in SUFFIXES else ".jsonl"
    stem = path.stem if suffix == path.suffix else filename
    stem += "_" if is_shard(f"{stem}{suffix}") else ""
    return stem.encode()[: _NAME_BYTES - len(suffix)].decode(errors="ignore") + suffix


def rows_of(path: Path, task: Task, notes: list[str]) -> list[Row]:
    """The rows of a file; what a person should know of it is added to `notes`.

    Raises TuningError with the line of every faulty row (the first ten are listed), and where there is none.
    """
    kind = OBJECTIVES[task.objective].row
    try:
        held = _READ[kind](path, notes)
    except ArbiterError as error:
        # The user knows the file by its name alone.
        raise TuningError(str(error).replace(f"{path.parent}/", "")) from error
    called = held.called.replace(f"{path.parent}/", "")
    faults: list[tuple[int, str]] = []
    found: list[tuple[int, Row]] = []
    num_with_tools = 0
    for line, said in held.lines:
        if isinstance(said, str):
            faults.append((line, said))
            continue
        rows, rest = said
        num_with_tools += any(name in rest for name in _TOOLS)
        found += [(line, row) for row in rows]
    if held.format and (held.format in PAIR_FORMATS) != (kind is PairRow):
        holds = "pairs of answers" if kind is not PairRow else "answers without others that were rejected"
        raise TuningError(
            f"{called}: it holds {holds}, of which method {task.objective!r} learns nothing; {_OTHER[kind]}"
        )
    if num_with_tools:
        notes.append(f"{called}: {num_with_tools} rows bring tools, which the model is not shown")
    max_length = int(task.recipe["max_length"])
    unfit = unfit_rows(task.base.path, [row for _, row in found], OBJECTIVES[task.objective], max_length=max_length)
    faults += [(found[place][0], fault) for place, fault in unfit.items()]
    if faults:
        count = len({line for line, _ in faults})
        raise TuningError(
            f"{called}: {count} faulty {_counted('row', count)}: {listed(grouped(sorted(faults), held.unit))}"
        )
    if not found:
        raise TuningError(f"{called} holds no rows; add rows like {_LIKE[kind]}")
    return [row for _, row in found]


def num_in_both(training: Sequence[Row], validation: Sequence[Row]) -> int:
    """How many of the rows that a training is looked at with it also learns."""
    learned = {_key(row) for row in training}
    return sum(_key(row) in learned for row in validation)


def _examples(path: Path, notes: list[str]) -> _Found:
    scanned = scan_examples(path, nothing_to_learn, say=notes.append)

    def line_of(row: Question | str) -> _Said:
        if isinstance(row, str):
            return row
        return [TrainingRow(_asked(one.messages), one.answer) for one in row.exchanges], row.metadata

    return _Found(scanned.called, scanned.unit, scanned.format, [(line, line_of(row)) for line, row in scanned.rows])


def _pairs(path: Path, notes: list[str]) -> _Found:
    reading = read_rows(path, say=notes.append)

    def line_of(pair: PreferencePair | str) -> _Said:
        if isinstance(pair, str):
            return pair
        return [PairRow(_asked(pair.prompt), pair.chosen, pair.rejected)], pair.metadata

    lines = [(line, line_of(pair)) for line, pair in scan_pairs(path, reading)]
    return _Found(reading.called(path), reading.unit, reading.format, lines)


_READ: Mapping[type, Callable[[Path, list[str]], _Found]] = {TrainingRow: _examples, PairRow: _pairs}
_LIKE: Mapping[type, str] = {
    TrainingRow: '{"messages": [{"role": "user", ...}, ...]}',
    PairRow: '{"input": {"messages": [...]}, "preferred_output": [...], "non_preferred_output": [...]}',
}
_OTHER: Mapping[type, str] = {
    TrainingRow: "take method 'dpo', or give the answers to learn alone",
    PairRow: f"give rows like {_LIKE[PairRow]}, or take method 'supervised'",
}


def _asked(messages: Sequence[Message]) -> tuple[Message, ...]:
    return tuple(AS_GIVEN.render(messages, ()))


def _key(row: Row) -> str:
    return json.dumps(row.content, sort_keys=True)


def _counted(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
