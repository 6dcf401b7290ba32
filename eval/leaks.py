"""Leaks: training rows that give an evaluation question away, so that an adapter would win by memory.

refuse_leaks(examples, questions)
examples, near = leave_out_near_repeats(examples, questions)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from eval.errors import EvalError, listed
from eval.questions import Question, plain_text
from tuning.data.examples import Example

# rapidfuzz's normalised indel similarity in percent. In seven public sets, pairs with a common answer from here on were
# one question in other words ("Super Bowl XXXIII" of / for). Those just below asked for something else in the same
# frame ("In what country is Bud?" and "... Peru?", both in the United States).
NEAR_PERCENT = 90.0

# Rows compared with all questions at a time, so that the similarities take little memory.
_BLOCK = 4096
# A note is no error: a few examples say what was meant.
_SHOWN_NEAR = 2

Row = TypeVar("Row", Example, Question)


@dataclass(frozen=True, slots=True)
class NearRepeat:
    """A row that nearly repeats an evaluation question and has a gold answer in common with it.

    `percent` is their similarity, from `NEAR_PERCENT` to 100.
    """

    row_id: str
    question_id: str
    percent: float


def refuse_leaks(rows: Sequence[Row], questions: Sequence[Question], *, called: str = "training") -> None:
    """Raise EvalError listing every row that repeats an evaluation question (case and punctuation aside).

    An adapter trained on such a row wins by memory, so the comparison would be worthless. `called` says which rows
    these are.
    """
    _, repeats = leave_out_repeats(rows, questions)
    if repeats:
        pairs = (f"{row!r} repeats {question!r}" for row, question in repeats)
        raise EvalError(
            f"{len(repeats)} {called} rows repeat an evaluation question: {listed(pairs, separator=', ')}; "
            f"remove them from one of the files, or leave them out of the {called} rows with limits.repeats=drop"
        )


def leave_out_repeats(
    rows: Sequence[Row], questions: Sequence[Question]
) -> tuple[tuple[Row, ...], tuple[tuple[str, str], ...]]:
    """The rows that repeat no question, and the ids of those that do, each with the question's."""
    asked = {plain_text(question.text): question.id for question in questions}
    kept: list[Row] = []
    repeats: list[tuple[str, str]] = []
    for row in rows:
        question = asked.get(plain_text(_text(row)))
        if question is None:
            kept.append(row)
        else:
            repeats.append((row.id, question))
    return tuple(kept), tuple(repeats)


def leave_out_near_repeats(
    rows: Sequence[Row], questions: Sequence[Question]
) -> tuple[tuple[Row, ...], tuple[NearRepeat, ...]]:
    """The rows that are no near repeats of a question, in their order, and the near repeats.

    A near repeat is at least `NEAR_PERCENT` similar, case and punctuation aside, and has an answer in common: questions
    in one frame ("What is the capital of ...?") with different answers give nothing away.
    """
    if not rows or not questions:
        return tuple(rows), ()
    asked = [plain_text(question.text) for question in questions]
    golds = [{plain_text(answer) for answer in question.answers} for question in questions]
    kept: list[Row] = []
    near: list[NearRepeat] = []
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        for row, similar in zip(block, _similar([plain_text(_text(row)) for row in block], asked), strict=True):
            answers = {plain_text(answer) for answer in _answers(row)}
            shared = [(percent, i) for percent, i in similar if answers & golds[i]]
            if shared:
                percent, i = max(shared, key=lambda pair: (pair[0], -pair[1]))
                near.append(NearRepeat(row.id, questions[i].id, percent))
            else:
                kept.append(row)
    return tuple(kept), tuple(near)


def describe(near: Sequence[NearRepeat], *, called: str = "training") -> str:
    """One line that counts near repeats and names the first of them."""
    plural, are = ("s", "are") if len(near) > 1 else ("", "is")
    pairs = (f"{pair.row_id!r} ({pair.question_id!r}, {pair.percent:.0f}%)" for pair in near)
    return (
        f"{len(near)} {called} row{plural} {are} left out, at least {NEAR_PERCENT:.0f}% the same as an evaluation "
        f"question with the same answer: {listed(pairs, separator=', ', shown=_SHOWN_NEAR)}"
    )


def _similar(texts: Sequence[str], asked: Sequence[str]) -> list[list[tuple[float, int]]]:
    """For each text the `(percent, question)` pairs from `NEAR_PERCENT` on."""
    import numpy as np
    from rapidfuzz import fuzz, process

    percents = process.cdist(texts, asked, scorer=fuzz.ratio, score_cutoff=NEAR_PERCENT, dtype=np.float32, workers=-1)
    found: list[list[tuple[float, int]]] = [[] for _ in texts]
    for i, j in np.argwhere(percents >= NEAR_PERCENT):
        found[i].append((float(percents[i, j]), int(j)))
    return found


def _text(row: Example | Question) -> str:
    return row.question if isinstance(row, Example) else row.text


def _answers(row: Example | Question) -> tuple[str, ...]:
    return (row.answer,) if isinstance(row, Example) else row.answers
