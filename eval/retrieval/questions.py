"""Questions with the documents that answer them: `load_judged(Path("questions.jsonl"))`.

Answers are not needed here, so a file of questions and document ids is enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from eval.errors import EvalError
from eval.questions import Question, merge_repeats
from storage.jsonl import scan_jsonl

_SHOWN = 10


def load_judged(path: Path) -> tuple[Question, ...]:
    """Questions from rows `{id?, question | user_input, doc_ids?, metadata?}`; what is asked twice is one question.

    Raises EvalError naming file and line of every faulty row (the first ten), and when there is no question at all; the
    reader's own error where the file cannot be opened.
    """
    questions: list[Question] = []
    faults: list[str] = []
    lines_of: dict[str, int] = {}
    for line, row in scan_jsonl(path):
        question = row if isinstance(row, str) else _question(row, fallback_id=f"{path.stem}-{line}")
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
        raise EvalError(f'{path} holds no questions; add rows like {{"question": ..., "doc_ids": [...]}}')
    return merge_repeats(questions)[0]


def _question(row: Mapping[str, object], *, fallback_id: str) -> Question | str:
    """The question of a row, or what is wrong with it."""
    name = fallback_id if row.get("id") is None else row["id"]
    text = row.get("question", row.get("user_input"))
    document_ids = row.get("doc_ids") if row.get("doc_ids") is not None else []
    metadata = row.get("metadata") if row.get("metadata") is not None else {}
    if isinstance(name, bool) or not isinstance(name, str | int) or not str(name).strip():
        return f"`id` must be a text or a number, not {name!r}"
    if not isinstance(text, str) or not text.strip():
        return "no `question` text"
    if not isinstance(document_ids, list) or not all(isinstance(name, str) for name in document_ids):
        return "`doc_ids` must be a list of strings"
    if not isinstance(metadata, dict):
        return "`metadata` must be an object"
    return Question(str(name), text, (), tuple(document_ids), metadata)
