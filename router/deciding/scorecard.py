"""The scorecard: arms x questions x metrics, with costs, unscored counts, provenance, and how a race spent the
questions, as plain values. A race's rules are in router/deciding/evidence.py, the race itself in eval/race.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np

from router.answering.arm import Arm
from router.deciding.statistics import Documents, Floats, Interval, mean_interval, number_documents
from router.errors import RouterError

Score = float | None
Value = TypeVar("Value")
# Why a race ended: one arm is left; every arm left is within the margin of the one that is served; each is shown to
# break a limit; all questions are spent; or a cap of the budget was reached.
Stop = Literal["one arm left", "within the margin", "no arm left", "questions spent", "budget spent"]
_COLUMNS = (
    "latency_ms",
    "prompt_tokens",
    "generated_tokens",
    "ttft_ms",
    "engine_s",
    "retrieval_s",
    "cached_tokens",
    "labels",
)


@dataclass(frozen=True)
class ArmScores:
    """One arm's results; every sequence is aligned with the scorecard's `question_ids`, None where there is no value.

    `scores` maps a metric's name to its values. `errors` maps a question id to why the arm gave no answer to it; by the
    primary metric, as by all that are shares of right answers, it scores 0 there.
    `not_asked` holds the questions that a race did not spend on this arm: they are neither scored nor unscored.
    `latency_ms` is measured at the evaluation's concurrency; `ttft_ms`, the time to the first token, is known for the
    few questions that were also streamed one at a time; `engine_s` and `retrieval_s` are an answer's shares of the busy
    seconds of the engine, and of the search with its reranker. `cached_tokens` are those of the prompt that the prefix
    cache answered for.
    `labels` are people's values of the scorecard's `labelled` metric, for some of the questions or for none.
    """

    arm: Arm
    scores: Mapping[str, tuple[Score, ...]]
    latency_ms: tuple[float | None, ...]
    prompt_tokens: tuple[int | None, ...]
    generated_tokens: tuple[int | None, ...]
    errors: Mapping[str, str] = field(default_factory=dict)
    ttft_ms: tuple[float | None, ...] = ()
    engine_s: tuple[float | None, ...] = ()
    retrieval_s: tuple[float | None, ...] = ()
    cached_tokens: tuple[int | None, ...] = ()
    not_asked: tuple[str, ...] = ()
    labels: tuple[Score, ...] = ()

    @cached_property
    def _arrays(self) -> dict[str, Floats]:
        return {}

    def once(self, name: str, make: Callable[[], Floats]) -> Floats:
        """What `make` makes of this arm, made once by this name."""
        if name not in self._arrays:
            self._arrays[name] = make()
        return self._arrays[name]

    def column(self, metric: str) -> Floats:
        """The values of a metric, NaN where there is none."""
        return self.once(f"scores.{metric}", lambda: self._array(self.scores[metric]))

    def measured(self, name: str) -> Floats:
        """The values of one of the other columns, NaN where there is none."""
        return self.once(name, lambda: self._array(getattr(self, name)))

    def _array(self, values: Sequence[float | None]) -> Floats:
        # By itself numpy takes ten times as long for a None.
        known = [math.nan if value is None else value for value in values] or [math.nan] * len(self.latency_ms)
        return np.array(known, dtype=np.float64)

    @property
    def num_asked(self) -> int:
        """Questions that were put to this arm."""
        return len(self.latency_ms) - len(self.not_asked)

    def num_unscored(self, metric: str) -> int:
        """Asked questions without a value of `metric`. By the primary one these are answers whose scoring failed."""
        return self.scores[metric].count(None) - len(self.not_asked)

    def total_tokens(self) -> int:
        """Prompt and generated tokens over all questions."""
        return sum(n or 0 for n in (*self.prompt_tokens, *self.generated_tokens))


class Pairs(NamedTuple):
    """Aligned scores of two arms, and what each question is about."""

    a: Floats
    b: Floats
    documents: Documents


@dataclass(frozen=True, slots=True)
class Drop:
    """An arm that was shown to be worse than `beaten_by` after so many questions.

    `p_value` is corrected for looking after every batch: the policy's error rate is what it must not exceed. `metric`
    is what was compared, "" where that is not known; by another one it says nothing.
    """

    arm: str
    beaten_by: str
    after: int
    p_value: float
    metric: str = ""


@dataclass(frozen=True, slots=True)
class RaceRecord:
    """The first `num_raced` questions of the scorecard were spent in batches, in this order. Those in `held_out` were
    put to the finalists afterwards and decided nothing, so what they say about an arm is unbiased.

    `num_answers` were asked for in all, a full grid would have been `num_possible`. `budget` names the cap that ended
    the race, if one did. `ends` counts the questions at each look that was planned, the last being all that could be
    raced. No source document brought more than `largest` questions.
    """

    ends: tuple[int, ...]
    num_raced: int
    held_out: tuple[str, ...]
    drops: tuple[Drop, ...]
    stopped: Stop
    num_answers: int
    num_possible: int
    budget: str | None = None
    largest: int = 1

    @property
    def summary(self) -> str:
        """What it took and why it ended, in a sentence without its full stop."""
        ended = {
            "one arm left": "it ended with one arm left",
            "within the margin": "it ended when no arm left could be better by the margin",
            "no arm left": "it ended when every arm left was shown to break a limit",
            "questions spent": "it ended because all questions were spent",
            "budget spent": f"it ended because the budget ({self.budget}) was spent",
        }[self.stopped]
        share = self.num_answers / self.num_possible if self.num_possible else 1.0
        return f"{self.num_answers:,} of {self.num_possible:,} answers were needed ({share:.0%}); {ended}"


@dataclass(frozen=True)
class Scorecard:
    """`clusters` names the source document of each question, or what `for_churn` takes instead where
    `documents_given`: every document of the collection is asked about. `primary` is the metric that decides.

    `training_s` maps adapter names and `indexing_s` index names to measured seconds. `floors` holds primary scores of
    answers that need no model, by name, aligned with `question_ids`; they are shown beside the arms and never chosen.
    `metric_of` maps question kinds to the metric that `primary` takes there, empty when one metric decides everywhere.
    Of the questions in `undefined` the primary metric says nothing, whatever is answered. `race` says how the questions
    were spent, None when every arm was asked all of them. `earlier_looks` counts the questions of each earlier
    comparison of the same arms on some of these: looking again has a price. `labelled` is the judge's metric that
    people's labels are of; where it decides, they correct it (`labelled.py`). `evaluation_s` is what asking and scoring
    took, `prefill_s` the engine seconds of a prompt token that is not cached, None where the arms do not tell.
    """

    question_ids: tuple[str, ...]
    clusters: tuple[str, ...]
    primary: str
    arms: tuple[ArmScores, ...]
    training_s: Mapping[str, float] = field(default_factory=dict)
    indexing_s: Mapping[str, float] = field(default_factory=dict)
    diagnostics: tuple[str, ...] = ()
    provenance: Mapping[str, object] = field(default_factory=dict)
    floors: Mapping[str, tuple[Score, ...]] = field(default_factory=dict)
    metric_of: Mapping[str, str] = field(default_factory=dict)
    race: RaceRecord | None = None
    earlier_looks: tuple[int, ...] = ()
    labelled: str = ""
    evaluation_s: float = 0.0
    documents_given: bool = False
    prefill_s: float | None = None
    undefined: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for scores in self.arms:
            for metric, values in scores.scores.items():
                if len(values) != len(self.question_ids):
                    raise RouterError(
                        f"arm {scores.arm.name!r} has {len(values)} values of {metric!r} for {len(self.question_ids)} "
                        "questions; arms must be evaluated on the same questions"
                    )
            if self.primary not in scores.scores:
                raise RouterError(f"arm {scores.arm.name!r} was not scored by the primary metric {self.primary!r}")

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of all metrics that some arm has, the primary first."""
        names = dict.fromkeys(name for scores in self.arms for name in scores.scores)
        return (self.primary, *(name for name in names if name != self.primary))

    @cached_property
    def documents(self) -> Documents:
        """`clusters` by their numbers."""
        return number_documents(self.clusters)

    @cached_property
    def streamed(self) -> frozenset[str]:
        """The questions that the time to the first token was measured by, with some arm."""
        columns = (zip(self.question_ids, scores.ttft_ms, strict=False) for scores in self.arms)
        return frozenset(name for column in columns for name, ms in column if ms)

    @property
    def largest(self) -> int:
        """The most questions that one source document brings, as far as it was known before the first answer."""
        return max(int(np.bincount(self.documents).max(initial=1)), self.race.largest if self.race is not None else 1)

    def for_churn(self, churn: float) -> Scorecard:
        """The scorecard with what the statistics count as its clusters, where a share `churn` of documents changes.

        Documents that are all asked about are given as long as none changes: the questions were sampled, and each
        stands alone. Others to come make them a sample again.
        """
        if not self.documents_given or churn > 0:
            return self
        return replace(self, clusters=tuple(f"question:{name}" for name in self.question_ids))

    def part(self, rows: Sequence[int]) -> Scorecard:
        """The scorecard of some of the questions, by their positions."""
        names = _pick(self.question_ids, rows)
        return replace(
            self,
            question_ids=names,
            clusters=_pick(self.clusters, rows),
            arms=tuple(_part(scores, rows, frozenset(names)) for scores in self.arms),
            floors={name: _pick(values, rows) for name, values in self.floors.items()},
        )

    def raced(self) -> Scorecard:
        """What may decide: the questions that a race spent, or all of them where every arm was asked everything."""
        return self if self.race is None else self.part(range(self.race.num_raced))

    def held_out(self) -> Scorecard | None:
        """The questions that a race kept untouched until it was over; None without any."""
        if self.race is None or not self.race.held_out:
            return None
        return self.part(range(self.race.num_raced, len(self.question_ids)))

    def by_name(self, name: str) -> ArmScores:
        """One arm's results. Raises RouterError for an unknown name."""
        for scores in self.arms:
            if scores.arm.name == name:
                return scores
        raise RouterError(f"no arm {name!r} in the scorecard; it has {', '.join(s.arm.name for s in self.arms)}")

    def interval(self, scores: ArmScores, metric: str, *, alpha: float = 0.05) -> Interval | None:
        """An arm's mean of one metric with its (1 - alpha) interval, None when nothing was scored."""
        if metric not in scores.scores:
            return None
        column = scores.column(metric)
        known = ~np.isnan(column)
        return mean_interval(column[known], self.documents[known], alpha=alpha) if known.any() else None

    def pairs(self, a: ArmScores, b: ArmScores) -> Pairs:
        """Primary scores of both arms and the documents, over the questions that both were scored on."""
        first, second = a.column(self.primary), b.column(self.primary)
        known = ~np.isnan(first + second)
        return Pairs(first[known], second[known], self.documents[known])


def _pick(values: tuple[Value, ...], rows: Sequence[int]) -> tuple[Value, ...]:
    if isinstance(rows, range):
        return values[rows.start : rows.stop : rows.step]
    return tuple(values[i] for i in rows)


def _part(scores: ArmScores, rows: Sequence[int], names: frozenset[str]) -> ArmScores:
    def pick(values: tuple[Value, ...]) -> tuple[Value, ...]:
        return _pick(values, rows) if values else ()

    columns: dict[str, Any] = {name: pick(getattr(scores, name)) for name in _COLUMNS}
    return replace(
        scores,
        scores={name: pick(values) for name, values in scores.scores.items()},
        errors={name: why for name, why in scores.errors.items() if name in names},
        not_asked=tuple(name for name in scores.not_asked if name in names),
        **columns,
    )


def quantile(values: Sequence[float | None] | Floats, share: float) -> float | None:
    """What `share` of the known values stay within, interpolated linearly between the two nearest; None without any."""
    known = np.sort(np.asarray(values, dtype=np.float64))  # None becomes NaN, which comes last
    num = len(known) - int(np.isnan(known).sum())
    if not num:
        return None
    place = share * (num - 1)
    low, high = (float(known[way(place)]) for way in (math.floor, math.ceil))
    return low + (high - low) * (place % 1) if low < high else low
