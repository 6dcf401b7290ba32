"""The user's own metrics: plain functions that a package names in the entry-point group `arbiter.metrics`.

    [project.entry-points."arbiter.metrics"]
    politeness = "my_package.metrics:politeness"

    def politeness(question: Question, record: AnswerRecord) -> float | None: ...

UserScorer(load_user_metrics()).score(pairs)  # {"politeness": [0.5, None, ...]}
"""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence

from eval.answers import AnswerRecord
from eval.errors import EvalError, one_line
from eval.questions import Question
from eval.scorer import AnswerScorer, Pair, Progress, to_score

GROUP = "arbiter.metrics"

# A score in [0, 1], or None where the metric is undefined.
UserMetric = Callable[[Question, AnswerRecord], float | None]

# Rounding may carry a mean past 1 by this much; more is another scale.
_ROUNDING = 1e-6
_REASON_CHARACTERS = 200


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
        metrics[entry.name], sources[entry.name] = _loaded(entry, where), source
    return metrics


class UserScorer:
    """Metrics that somebody else wrote: one that raises or returns no score leaves that answer unscored.

    `failures` counts such answers of the last `score` by metric, `reasons` has the first reason. None is no failure:
    the metric says that it is undefined there. A failed answer is never shown to a metric.
    """

    def __init__(self, metrics: Mapping[str, UserMetric]) -> None:
        """`metrics` maps names to functions of a question and an answer."""
        self._metrics = dict(metrics)
        self.failures: dict[str, int] = {}
        self.reasons: dict[str, str] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics' names."""
        return tuple(self._metrics)

    def score(self, pairs: Sequence[Pair], progress: Progress | None = None) -> dict[str, list[float | None]]:
        """Scores of every answer; a failed answer is None."""
        self.failures, self.reasons = {}, {}
        return AnswerScorer(self.names, self._score_all).score(pairs, progress)

    def diagnostics(self) -> tuple[str, ...]:
        """One line per metric that lost scores in the last `score`."""
        return tuple(
            f"{name}: the metric failed to score {count} answers; the first: {self.reasons[name]}"
            for name, count in self.failures.items()
        )

    def _score_all(self, question: Question, record: AnswerRecord) -> list[float | None]:
        return [self._score(name, metric, question, record) for name, metric in self._metrics.items()]

    def _score(self, name: str, metric: UserMetric, question: Question, record: AnswerRecord) -> float | None:
        try:
            value: object = metric(question, record)
            number = None if isinstance(value, str | bytes) else to_score(value)
        # The function is a stranger's: whatever it raises costs this one score and is counted.
        except Exception as error:
            self._lose(name, question, f"{type(error).__name__}: {error}")
            return None
        if value is None:
            return None
        # Clipping 85 to 1 would hide a metric that counts in percent.
        if number is None or abs(float(value) - number) > _ROUNDING:  # type: ignore[arg-type]  # to_score read it as one
            self._lose(name, question, f"it returned {value!r}, which is no number in [0, 1]")
            return None
        return number

    def _lose(self, name: str, question: Question, reason: str) -> None:
        self.failures[name] = self.failures.get(name, 0) + 1
        self.reasons.setdefault(name, one_line(f"question {question.id!r}: {reason}", _REASON_CHARACTERS))


def _loaded(entry: importlib.metadata.EntryPoint, where: str) -> UserMetric:
    try:
        metric = entry.load()
    # Importing somebody else's module may raise anything.
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise EvalError(f"{where} cannot be imported: {reason}; repair or uninstall the package") from error
    if not callable(metric) or inspect.iscoroutinefunction(metric):
        raise EvalError(f"{where} is no plain function of a question and an answer; repair or uninstall the package")
    checked: UserMetric = metric
    return checked
