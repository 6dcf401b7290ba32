"""Floors: answers that need no language model, scored exactly as an arm's. An arm that does not beat them has not
earned its cost: having labelled rows is not yet a reason to train on them.

measure_floors(examples, questions, embed, scorers, "exact_match")  # {"nearest training answer": (1.0, ...), ...}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from eval.answers import AnswerRecord
from eval.metrics.catalogue import Declared, metrics_of, primary_column
from eval.metrics.labels import kind_of
from eval.questions import Question
from eval.scorer import Embed, Pair, Scorer
from router.deciding.scorecard import Score

NEAREST = "nearest training answer"
MAJORITY = "majority answer"

# Cosines that agree to so many decimals are a tie: the last bits depend on the machine.
_DECIMALS = 5


def measure_floors(
    examples: Sequence[Question],
    questions: Sequence[Question],
    embed: Embed,
    scorers: Sequence[Scorer],
    declared: Declared,
) -> Mapping[str, tuple[Score, ...]]:
    """Primary scores of every floor, by its name, aligned with `questions`; empty without training rows.

    Only scorers that give a declared metric are asked. Raises EvalError when none does.
    """
    if not examples or not questions:
        return {}
    wanted = set(metrics_of(declared))
    floors: dict[str, tuple[Score, ...]] = {}
    for records in (nearest_training_answers(examples, questions, embed), majority_answers(examples, questions)):
        pairs: list[Pair] = list(zip(questions, records, strict=True))
        columns: dict[str, list[Score]] = {}
        for scorer in scorers:
            if wanted.intersection(scorer.names):
                columns |= scorer.score(pairs)
        floors[records[0].arm] = tuple(primary_column(questions, columns, declared)[0])
    return floors


def nearest_training_answers(
    examples: Sequence[Question], questions: Sequence[Question], embed: Embed
) -> list[AnswerRecord]:
    """The answer of the most similar training question, by cosine, for every question; the first of equals."""
    known = embed([example.in_full for example in examples])
    asked = embed([question.in_full for question in questions])
    # One at a time, so that the similarities take little memory.
    nearest = [int(np.round(known @ vector, _DECIMALS).argmax()) for vector in asked]
    return [
        AnswerRecord(NEAREST, question.id, examples[row].answer)
        for question, row in zip(questions, nearest, strict=True)
    ]


def majority_answers(examples: Sequence[Question], questions: Sequence[Question]) -> list[AnswerRecord]:
    """The most frequent training answer of a question's kind, of all kinds where it has none; the first of equals."""
    counts: dict[str | None, Counter[str]] = {}
    for example in examples:
        counts.setdefault(kind_of(example), Counter())[example.answer] += 1
    overall = Counter(example.answer for example in examples)
    return [
        AnswerRecord(MAJORITY, question.id, counts.get(kind_of(question), overall).most_common(1)[0][0])
        for question in questions
    ]
