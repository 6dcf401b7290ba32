"""Training examples: a question, its answer, and the documents that hold it.

examples = load_examples(Path("data/train.jsonl"))
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from storage.jsonl import faults_error, scan_jsonl
from tuning.errors import TuningError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Example:
    """One question and answer to learn from. `document_ids` name the documents that hold the answer, if any do."""

    id: str
    question: str
    answer: str
    document_ids: tuple[str, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)


def load_examples(path: Path) -> tuple[Example, ...]:
    """Examples from rows `{id?, question, answers[] or answer, doc_ids?, metadata?}`; the first answer is learned.

    A row without an id is `<file stem>-<line>`. Raises TuningError with the line of every faulty row and repeated id
    (the first ten are listed), and when there is no row at all.
    """
    examples: list[Example] = []
    faults: list[tuple[int, str]] = []
    lines_of: dict[str, int] = {}
    for line, row in scan_jsonl(path):
        example = row if isinstance(row, str) else _example(row, fallback_id=f"{path.stem}-{line}")
        if isinstance(example, str):
            faults.append((line, example))
        elif example.id in lines_of:
            faults.append((line, f"id {example.id!r} was already used on line {lines_of[example.id]}"))
        else:
            lines_of[example.id] = line
            examples.append(example)
    if faults:
        raise faults_error(path, faults)
    if not examples:
        raise TuningError(f'{path} holds no examples; add rows like {{"question": "...", "answers": ["..."]}}')
    return tuple(examples)


def sample(items: Sequence[T], limit: int | None, seed: int) -> tuple[T, ...]:
    """At most `limit` of the items in their own order, the same ones for the same seed; all of them for None."""
    if limit is None or limit >= len(items):
        return tuple(items)
    chosen = sorted(random.Random(seed).sample(range(len(items)), limit))
    return tuple(items[i] for i in chosen)


def _example(row: Mapping[str, object], *, fallback_id: str) -> Example | str:
    """The example, or what is wrong with the row."""
    name, question = row.get("id"), row.get("question")
    document_ids, metadata = row.get("doc_ids"), row.get("metadata")
    if name is None:
        name = fallback_id
    if isinstance(name, bool) or not isinstance(name, str | int) or not str(name).strip():
        return f"`id` must be a text or a number, not {name!r}"
    if not isinstance(question, str) or not question.strip():
        return "no `question` text"
    answers = [row["answer"]] if row.get("answers") is None and "answer" in row else row.get("answers")
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        return "`answers` must be a list of strings (or `answer` one string)"
    if not answers or not answers[0].strip():
        return "no answer to learn: `answers` is empty or begins with a blank one"
    if document_ids is None:
        document_ids = []
    if not isinstance(document_ids, list) or not all(isinstance(document, str) for document in document_ids):
        return "`doc_ids` must be a list of strings"
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, dict):
        return "`metadata` must be an object"
    return Example(str(name), question, answers[0], tuple(document_ids), metadata)
