"""Evaluation questions: load and validate, refuse or drop golds that contradict each other, merge what is asked twice.

questions = load_questions(Path("data/test.jsonl"))
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from eval.errors import EvalError, listed
from tuning.data.examples import Example, scan_examples

_NOT_WORD = re.compile(r"\W+")
_CONTRADICTION = (
    "asks {!r} as line {} does, with other golds; no answer can be right for both, so remove one, give both all "
    "accepted answers, or leave all such rows out with limits.contradictions=drop"
)


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
    """Questions from rows as `tuning.data.examples.scan_examples` reads them; every answer is an accepted gold.

    Raises EvalError naming file and line of every faulty row (the first ten), of every row that asks what another asks
    with no gold in common (unless told not to), and when there is no question at all.
    """
    rows: list[tuple[int, Question]] = []
    faults: list[tuple[int, str]] = []
    for line, row in scan_examples(path, _no_gold):
        if isinstance(row, str):
            faults.append((line, row))
        else:
            rows.append((line, as_question(row)))
    if refuse_contradictions:
        for i, earlier in _contradictions([question for _, question in rows]):
            faults.append((rows[i][0], _CONTRADICTION.format(rows[i][1].text[:40], rows[earlier][0])))
        faults.sort()
    if faults:
        raise EvalError(f"{path}: {len(faults)} faulty questions: {listed(f'line {n}: {why}' for n, why in faults)}")
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


def drop_contradictions(questions: Sequence[Question]) -> tuple[tuple[Question, ...], tuple[str, ...]]:
    """The questions without all that ask what another asks with no gold in common, whichever is right; and their ids.

    Raises EvalError when none is left.
    """
    disputed = {_asked(questions[i].text) for i, _ in _contradictions(questions)}
    kept = tuple(question for question in questions if _asked(question.text) not in disputed)
    if questions and not kept:
        raise EvalError(f"all {len(questions)} questions contradict another one; give other golds")
    return kept, tuple(question.id for question in questions if _asked(question.text) in disputed)


def as_example(question: Question) -> Example:
    """The question as a training row; the first gold is learned."""
    first, *others = question.answers
    return Example(question.id, question.text, first, question.document_ids, question.metadata, tuple(others))


def as_question(example: Example) -> Question:
    """The training row as a question, with every answer that is not blank for a gold."""
    answers = tuple(answer for answer in (example.answer, *example.other_answers) if answer.strip())
    return Question(example.id, example.question, answers, example.document_ids, example.metadata)


def plain_text(text: str) -> str:
    """Lower case without punctuation, to compare what was asked; a text without words stays as it is."""
    return _NOT_WORD.sub(" ", text.lower()).strip() or text.strip()


def _no_gold(row: Example) -> str | None:
    return None if as_question(row).answers else f"question {row.question[:40]!r} has no gold answer"


def _asked(text: str) -> str:
    # Punctuation counts within a question: "What is C?" is not "What is C++?".
    return " ".join(text.lower().split()).rstrip(" ?!.")


def _contradictions(questions: Sequence[Question]) -> list[tuple[int, int]]:
    """Places of questions that ask what an earlier one asks with no gold in common, each with the earlier one's."""
    asked: dict[str, list[tuple[int, set[str]]]] = {}
    found: list[tuple[int, int]] = []
    for place, question in enumerate(questions):
        golds = {plain_text(answer) for answer in question.answers}
        earlier = asked.setdefault(_asked(question.text), [])
        other = next((known for known, others in earlier if not golds & others), None)
        if other is not None:
            found.append((place, other))
        earlier.append((place, golds))
    return found
