"""The file in which generated questions are looked through: a JSON line each, whose `status` a person may set by hand.

rows = read_proposals(folder / "to_review.jsonl")
rows = [row.judged("accepted", at=now) for row in rows]
as_set(rows, take_proposed=False)      # {"test": (Question, ...), "train": (...)}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from eval.errors import EvalError
from eval.generated import GENERATED
from eval.generation.plan import Part
from eval.generation.settings import Kind
from eval.questions import Question, as_row
from storage.errors import did_you_mean
from storage.jsonl import scan_jsonl, sound_rows
from storage.records import WrongShape, as_json, from_row, json_lines

Status = Literal["proposed", "accepted", "rejected"]
STATUSES: tuple[Status, ...] = get_args(Status)
PARTS: tuple[Part, ...] = ("test", "train")


@dataclass(frozen=True, slots=True)
class GoldPassage:
    """A passage that the question was written from."""

    id: str
    document_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Who wrote a question, told in what words."""

    teacher: str
    prompt: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """A generated question under review. `reviewed` is when a person looked at it: None for not noted, False for
    accepted without a look.
    """

    # What a person changes comes first in the file.
    id: str
    status: Status
    question: str
    answers: tuple[str, ...]
    kind: Kind
    part: Part
    passages: tuple[GoldPassage, ...]
    origin: Origin
    reviewed: str | bool | None = None

    @property
    def document_ids(self) -> tuple[str, ...]:
        """The documents that hold the answer."""
        return tuple(dict.fromkeys(passage.document_id for passage in self.passages))

    def judged(self, status: Status, *, reviewed: str | bool) -> Proposal:
        """The same after a review."""
        return replace(self, status=status, reviewed=reviewed)

    def as_question(self) -> Question:
        """The row of the set, with its provenance; of a question without an answer as the project marks it."""
        told: dict[str, object] = {
            "teacher": self.origin.teacher,
            "prompt": self.origin.prompt,
            "documents": list(self.document_ids),
            "passages": [passage.id for passage in self.passages],
            "status": self.status,
            "reviewed": self.reviewed,
        }
        marked = {"unanswerable": True} if self.kind == "unanswerable" else {}
        metadata = {"kind": self.kind, **marked, GENERATED: told}
        return Question(self.id, self.question, self.answers, self.document_ids, metadata)


def write_text(rows: Sequence[Proposal]) -> str:
    """The file's content."""
    return json_lines(map(as_json, rows))


def read_proposals(path: Path) -> tuple[Proposal, ...]:
    """The rows of the file. Raises EvalError with the line of every faulty one, StorageError without the file."""
    ids: dict[str, int] = {}

    def read(line: int, row: Mapping[str, object] | str) -> Proposal | str:
        if isinstance(row, str):
            return row
        status = row.get("status")
        if status not in STATUSES:
            close = did_you_mean(str(status), STATUSES)
            return f"status is {status!r}{close}; give one of {', '.join(STATUSES)}"
        answers = [given] if isinstance(given := row.get("answers"), str) else given
        try:
            found = from_row(Proposal, {**row, "answers": answers})
        except WrongShape as error:
            return str(error)
        if not found.question.strip() or not any(map(str.strip, found.answers)):
            return "question or answers are empty; a question without an answer has the answer unanswerable"
        first = ids.setdefault(found.id, line)
        return found if first == line else f"id {found.id!r} was already used on line {first}"

    rows = [(line, read(line, row)) for line, row in scan_jsonl(path)]
    like = '{"status": "accepted", "question": "...", "answers": ["..."], ...}'
    return sound_rows(path, rows, called="questions under review", like=like, error=EvalError)


def as_set(rows: Sequence[Proposal], *, take_proposed: bool, now: str) -> dict[Part, tuple[Question, ...]]:
    """The questions of each part that are accepted, or not yet rejected. One that was accepted in the file by hand was
    reviewed `now` at the latest.
    """
    taken: tuple[Status, ...] = ("accepted", "proposed") if take_proposed else ("accepted",)
    noted = [
        row.judged("accepted", reviewed=now) if row.status == "accepted" and row.reviewed is None else row
        for row in rows
        if row.status in taken
    ]
    return {part: tuple(row.as_question() for row in noted if row.part == part) for part in PARTS}


def set_files(parts: Mapping[Part, Sequence[Question]]) -> dict[str, str]:
    """The texts of a data folder's files, of parts that have rows."""
    return {f"{part}.jsonl": json_lines(map(as_row, rows)) for part, rows in parts.items() if rows}
