"""The user's own metrics: plain functions that a package names in the entry-point group `arbiter.metrics`.

    [project.entry-points."arbiter.metrics"]
    politeness = "my_package.metrics:politeness"

    def politeness(question: Question, record: AnswerRecord) -> float | None: ...

user_scorer(load_user_metrics(taken)).score(pairs)  # {"politeness": [0.5, None, ...]}
"""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Callable, Collection, Mapping

from eval.answers import AnswerRecord
from eval.errors import EvalError
from eval.questions import Question
from eval.scorer import Scorer, to_score

GROUP = "arbiter.metrics"

# A score in [0, 1], or None where the metric is undefined.
UserMetric = Callable[[Question, AnswerRecord], float | None]

# Rounding may carry a mean past 1 by this much; more is another scale.
_ROUNDING = 1e-6


def load_user_metrics(taken: Collection[str]) -> dict[str, UserMetric]:
    """The metrics of all installed packages by name, sorted; `taken` are the names that are not free.

    Raises EvalError that names the package where a metric has a taken name, the name of another package's metric, or
    cannot be imported and called.
    """
    metrics: dict[str, UserMetric] = {}
    sources: dict[str, str] = {}
    for entry in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        source = entry.dist.name if entry.dist is not None else entry.value
        where = f"metric {entry.name!r} of the package {source!r} ({entry.value})"
        if entry.name in taken:
            raise EvalError(f"{where} has the name of a built-in metric; give it another name")
        if entry.name in sources:
            raise EvalError(f"{where} has the name of a metric of {sources[entry.name]!r}; uninstall one of them")
        try:
            metric = entry.load()
        # Importing somebody else's module may raise anything.
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise EvalError(f"{where} cannot be imported: {reason}; repair or uninstall the package") from error
        if not callable(metric) or inspect.iscoroutinefunction(metric):
            raise EvalError(
                f"{where} is no plain function of a question and an answer; repair or uninstall the package"
            )
        metrics[entry.name], sources[entry.name] = metric, source
    return metrics


def user_scorer(metrics: Mapping[str, UserMetric]) -> Scorer:
    """Metrics by name that somebody else wrote; a score is lost where one raises or returns what is no score.

    None is no loss: the metric says that it is undefined there. An answer that failed scores 0 by each.
    """
    return Scorer(
        tuple(metrics),
        lambda question, record: [_score(metric, question, record) for metric in metrics.values()],
        when_failed=[0.0] * len(metrics),
    )


def _score(metric: UserMetric, question: Question, record: AnswerRecord) -> float | str | None:
    """The score, or why it is lost."""
    try:
        value: object = metric(question, record)
        number = None if isinstance(value, str | bytes) else to_score(value)
    # The function is a stranger's: whatever it raises costs this one score and is counted.
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    # Clipping 85 to 1 would hide a metric that counts in percent.
    is_score = number is not None and abs(float(value) - number) <= _ROUNDING  # type: ignore[arg-type]  # it is a number
    return number if is_score or value is None else f"it returned {value!r}, which is no number in [0, 1]"
