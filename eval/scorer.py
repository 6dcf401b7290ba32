"""Metrics that are computed together, and what counts as a score.

scorer.score([(question, record)], progress)  # {"exact_match": [1.0], "token_f1": [1.0]}
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from eval.answers import AnswerRecord
from eval.errors import one_line
from eval.questions import Question

# (n,) texts -> (n, d) float32 unit rows
Embed = Callable[[Sequence[str]], NDArray[np.float32]]
Pair = tuple[Question, AnswerRecord]
Progress = Callable[[int, int], None]

_REASON_CHARACTERS = 200


@dataclass(slots=True)
class Scorer:
    """One or more metrics: `score_one` gives for each of `names` a score in [0, 1], None where the metric is undefined,
    or the reason why the score was lost.

    `prepare`, which reports the progress where it is set, is called before with all answers that did not fail.
    `when_failed` gives what a failed answer scores, by default 0 by every metric that the gold answer has a score of:
    an arm that gives no answer must not look better for it. `lost` has the places of the scores that the last `score`
    lost, by metric, with the reasons; `called` is what lost them.
    """

    names: tuple[str, ...]
    score_one: Callable[[Question, AnswerRecord], Sequence[float | str | None]]
    prepare: Callable[[Sequence[Pair], Progress | None], None] | None = None
    called: str = "the metric"
    when_failed: Sequence[float | None] | None = None
    lost: dict[str, dict[int, str]] = field(default_factory=dict, init=False)

    def score(self, pairs: Sequence[Pair], progress: Progress | None = None) -> dict[str, list[float | None]]:
        """One list of scores per metric, aligned with `pairs`; None is unscored, never 0. A failed answer scores 0 by
        what is a share of right answers, and is never shown to the metric. `progress(done, total)` is called as work
        is finished.
        """
        self.lost = {}
        if self.prepare is not None:
            self.prepare([(question, record) for question, record in pairs if record.error is None], progress)
        scores: dict[str, list[float | None]] = {name: [] for name in self.names}
        for row, (question, record) in enumerate(pairs):
            values = self.score_one(question, record) if record.error is None else self._failed(question, record)
            for name, value in zip(self.names, values, strict=True):
                if isinstance(value, str):
                    said = one_line(f"question {question.id!r}: {value}", _REASON_CHARACTERS)
                    self.lost.setdefault(name, {})[row] = said
                scores[name].append(None if isinstance(value, str) else value)
            if progress is not None and self.prepare is None:
                progress(row + 1, len(pairs))
        return scores

    def _failed(self, question: Question, record: AnswerRecord) -> Sequence[float | None]:
        if self.when_failed is not None:
            return self.when_failed
        gold = self.score_one(question, replace(record, text=question.answers[0]))
        return [None if value is None else 0.0 for value in gold]

    def diagnostics(self) -> tuple[str, ...]:
        """One line per metric that lost scores in the last `score`."""
        return tuple(
            f"{name}: {self.called} failed to score {len(rows)} answers; the first: {next(iter(rows.values()))}"
            for name, rows in self.lost.items()
        )


def to_score(value: object) -> float | None:
    """A metric's raw value as a score: NaN, infinities and non-numbers become None, the rest is clipped to [0, 1].

    Cosines may be slightly negative or exceed 1 by rounding; the statistics need scores in [0, 1].
    """
    try:
        number = float(value)  # type: ignore[arg-type]  # whatever cannot be a number is caught
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(number, 0.0), 1.0) if math.isfinite(number) else None
