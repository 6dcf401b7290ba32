"""An uploaded file as rows to learn, each fault with its line: `rows_of(path, task, notes)`.

Every answer of a conversation is a row, behind all that was said before it, and rendered as a request for the model
will be: nothing is put before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from router.answering.prompts import Prompt
from serving.fine_tuning.task import Task
from storage.errors import ArbiterError, listed
from storage.jsonl import grouped
from tuning.data.examples import Question, nothing_to_learn, scan_examples
from tuning.data.formats.registry import PAIR_FORMATS
from tuning.data.rows import TrainingRow
from tuning.data.table_files import SUFFIXES
from tuning.errors import TuningError
from tuning.objectives.registry import OBJECTIVES
from tuning.training.lengths import unfit_rows

AS_GIVEN = Prompt("as_given", system="")
"""A conversation as it is, without a system message of ours."""

_TOOLS = ("tools", "functions")


def named_by_kind(filename: str) -> str:
    """A file's name with an ending that says of what kind it is: JSON lines where it says nothing that is known."""
    return filename if Path(filename).suffix.lower() in SUFFIXES else f"{filename}.jsonl"


def rows_of(path: Path, task: Task, notes: list[str]) -> list[TrainingRow]:
    """The rows of a file; what a person should know of it is added to `notes`.

    Raises TuningError with the line of every faulty row (the first ten are listed), and where there is none.
    """
    try:
        scanned = scan_examples(path, nothing_to_learn, say=notes.append)
    except ArbiterError as error:
        # The user knows the file by its name alone.
        raise TuningError(str(error).replace(f"{path.parent}/", "")) from error
    called, unit = scanned.called.replace(f"{path.parent}/", ""), scanned.unit
    if scanned.format in PAIR_FORMATS:
        raise TuningError(
            f"{called}: it holds pairs of answers, of which method {task.objective!r} learns nothing; give the answers "
            "to learn alone"
        )
    faults = [(line, row) for line, row in scanned.rows if isinstance(row, str)]
    found: list[tuple[int, TrainingRow]] = []
    num_with_tools = 0
    for line, question in scanned.rows:
        if isinstance(question, Question):
            num_with_tools += any(name in question.metadata for name in _TOOLS)
            found += [(line, _row(one.messages, one.answer)) for one in question.exchanges]
    if num_with_tools:
        notes.append(f"{called}: {num_with_tools} rows bring tools, which the model is not shown")
    max_length = int(task.recipe["max_length"])
    unfit = unfit_rows(task.base.path, [row for _, row in found], OBJECTIVES[task.objective], max_length=max_length)
    faults += [(found[place][0], fault) for place, fault in unfit.items()]
    if faults:
        count = len({line for line, _ in faults})
        raise TuningError(f"{called}: {count} faulty {_counted('row', count)}: {listed(grouped(sorted(faults), unit))}")
    if not found:
        raise TuningError(f'{called} holds no rows; add rows like {{"messages": [{{"role": "user", ...}}, ...]}}')
    return [row for _, row in found]


def num_in_both(training: Sequence[TrainingRow], validation: Sequence[TrainingRow]) -> int:
    """How many of the rows that a training is looked at with it also learns."""
    learned = {_key(row) for row in training}
    return sum(_key(row) in learned for row in validation)


def _row(messages: Sequence[object], answer: str) -> TrainingRow:
    return TrainingRow(AS_GIVEN.render(messages, ()), answer)  # type: ignore[arg-type]


def _key(row: TrainingRow) -> str:
    return repr(([sorted(message.items()) for message in row.prompt], row.completion))


def _counted(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
