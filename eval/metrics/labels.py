"""Label questions: which questions have one of a few labels for an answer, and which label a free answer names.

label_scorer(label_sets(questions)).score(pairs)  # {"label_accuracy": [1.0, 0.0, None, ...]}
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from eval.answers import AnswerRecord
from eval.metrics.text import split_words
from eval.questions import Question
from eval.scorer import Scorer

# More labels than this, or labels that are used less than twice on average, are taken for free answers.
MAX_LABELS = 100
MIN_USES = 2


class Labels:
    """A closed set of labels, compared in normal form (lower case, words joined by single spaces): "card_arrival" and
    "Card arrival." are the same label.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        """The set of these labels as they are written."""
        spelt = {" ".join(_words(text)) for text in texts} - {""}
        # The longest first: "card payment fee" must not be read as "card payment".
        ordered = sorted(spelt, key=lambda label: (-len(label), label))
        pattern = "|".join(re.escape(label) for label in ordered) or r"(?!)"
        self.forms = frozenset(label.lower() for label in spelt)
        self._pattern = re.compile(rf"(?<!\S)(?:{pattern})(?!\S)")

    def find(self, answer: str) -> str | None:
        """The normal form of the one label that the answer names, None when it names none or several.

        The whole answer is compared first. Else exactly one label must stand in it as whole words, the longest where
        one lies within another; a label of a single letter counts only in its own case, so "a" is no label "A".
        """
        words = " ".join(_words(answer))
        if words.lower() in self.forms:
            return words.lower()
        found = {match.lower() for match in self._pattern.findall(words)}
        return found.pop() if len(found) == 1 else None


def label_sets(questions: Sequence[Question], examples: Sequence[Question] = ()) -> dict[str | None, Labels]:
    """The label set of every kind of question (`metadata["kind"]`, None without one) whose golds are labels.

    Golds are labels where a kind has 2 to `MAX_LABELS` distinct ones and at least `MIN_USES` questions for each. By the
    same rule the answers of training rows are further labels: some may be the gold of no question, and still be said.
    """
    golds: dict[str | None, list[tuple[str, ...]]] = defaultdict(list)
    trained: dict[str | None, list[tuple[str, ...]]] = defaultdict(list)
    for question in questions:
        golds[kind_of(question)].append(question.answers)
    for example in examples:
        trained[kind_of(example)].append((example.answer,))
    return {kind: Labels(labels | _labels(trained[kind])) for kind, rows in golds.items() if (labels := _labels(rows))}


def kind_of(row: Question) -> str | None:
    """The kind that a row's metadata declares, None without one."""
    kind = row.metadata.get("kind")
    return None if kind is None else str(kind)


def labels_of(rows: Sequence[Question]) -> list[str | None]:
    """The label of every row, with its kind before it where several kinds have labels; None where the first answer is
    none.
    """
    kinds = label_sets(rows)
    labels = ((kind_of(row), row.answer) if kind_of(row) in kinds else None for row in rows)
    return [label and (f"{label[0]}: {label[1]}" if len(kinds) > 1 and label[0] else label[1]) for label in labels]


def label_scorer(sets: Mapping[str | None, Labels]) -> Scorer:
    """`label_accuracy`: 1.0 when the one label that the answer names is an accepted one, else 0.0.

    `sets` maps kinds of questions to their labels: `label_sets(questions)`, or the user's own. Unscored where the
    question is no label question. This is accuracy as classification papers report it; an answer that names no label,
    or several, is wrong.
    """

    def score(question: Question, record: AnswerRecord) -> tuple[float | None]:
        labels = sets.get(kind_of(question))
        golds = {labels.find(gold) for gold in question.answers} - {None} if labels is not None else set()
        return (float(labels.find(record.text) in golds) if labels is not None and golds else None,)

    return Scorer(("label_accuracy",), score)


def _labels(golds: Sequence[Sequence[str]]) -> set[str]:
    """The distinct golds in normal form where they are labels, else nothing."""
    distinct = {" ".join(_words(gold)) for row in golds for gold in row} - {""}
    is_closed = 2 <= len(distinct) <= MAX_LABELS and len(golds) >= MIN_USES * len(distinct)
    return distinct if is_closed else set()


def _words(text: str) -> list[str]:
    """Words in lower case, single letters as they are written."""
    return [word if len(word) == 1 else word.lower() for word in split_words(text)]
