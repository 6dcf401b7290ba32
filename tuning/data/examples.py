"""Rows to learn from and to be asked: a question, its answers, and the documents that hold them.

examples = load_examples(Path("data/train.jsonl"))
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from storage.jsonl import scan_jsonl, sound_rows
from tuning.data.spreadsheet import scan_csv
from tuning.errors import TuningError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Question:
    """A row of training or of evaluation. `document_ids` name the documents that hold the answers, if known.

    All `answers` are accepted golds where the row is asked; of a training row the first is learned.
    """

    id: str
    text: str
    answers: tuple[str, ...]
    document_ids: tuple[str, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)

    @property
    def answer(self) -> str:
        """What is learned."""
        return self.answers[0]

    @property
    def cluster(self) -> str:
        """The source document the statistics resample by; a question without one stands alone."""
        return self.document_ids[0] if self.document_ids else f"question:{self.id}"


def load_examples(path: Path) -> tuple[Question, ...]:
    """Examples from the rows that `scan_examples` reads; the first answer is learned.

    Raises TuningError with the line of every faulty row and repeated id (the first ten are listed), and when there is
    no row at all.
    """
    rows = scan_examples(path, _nothing_to_learn)
    like = '{"question": "...", "answers": ["..."]}'
    return sound_rows(path, rows, called="examples", like=like, error=TuningError)


def scan_examples(
    path: Path, fault_of: Callable[[Question], str | None] | None = None, *, needs_answers: bool = True
) -> Iterator[tuple[int, Question | str]]:
    """`(line, question)` for every row `{id?, question | user_input, answers[] | answer | reference, doc_ids?,
    metadata?}`, and what is wrong in place of a faulty one. Evaluation files hold the same rows; both may be CSV.

    A row without an id is `<file stem>-<line>`; an id that was there before is a fault. Numbers are taken as text. A
    row with `metadata.unanswerable` true needs no answer; "unanswerable" is it then. `fault_of` finds what
    the caller cannot use; after it, blank answers are left out. Raises StorageError when the file cannot be opened.
    """
    lines_of: dict[str, int] = {}
    for line, row in scan_csv(path) if path.suffix.lower() == ".csv" else scan_jsonl(path):
        found = row if isinstance(row, str) else _question(row, f"{path.stem}-{line}", needs_answers)
        if isinstance(found, Question):
            found = (fault_of(found) if fault_of is not None else None) or found
        if isinstance(found, Question):
            first = lines_of.setdefault(found.id, line)
            if first != line:
                yield line, f"id {found.id!r} was already used on line {first}"
                continue
            found = replace(found, answers=tuple(answer for answer in found.answers if answer.strip()))
        yield line, found


def sample(items: Sequence[T], limit: int | None, seed: int) -> tuple[T, ...]:
    """At most `limit` of the items in their own order, the same ones for the same seed; all of them for None."""
    if limit is None or limit >= len(items):
        return tuple(items)
    chosen = sorted(random.Random(seed).sample(range(len(items)), limit))
    return tuple(items[i] for i in chosen)


def _nothing_to_learn(row: Question) -> str | None:
    is_blank = not row.answers or not row.answer.strip()
    return "no answer to learn: `answers` is empty or begins with a blank one" if is_blank else None


def _question(row: Mapping[str, object], fallback_id: str, needs_answers: bool) -> Question | str:
    """The question, or what is wrong with the row."""
    name = fallback_id if row.get("id") is None else row["id"]
    question = row.get("question", row.get("user_input"))
    metadata = row.get("metadata") if row.get("metadata") is not None else {}
    document_ids = texts_of(row.get("doc_ids") if row.get("doc_ids") is not None else [])
    if isinstance(name, bool) or not isinstance(name, str | int) or not str(name).strip():
        return f"`id` must be a text or a number, not {name!r}"
    if not isinstance(question, str) or not question.strip():
        return "no `question` text"
    if not isinstance(metadata, dict):
        return "`metadata` must be an object"
    given = next((row[key] for key in ("answers", "answer", "reference") if row.get(key) is not None), None)
    if not given and metadata.get("unanswerable") is True:
        given = "unanswerable"
    answers = texts_of([] if given is None and not needs_answers else given if isinstance(given, list) else [given])
    if answers is None:
        found = given if isinstance(given, list) else [given]
        hint = "; put true and false in quotes" if any(isinstance(value, bool) for value in found) else ""
        return f"`answers` must be a list of strings or numbers, or `answer` one of them{hint}"
    if document_ids is None:
        return "`doc_ids` must be a list of strings or numbers"
    return Question(str(name), question, tuple(answers), tuple(document_ids), metadata)


def texts_of(values: object) -> list[str] | None:
    """Texts as they are and numbers as JSON writes them; None where there is something else."""
    if not isinstance(values, list):
        return None
    texts = []
    for value in values:
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number and not isinstance(value, str):
            return None
        texts.append(json.dumps(value) if is_number else str(value))
    return texts
