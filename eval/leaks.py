"""Leaks: training rows that give an evaluation question away, so that an adapter would win by memory.

examples, notes = leave_out_leaks(examples, questions, called="training", repeats="drop")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from eval.errors import EvalError
from eval.questions import Question, plain_text
from storage.errors import listed

# rapidfuzz's normalised indel similarity in percent. In seven public sets, pairs with a common answer from here on were
# one question in other words ("Super Bowl XXXIII" of / for). Those just below asked for something else in the same
# frame ("In what country is Bud?" and "... Peru?", both in the United States).
NEAR_PERCENT = 90.0

# Rows compared with all questions at a time, so that the similarities take little memory.
_BLOCK = 4096
# A note is no error: a few examples say what was meant.
_SHOWN_NEAR = 2

OnFault = Literal["refuse", "drop"]


def leave_out_leaks(
    rows: Sequence[Question], questions: Sequence[Question], *, called: str, repeats: OnFault = "refuse"
) -> tuple[tuple[Question, ...], tuple[str, ...]]:
    """The rows that give no question away, in their order, and what was left out, a line each.

    An adapter trained on a row that repeats a question (case and punctuation aside) wins by memory, so the comparison
    would be worthless: such rows raise EvalError unless they are to be dropped. Near repeats are left out in any case.
    `called` says which rows these are.
    """
    notes: list[str] = []
    asked = {plain_text(question.text): question.id for question in questions}
    found = {row.id: name for row in rows if (name := asked.get(plain_text(row.text))) is not None}
    if found and repeats == "refuse":
        pairs = (f"{row!r} repeats {question!r}" for row, question in found.items())
        raise EvalError(
            f"{len(found)} {called} rows repeat an evaluation question: {listed(pairs, separator=', ')}; "
            f"remove them from one of the files, or leave them out of the {called} rows with limits.repeats=drop"
        )
    if found:
        pairs = (f"{row!r} ({question!r})" for row, question in found.items())
        notes.append(
            f"{len(found)} {called} rows that repeat an evaluation question are left out (limits.repeats=drop): "
            f"{listed(pairs, separator=', ')}"
        )
    kept = [row for row in rows if row.id not in found]
    near = find_near_repeats(kept, questions)
    if near:
        plural, are = ("s", "are") if len(near) > 1 else ("", "is")
        pairs = (f"{row!r} ({question!r}, {percent:.0f}%)" for row, (question, percent) in near.items())
        notes.append(
            f"{len(near)} {called} row{plural} {are} left out, at least {NEAR_PERCENT:.0f}% the same as an evaluation "
            f"question with the same answer: {listed(pairs, separator=', ', shown=_SHOWN_NEAR)}"
        )
    return tuple(row for row in kept if row.id not in near), tuple(notes)


def find_near_repeats(rows: Sequence[Question], questions: Sequence[Question]) -> dict[str, tuple[str, float]]:
    """Row id -> the id of the question that it nearly repeats, the most similar one, and their similarity in percent.

    A near repeat is at least `NEAR_PERCENT` similar, case and punctuation aside, and has an answer in common: questions
    in one frame ("What is the capital of ...?") with different answers give nothing away.
    """
    import numpy as np
    from rapidfuzz import fuzz, process

    if not rows or not questions:
        return {}
    asked = [plain_text(question.text) for question in questions]
    golds = [{plain_text(answer) for answer in question.answers} for question in questions]
    near: dict[str, tuple[str, float]] = {}
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        texts = [plain_text(row.text) for row in block]
        percents = process.cdist(
            texts, asked, scorer=fuzz.ratio, score_cutoff=NEAR_PERCENT, dtype=np.float32, workers=-1
        )
        for row, similar in zip(block, percents, strict=True):
            answers = {plain_text(answer) for answer in row.answers}
            shared = [i for i in np.flatnonzero(similar >= NEAR_PERCENT).tolist() if answers & golds[i]]
            if shared:
                best = max(shared, key=lambda i: similar[i])
                near[row.id] = questions[best].id, float(similar[best])
    return near
