"""The primary metric: one for all questions, or one for each kind of question, gathered in the column `primary`.

column, metric_of = primary_column(questions, columns, {"default": "token_f1", "format": "exact_match"})
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence

from eval.errors import EvalError
from eval.metrics.labels import kind_of
from eval.questions import Question
from router.deciding.scorecard import Score

# The column that decides when kinds of questions have metrics of their own.
PRIMARY = "primary"
# The key that holds for kinds without a metric of their own.
DEFAULT = "default"

# A metric's name, or kinds of questions (`metadata["kind"]`) to metrics with the key "default".
Declared = str | Mapping[str, str]


def metrics_of(declared: Declared) -> tuple[str, ...]:
    """The metrics that are declared, each once."""
    return (declared,) if isinstance(declared, str) else tuple(dict.fromkeys(declared.values()))


def check_declared(declared: Declared, known: Collection[str]) -> None:
    """Raise EvalError, before anything is asked, for a metric that does not exist or a mapping without "default"."""
    unknown = [name for name in metrics_of(declared) if name not in known]
    if unknown:
        listed = ", ".join(repr(name) for name in unknown)
        close = difflib.get_close_matches(unknown[0], list(known), n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise EvalError(f"no metric {listed} for policy.metric{hint}; choose one of: {', '.join(known)}")
    if not isinstance(declared, str) and DEFAULT not in declared:
        raise EvalError(f"policy.metric maps {', '.join(declared) or 'nothing'} and has no {DEFAULT!r}; add that key")


def unused_kinds(declared: Declared, questions: Sequence[Question]) -> tuple[str, ...]:
    """Kinds with a metric of their own that no question has: a misspelt kind, or one that was sampled away."""
    if isinstance(declared, str):
        return ()
    kinds = {kind_of(question) for question in questions}
    return tuple(kind for kind in declared if kind != DEFAULT and kind not in kinds)


def primary_column(
    questions: Sequence[Question], columns: Mapping[str, Sequence[Score]], declared: Declared
) -> tuple[list[Score], dict[str, str]]:
    """Per row the score by the metric of its question's kind, and the metric of each kind, "default" included.

    `questions[i]` is the question of row i of every column. One metric for all gives its own column and no kinds.
    Raises EvalError for metrics that are not among the columns and for a mapping without "default".
    """
    check_declared(declared, columns)
    if isinstance(declared, str):
        return list(columns[declared]), {}
    chosen = [declared.get(kind_of(question) or DEFAULT, declared[DEFAULT]) for question in questions]
    return [columns[metric][row] for row, metric in enumerate(chosen)], dict(declared)
