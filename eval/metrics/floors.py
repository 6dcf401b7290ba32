"""Floors: answers that need no language model, scored exactly as an arm's. An arm that does not beat them has not
earned its cost: having labelled rows is not yet a reason to train on them.

measure_floors(examples, questions, embed, scorers, "exact_match")  # {"nearest training answer": (1.0, ...), ...}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from eval.answers import AnswerRecord
from eval.metrics.labels import kind_of
from eval.metrics.primary import Declared, metrics_of, primary_column
from eval.questions import Question
from eval.scorer import Embed, Pair, Scorer
from router.deciding.scorecard import Score
from tuning.data.examples import Example

NEAREST = "nearest training answer"
MAJORITY = "majority answer"

# Questions compared with all examples at a time, so that the similarities take little memory.
_BLOCK = 256
# Cosines that agree to so many decimals are a tie: the last bits depend on the machine.
_DECIMALS = 5


def nearest_training_answers(
    examples: Sequence[Example], questions: Sequence[Question], embed: Embed
) -> tuple[AnswerRecord, ...]:
    """The answer of the most similar training question, by cosine, for every question; the first of equals.

    Empty without examples.
    """
    if not examples:
        return ()
    known = embed([example.question for example in examples])
    asked = embed([question.text for question in questions])
    nearest = [
        int(row)
        for start in range(0, len(questions), _BLOCK)
        for row in np.round(asked[start : start + _BLOCK] @ known.T, _DECIMALS).argmax(axis=1)
    ]
    return tuple(
        AnswerRecord(NEAREST, question.id, examples[row].answer)
        for question, row in zip(questions, nearest, strict=True)
    )


def majority_answers(examples: Sequence[Example], questions: Sequence[Question]) -> tuple[AnswerRecord, ...]:
    """The most frequent training answer of the question's kind, of all kinds where there is none; the first of equals.

    Empty without examples.
    """
    if not examples:
        return ()
    counts: dict[str | None, Counter[str]] = {}
    for example in examples:
        counts.setdefault(kind_of(example), Counter())[example.answer] += 1
    overall = Counter(example.answer for example in examples)
    return tuple(
        AnswerRecord(MAJORITY, question.id, counts.get(kind_of(question), overall).most_common(1)[0][0])
        for question in questions
    )


def score_floor(
    questions: Sequence[Question], records: Sequence[AnswerRecord], scorers: Sequence[Scorer], declared: Declared
) -> tuple[Score, ...]:
    """The primary scores of one record per question, by the scorers that the arms are scored with.

    Only scorers that give a declared metric are asked. Raises EvalError when none does.
    """
    pairs: list[Pair] = list(zip(questions, records, strict=True))
    wanted = set(metrics_of(declared))
    columns: dict[str, list[Score]] = {}
    for scorer in scorers:
        if wanted.intersection(scorer.names):
            columns |= scorer.score(pairs)
    column, _ = primary_column(questions, columns, declared)
    return tuple(column)


def measure_floors(
    examples: Sequence[Example],
    questions: Sequence[Question],
    embed: Embed,
    scorers: Sequence[Scorer],
    declared: Declared,
) -> Mapping[str, tuple[Score, ...]]:
    """Primary scores of every floor, by its name, aligned with `questions`; empty without training rows."""
    if not examples or not questions:
        return {}
    answers = (nearest_training_answers(examples, questions, embed), majority_answers(examples, questions))
    return {records[0].arm: score_floor(questions, records, scorers, declared) for records in answers}
