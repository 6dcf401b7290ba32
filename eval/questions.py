"""Evaluation questions: load, validate, and refuse those that the training rows already give away.

questions = load_questions(Path("data/test.jsonl"))
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from eval.errors import EvalError
from tuning.examples import Example
from tuning.jsonl import read_jsonl

_SHOWN = 10
_NOT_WORD = re.compile(r"\W+")


@dataclass(frozen=True, slots=True)
class Question:
    """An evaluation row: `answers` are all accepted golds, `document_ids` the documents that hold them, if known."""

    id: str
    text: str
    answers: tuple[str, ...]
    document_ids: tuple[str, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)

    @property
    def cluster(self) -> str:
        """The source document the statistics resample by; a question without one stands alone."""
        return self.document_ids[0] if self.document_ids else f"question:{self.id}"

    @classmethod
    def from_dict(cls, row: Mapping[str, object]) -> Question:
        """The question that `dataclasses.asdict` and JSON made a row of."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()})  # type: ignore[arg-type]


def load_questions(path: Path) -> tuple[Question, ...]:
    """Questions from rows `{id?, question | user_input, answers[] | reference, doc_ids?, metadata?}`.

    Raises EvalError naming file and line of every faulty row (the first ten), and when there is no question at all.
    """
    questions: list[Question] = []
    faults: list[str] = []
    lines_of: dict[str, int] = {}
    for line, row in read_jsonl(path):
        question = _question(row, fallback_id=f"{path.stem}-{line}")
        if isinstance(question, str):
            faults.append(f"line {line}: {question}")
        elif question.id in lines_of:
            faults.append(f"line {line}: id {question.id!r} was already used on line {lines_of[question.id]}")
        else:
            lines_of[question.id] = line
            questions.append(question)
    if faults:
        more = f" and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise EvalError(f"{path}: {len(faults)} faulty questions: {'; '.join(faults[:_SHOWN])}{more}")
    if not questions:
        raise EvalError(f'{path} holds no questions; add rows like {{"question": ..., "answers": [...]}}')
    return tuple(questions)


def refuse_leaks(examples: Sequence[Example], questions: Sequence[Question]) -> None:
    """Raise EvalError listing every training row that repeats an evaluation question (case and punctuation aside).

    An adapter trained on such a row wins by memory, so the comparison would be worthless.
    """
    asked = {_normalised(question.text): question.id for question in questions}
    repeats = [(e.id, asked[_normalised(e.question)]) for e in examples if _normalised(e.question) in asked]
    if repeats:
        listed = ", ".join(f"{example!r} repeats {question!r}" for example, question in repeats[:_SHOWN])
        more = f" and {len(repeats) - _SHOWN} more" if len(repeats) > _SHOWN else ""
        raise EvalError(
            f"{len(repeats)} training rows repeat an evaluation question: {listed}{more}; "
            "remove them from one of the files"
        )


def _question(row: Mapping[str, object], *, fallback_id: str) -> Question | str:
    """The question of a row, or what is wrong with it."""
    text = row.get("question", row.get("user_input"))
    answers = row.get("answers", row.get("reference"))
    document_ids = row.get("doc_ids", [])
    metadata = row.get("metadata", {})
    if not isinstance(text, str) or not text.strip():
        return "no `question` text"
    if isinstance(answers, str):
        answers = [answers]
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        return "`answers` must be a list of strings"
    if not any(answer.strip() for answer in answers):
        return f"question {text[:40]!r} has no gold answer"
    if not isinstance(document_ids, list) or not all(isinstance(name, str) for name in document_ids):
        return "`doc_ids` must be a list of strings"
    if not isinstance(metadata, dict):
        return "`metadata` must be an object"
    return Question(
        id=str(row.get("id", fallback_id)),
        text=text,
        answers=tuple(answer for answer in answers if answer.strip()),
        document_ids=tuple(document_ids),
        metadata=metadata,
    )


def _normalised(text: str) -> str:
    return _NOT_WORD.sub(" ", text.lower()).strip()
