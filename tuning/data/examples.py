"""Rows to learn from and to be asked: a question, its answers, and the documents that hold them.

examples = load_examples(Path("data/train.jsonl"))
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from storage.jsonl import sound_rows
from storage.records import as_json
from tuning.data.formats.given import Columns, Context, Given, Message, Row, unfit_text
from tuning.data.formats.read import Say, read_rows
from tuning.data.table_files import stem_of
from tuning.errors import TuningError

T = TypeVar("T")

_KINDS: Mapping[type, str] = {dict: "an object", list: "a list"}


@dataclass(frozen=True, slots=True)
class Question:
    """A row of training or of evaluation. `document_ids` name the documents that hold the answers, if known.

    All `answers` are accepted golds where the row is asked; of a training row the first is learned. `history` holds the
    messages before the question, a system message of the row's own among them, and `learned` the places in it of
    answers that a training learns as well. `contexts` are the texts that came with the row, and documents under their
    ids; those that hold the answer are among `document_ids`.
    """

    id: str
    text: str
    answers: tuple[str, ...]
    document_ids: tuple[str, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)
    # Not in the text that versions and indexes are named by: rows that have none keep theirs.
    history: tuple[Message, ...] = field(default=(), repr=False)
    learned: tuple[int, ...] = field(default=(), repr=False)
    contexts: tuple[Context, ...] = field(default=(), repr=False)

    @property
    def answer(self) -> str:
        """What is learned."""
        return self.answers[0]

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation that is asked: the history, and the question as the user's message."""
        return (*self.history, {"role": "user", "content": self.text})

    @property
    def in_full(self) -> str:
        """What is asked with all that was said before it, a line a message; the question alone where nothing was."""
        return in_full(self.messages)

    @property
    def exchanges(self) -> tuple[Question, ...]:
        """A question for each answer of the history that is learned, after what was said before it, and this one."""
        earlier = (
            replace(
                self,
                id=f"{self.id}:turn-{number}",
                text=str(self.history[place - 1]["content"]),
                answers=(str(self.history[place]["content"]),),
                history=self.history[: place - 1],
                learned=(),
            )
            for number, place in enumerate(self.learned, start=1)
        )
        return (*earlier, replace(self, learned=()))

    @property
    def content(self) -> str:
        """All that the row says, as a text to hash: the same as ever for one without a history."""
        return f"{self!r} after {self.history!r}" if self.history else repr(self)

    @property
    def cluster(self) -> str:
        """The source document the statistics resample by; a question without one stands alone."""
        return self.document_ids[0] if self.document_ids else f"question:{self.id}"


@dataclass(frozen=True, slots=True)
class Scanned:
    """The rows of a file with their numbers, and what is wrong in place of a faulty one.

    `called` is the file and how it was read, for a message; `unit` is what the numbers count; `format` is one of
    `tuning.data.formats.registry`. `given` holds all that was said of the sound ones, by id; `left_out` the rows that
    are of no use, with the reason.
    """

    rows: tuple[tuple[int, Question | str], ...]
    called: str
    unit: str
    format: str
    given: Mapping[str, Given]
    left_out: tuple[tuple[int, Row, str], ...] = ()


def load_examples(path: Path, columns: Columns | None = None, *, say: Say = lambda _: None) -> tuple[Question, ...]:
    """Examples from the rows that `scan_examples` reads; the first answer is learned.

    Raises TuningError with the line of every faulty row and repeated id (the first ten are listed), and when there is
    no row at all.
    """
    found = scan_examples(path, nothing_to_learn, columns=columns, say=say)
    like = '{"question": "...", "answers": ["..."]}'
    return sound_rows(found.called, found.rows, called="examples", like=like, error=TuningError, unit=found.unit)


def scan_examples(
    path: Path,
    fault_of: Callable[[Question], str | None] | None = None,
    *,
    needs_answers: bool = True,
    columns: Columns | None = None,
    format: str | None = None,
    say: Say = lambda _: None,
) -> Scanned:
    """The rows of a file in any format of `tuning.data.formats`; evaluation files hold the same rows. Our own are
    `{id?, question | user_input, answers[] | answer | reference, doc_ids?, metadata?, history?}`.

    A row without an id is `<file stem>-<line>`; an id that was there before is a fault. Numbers are taken as text. A
    row with `metadata.unanswerable` true needs no answer; "unanswerable" is it then. Of preference pairs the answer is
    the chosen one. `columns` says which column holds which part; `say` is told what was found. `fault_of` finds what
    the caller cannot use; after it, blank answers are left out. Raises StorageError when the file cannot be read,
    TuningError where its columns are not known.
    """
    reading = read_rows(path, columns, format=format, needs_answers=needs_answers, say=say)
    rows: list[tuple[int, Question | str]] = []
    places: dict[str, tuple[int, int]] = {}
    seen: Counter[int] = Counter()
    sound: dict[str, Given] = {}
    for line, given in reading.rows:
        seen[line] += 1
        part = f".{seen[line]}" if seen[line] > 1 else ""  # a row may hold several questions
        found = given if isinstance(given, str) else _question(given, f"{stem_of(path)}-{line}{part}")
        if isinstance(found, Question):
            found = (fault_of(found) if fault_of is not None else None) or found
        if isinstance(found, Question):
            first = places.setdefault(found.id, (line, seen[line]))
            if first != (line, seen[line]):
                rows.append((line, f"id {found.id!r} was already used on {reading.unit} {first[0]}"))
                continue
            found = replace(found, answers=tuple(answer for answer in found.answers if answer.strip()))
            if not isinstance(given, str):
                sound[found.id] = given
        rows.append((line, found))
    return Scanned(tuple(rows), reading.called(path), reading.unit, reading.format, sound, reading.left_out)


def in_full(messages: Sequence[Message]) -> str:
    """A conversation as a text for whoever takes no messages; of one that begins with its question that alone."""
    if len(messages) == 1:
        return str(messages[0]["content"])
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)


def learned_rows(rows: Sequence[Question]) -> tuple[Question, ...]:
    """A row for every answer that is learned, in their order: those on the way to a conversation's end before its last.
    What several conversations begin with is learned once.
    """
    known: set[tuple[str, str]] = set()
    found: list[Question] = []
    for row in rows:
        *earlier, last = row.exchanges
        keys = [(repr(one.messages), one.answer) for one in earlier]
        found += [one for one, key in zip(earlier, keys, strict=True) if key not in known]
        found.append(last)
        known.update(keys)
    return tuple(found)


def sample(items: Sequence[T], limit: int | None, seed: int) -> tuple[T, ...]:
    """At most `limit` of the items in their own order, the same ones for the same seed; all of them for None."""
    if limit is None or limit >= len(items):
        return tuple(items)
    chosen = sorted(random.Random(seed).sample(range(len(items)), limit))
    return tuple(items[i] for i in chosen)


def nothing_to_learn(row: Question) -> str | None:
    """What is wrong with a training row that has no answer."""
    is_blank = not row.answers or not row.answer.strip()
    return "no answer to learn: `answers` is empty or begins with a blank one" if is_blank else None


def _question(row: Given, fallback_id: str) -> Question | str:
    """The question, or what is wrong with the row."""
    name = fallback_id if row.id is None else row.id
    question, given = row.question, row.answers
    metadata = row.metadata if row.metadata is not None else {}
    document_ids = texts_of(row.document_ids if row.document_ids is not None else [])
    if isinstance(name, float) and math.isfinite(name):
        name = int(name) if name.is_integer() else str(name)  # as tables with a gap have whole numbers
    if isinstance(name, bool) or not isinstance(name, str | int) or not str(name).strip():
        return f"`id` must be a text or a number, not {name!r}"
    asked = texts_of([question])
    if asked is None or not asked[0].strip():
        return "no `question` text"
    if not isinstance(metadata, dict):
        return "`metadata` must be an object"
    if not given and metadata.get("unanswerable") is True:
        given = "unanswerable"
    # A value that is missing is no answer, and NaN is how tables of numbers say so.
    held = [one for one in (given if isinstance(given, list) else [given]) if not _is_missing(one)]
    answers = texts_of([str(one).lower() if isinstance(one, bool) else one for one in held])
    if answers is None:
        wrong = next(one for one in held if not isinstance(one, bool) and texts_of([one]) is None)
        kind = _KINDS.get(type(wrong), str(wrong))
        return f"`answers` must be a list of strings or numbers, or `answer` one of them, not {kind}"
    if document_ids is None:
        return "`doc_ids` must be a list of strings or numbers"
    texts = (asked[0], *answers, *(str(one["content"]) for one in row.history), *(one.text for one in row.contexts))
    if (unfit := next((fault for text in texts if (fault := unfit_text(text))), None)) is not None:
        return unfit
    document_ids += [one.id for one in row.contexts if one.is_gold]
    return Question(
        str(name),
        asked[0],
        tuple(answers),
        tuple(dict.fromkeys(document_ids)),
        as_json(metadata),
        row.history,
        row.learned,
        row.contexts,
    )


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


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
