"""The rows that a transform works on, and everything that lies beside them.

source = open_source(Path("my/folder"), config, say=print)
source.rows, source.part, source.beside()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from arbiter.config.schema import Config
from arbiter.data import find_folder
from eval.questions import Question, as_whole_row, load_questions, no_gold
from storage.errors import ArbiterError
from storage.jsonl import sound_rows
from tuning.data.examples import scan_examples
from tuning.data.formats.given import Given, Row
from tuning.data.layouts import Part, find_part
from tuning.data.table_files import shards_of
from tuning.errors import TuningError

Say = Callable[[str], object]

# What a transform writes about itself; those of an earlier one stay with its own folder.
REMOVED, PROVENANCE = "removed.jsonl", "provenance.json"
_LIKE = '{"question": "...", "answers": ["..."]}'


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A row, the number that it has in its file, and all that it says."""

    line: int
    question: Question
    given: Given

    def as_written(self) -> dict[str, object]:
        """As a row of our own."""
        return as_whole_row(self.question, self.given)

    @property
    def rejected(self) -> str:
        """The answer that was not chosen, of a preference pair; "" of other rows."""
        return self.given.rejected or ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that is not written, why, and its number in its file; `detail` is what else is to be known of it."""

    line: int
    reason: str
    row: Row
    detail: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Source:
    """The rows of a file that are trained on, or split: `part` says as what it lies in `folder`; None for a file given
    by itself. `left_out` could not be read as anything to learn.
    """

    path: Path
    folder: Path | None
    part: Literal["train", "questions"]
    rows: tuple[SourceRow, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def questions(self) -> tuple[Question, ...]:
        """What the rows ask and answer."""
        return tuple(row.question for row in self.rows)

    def files(self) -> tuple[Path, ...]:
        """The files, or folders, that the rows are in."""
        return shards_of(self.path)

    def asked(self, config: Config) -> dict[str, tuple[Question, ...]]:
        """The questions that lie beside the rows and must not be given away, by the name of their part."""
        found: dict[str, tuple[Question, ...]] = {}
        for part in ("test", "dev"):
            if self.folder is not None and (path := find_part(self.folder, _as_part(part))) is not None:
                columns = config.limits.columns
                found[part] = load_questions(path, columns, refuse_contradictions=False)
        return found

    def beside(self, *, without: Sequence[Path] = ()) -> dict[str, Path]:
        """All other files of the folder by their relative paths, hidden ones aside."""
        if self.folder is None:
            return {}
        gone = [*self.files(), *without, self.folder / REMOVED, self.folder / PROVENANCE]
        if self.path == self.folder:  # a single data set that `datasets` saved
            gone += [*self.folder.glob("*.arrow"), self.folder / "state.json", self.folder / "dataset_info.json"]
        found = {}
        for path in sorted(self.folder.rglob("*")):
            relative = path.relative_to(self.folder)
            is_gone = any(one == path or (one in path.parents and one != self.folder) for one in gone)
            if path.is_file() and not is_gone and not any(name.startswith(".") for name in relative.parts):
                found[str(relative)] = path
        return found


def open_source(path: Path, config: Config, *, say: Say = lambda _: None, is_split: bool = False) -> Source:
    """The training rows of a data folder, those of its one file that is split, or those of a file.

    With `is_split` the folder must have no evaluation questions of its own yet. Raises ArbiterError where there are no
    rows, and with the line of every faulty one.
    """
    path = path.expanduser()
    if path.is_file():
        return _read(path.resolve(), None, "train", config, say)
    folder = find_folder(path)
    test, train, pool = (find_part(folder, part) for part in ("test", "train", "questions"))
    if is_split and test is not None:
        raise ArbiterError(
            f"data folder {str(folder)!r} has evaluation questions in {test.name}, so there is nothing to split; give "
            "the file whose rows are to be split"
        )
    if train is not None and pool is not None and test is None:
        raise ArbiterError(f"data folder {str(folder)!r} has both {train.name} and {pool.name}; give one of the files")
    if train is not None:
        return _read(train, folder, "train", config, say)
    if pool is not None and test is None:
        return _read(pool, folder, "questions", config, say)
    raise ArbiterError(f"data folder {str(folder)!r} has no training rows; add train.jsonl, or give a file of rows")


def _read(path: Path, folder: Path | None, part: Literal["train", "questions"], config: Config, say: Say) -> Source:
    found = scan_examples(path, no_gold, columns=config.limits.columns, say=say)
    rows = sound_rows(found.called, found.rows, called="rows", like=_LIKE, error=TuningError, unit=found.unit)
    lines = [line for line, row in found.rows if not isinstance(row, str)]
    return Source(
        path,
        folder,
        part,
        tuple(SourceRow(line, row, found.given[row.id]) for line, row in zip(lines, rows, strict=True)),
        tuple(LeftOut(line, reason, row) for line, row, reason in found.left_out),
    )


def _as_part(name: str) -> Part:
    return "test" if name == "test" else "dev"
