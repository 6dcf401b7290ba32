"""Evaluation questions: load and validate, refuse golds that contradict each other, merge what is asked twice.

questions = load_questions(Path("data/test.jsonl"))
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from eval.errors import EvalError
from storage.jsonl import read_jsonl
from tuning.data.examples import Example

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


def clusters_of(questions: Sequence[Question], document_ids: Collection[str]) -> dict[str, str]:
    """Question id -> what the statistics resample by: the source document, or the question itself.

    Questions about one document are alike, so where `document_ids`, the whole collection, has documents that nobody
    asks about, documents are what was sampled. Where every document is asked about there are no others to speak for:
    the documents are given, questions are what was sampled, and each stands alone.
    """
    asked_about = {name for question in questions for name in question.document_ids}
    if asked_about and asked_about.issuperset(document_ids):
        return {question.id: f"question:{question.id}" for question in questions}
    return {question.id: question.cluster for question in questions}


def load_questions(path: Path, *, refuse_contradictions: bool = True) -> tuple[Question, ...]:
    """Questions from rows `{id?, question | user_input, answers[] | answer | reference, doc_ids?, metadata?}`.

    A row with `metadata.unanswerable` true needs no gold; "unanswerable" is it then. Raises EvalError naming file and
    line of every faulty row (the first ten), of every row that asks what another asks with no gold in common (unless
    told not to), and when there is no question at all.
    """
    rows: list[tuple[int, Question]] = []
    faults: list[tuple[int, str]] = []
    lines_of: dict[str, int] = {}
    for line, row in read_jsonl(path):
        question = _question(row, fallback_id=f"{path.stem}-{line}")
        if isinstance(question, str):
            faults.append((line, question))
        elif question.id in lines_of:
            faults.append((line, f"id {question.id!r} was already used on line {lines_of[question.id]}"))
        else:
            lines_of[question.id] = line
            rows.append((line, question))
    if refuse_contradictions:
        faults = sorted(faults + _contradictions(rows))
    if faults:
        listed = "; ".join(f"line {line}: {fault}" for line, fault in faults[:_SHOWN])
        more = f" and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise EvalError(f"{path}: {len(faults)} faulty questions: {listed}{more}")
    if not rows:
        raise EvalError(f'{path} holds no questions; add rows like {{"question": ..., "answers": [...]}}')
    return tuple(question for _, question in rows)


def merge_repeats(questions: Sequence[Question]) -> tuple[tuple[Question, ...], tuple[tuple[str, str], ...]]:
    """Questions with the same text (case and the end's punctuation aside) as one: the first of them, with the golds and
    documents of all; and the ids that are gone, each with the id it went to.

    A repeat tells nothing new, and counted twice it would make a result look surer than it is.
    """
    firsts: dict[str, Question] = {}
    gone: list[tuple[str, str]] = []
    for question in questions:
        text = _asked(question.text)
        first = firsts.get(text)
        if first is None:
            firsts[text] = question
        else:
            firsts[text] = replace(
                first,
                answers=tuple(dict.fromkeys((*first.answers, *question.answers))),
                document_ids=tuple(dict.fromkeys((*first.document_ids, *question.document_ids))),
            )
            gone.append((question.id, first.id))
    return tuple(firsts.values()), tuple(gone)


def as_example(question: Question) -> Example:
    """The question as a training row; the first gold is learned."""
    return Example(question.id, question.text, question.answers[0], question.document_ids, question.metadata)


def plain_text(text: str) -> str:
    """Lower case without punctuation, to compare what was asked; a text without words stays as it is."""
    return _NOT_WORD.sub(" ", text.lower()).strip() or text.strip()


def _asked(text: str) -> str:
    # Punctuation counts within a question: "What is C?" is not "What is C++?".
    return " ".join(text.lower().split()).rstrip(" ?!.")


def _contradictions(rows: Sequence[tuple[int, Question]]) -> list[tuple[int, str]]:
    """Lines that ask what an earlier line asks and have no gold in common with it."""
    asked: dict[str, list[tuple[int, set[str]]]] = {}
    faults: list[tuple[int, str]] = []
    for line, question in rows:
        golds = {plain_text(answer) for answer in question.answers}
        earlier = asked.setdefault(_asked(question.text), [])
        other = next((known for known, others in earlier if not golds & others), None)
        if other is not None:
            faults.append(
                (
                    line,
                    f"asks {question.text[:40]!r} as line {other} does, with other golds; no answer can be right for "
                    "both, so remove one or give both all accepted answers",
                )
            )
        earlier.append((line, golds))
    return faults


def _question(row: Mapping[str, object], *, fallback_id: str) -> Question | str:
    """The question of a row, or what is wrong with it."""
    name = fallback_id if row.get("id") is None else row["id"]
    text = row.get("question", row.get("user_input"))
    answers = next((row[key] for key in ("answers", "answer", "reference") if row.get(key) is not None), None)
    document_ids = row.get("doc_ids") if row.get("doc_ids") is not None else []
    metadata = row.get("metadata") if row.get("metadata") is not None else {}
    if isinstance(name, bool) or not isinstance(name, str | int) or not str(name).strip():
        return f"`id` must be a text or a number, not {name!r}"
    if not isinstance(text, str) or not text.strip():
        return "no `question` text"
    if not isinstance(metadata, dict):
        return "`metadata` must be an object"
    if isinstance(answers, str):
        answers = [answers]
    if not answers and metadata.get("unanswerable") is True:
        answers = ["unanswerable"]
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        return "`answers` must be a list of strings"
    if not any(answer.strip() for answer in answers):
        return f"question {text[:40]!r} has no gold answer"
    if not isinstance(document_ids, list) or not all(isinstance(name, str) for name in document_ids):
        return "`doc_ids` must be a list of strings"
    return Question(
        id=str(name),
        text=text,
        answers=tuple(answer for answer in answers if answer.strip()),
        document_ids=tuple(document_ids),
        metadata=metadata,
    )
