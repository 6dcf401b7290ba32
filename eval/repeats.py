"""Rows that ask what others ask, in the same words or nearly: what gives a question away, and what is there twice.

find_exact_repeats(rows, questions)    rows that ask a question of another set
find_near_repeats(rows, questions)     rows that nearly do
find_repeats(rows)                     rows that repeat an earlier one of their own set
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from eval.metrics.labels import kind_of, label_sets
from eval.questions import Question, plain_text, plain_turns

_NUMBER = re.compile(r"\d+")

# rapidfuzz's normalised indel similarity in percent. In seven public sets, pairs with a common answer from here on were
# one question in other words ("Super Bowl XXXIII" of / for). Those just below asked for something else in the same
# frame ("In what country is Bud?" and "... Peru?", both in the United States).
NEAR_PERCENT = 90.0


@dataclass(frozen=True, slots=True)
class Repeat:
    """The place of a row, that of an earlier one which it repeats, and how alike they are in percent; 100 is exact."""

    place: int
    of: int
    percent: float

    @property
    def is_exact(self) -> bool:
        """Whether the words are the same, case and punctuation aside."""
        return self.percent == 100


def find_exact_repeats(rows: Sequence[Question], questions: Sequence[Question]) -> dict[str, str]:
    """Row id -> the id of the question that it, or an exchange before it that is learned, asks in the same words
    (`plain_turns`), whatever its answer.
    """
    asked = {plain_turns(question): question.id for question in questions}
    return {
        row.id: name
        for row in rows
        for exchange in row.exchanges
        if (name := asked.get(plain_turns(exchange))) is not None
    }


def find_near_repeats(rows: Sequence[Question], questions: Sequence[Question]) -> dict[str, tuple[str, float]]:
    """Row id -> the id of the question that it nearly repeats, the most similar one, and their similarity in percent.

    A near repeat is at least `NEAR_PERCENT` similar, case and punctuation aside, after a history that is, too, and has
    an answer in common: questions in one frame ("What is the capital of ...?") with other answers give nothing away.
    Nor do texts of one label that differ in a number: "top up 20" and "top up 50" are two messages.
    """
    from rapidfuzz import fuzz, process

    asked = [plain_text(question.text) for question in questions]
    golds = [_plain_answers(question) for question in questions]
    is_another = _another({*label_sets(rows), *label_sets(questions)})

    def similar_to(row: Question) -> tuple[str, float] | None:
        answers = _plain_answers(row)
        # The most similar first.
        similar = process.extract(plain_text(row.text), asked, scorer=fuzz.ratio, score_cutoff=NEAR_PERCENT, limit=None)
        shared = (
            (questions[i].id, percent)
            for _, percent, i in similar
            if answers & golds[i] and not is_another(row, questions[i])
        )
        return next(shared, None)

    found = ((row.id, similar_to(exchange)) for row in rows for exchange in row.exchanges)
    return {name: shared for name, shared in found if shared is not None}


def find_repeats(
    rows: Sequence[Question],
    *,
    nearly: bool = True,
    beside: Sequence[str] | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Repeat]:
    """The rows that repeat an earlier one, in their order, each with the most similar of those that repeat nothing
    themselves: as many rows can be left out as there are repeats.

    Exact ones ask the same (`plain_turns`), `nearly` adds those that `find_near_repeats` would find, both with an
    answer in common. Candidates for near ones come from MinHash (`tuning.data.alike`), which misses few. `beside` is
    what must be the same besides, a text for each row: of preference pairs the answer that was rejected.
    """
    from tuning.data.alike import AlikeTexts  # brings a part of SciPy that nothing else needs

    is_another, alike = _another(set(label_sets(rows))), AlikeTexts(NEAR_PERCENT)
    answers = [_plain_answers(row) for row in rows]
    others = list(map(plain_text, beside)) if beside is not None else [""] * len(rows)
    asked: dict[tuple[str, ...], list[int]] = {}
    found: list[Repeat] = []

    def may_repeat(place: int, other: int) -> bool:
        return bool(answers[place] & answers[other]) and others[place] == others[other]

    for place, row in enumerate(rows):
        progress(place, len(rows))
        turns = plain_turns(row)
        same = asked.setdefault(turns, [])
        first = next((other for other in same if may_repeat(place, other)), None)
        if first is not None:
            found.append(Repeat(place, first, 100.0))
            continue
        text = plain_text(row.text)
        near = alike.find(text) if nearly else ()
        fitting = (
            Repeat(place, other, min(percent, 99.9))  # other words before it, or other punctuation
            for other, percent in near
            if may_repeat(place, other) and not is_another(row, rows[other])
        )
        if (repeat := next(fitting, None)) is not None:
            found.append(repeat)
            continue
        same.append(place)
        if nearly:
            alike.add(place, text)
    progress(len(rows), len(rows))
    return found


def _another(labelled: Collection[str | None]) -> Callable[[Question, Question], bool]:
    """Says of two rows in nearly the same words whether something else sets them apart: the number in a text of these
    kinds, whose answers are labels, or what was said before.
    """
    from rapidfuzz import fuzz

    def is_another(row: Question, other: Question) -> bool:
        before = [" ".join(plain_turns(each)[:-1]) for each in (row, other)]
        is_other_number = kind_of(row) in labelled and _NUMBER.findall(row.text) != _NUMBER.findall(other.text)
        return is_other_number or (any(before) and fuzz.ratio(*before) < NEAR_PERCENT)

    return is_another


def _plain_answers(row: Question) -> set[str]:
    return {plain_text(answer) for answer in row.answers}
