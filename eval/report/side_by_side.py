"""The arms side by side: a row per arm with its means, counts, times, tokens and costs, and the floors below them.

unit = unit_of(table)
rows = side_by_side(table, decision, unit)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypedDict

from router.deciding.arm_table import ArmTable
from router.deciding.decision import Decision
from router.deciding.scorecard import ArmScores, Scorecard
from router.deciding.statistics import Difference, Interval, mean_interval
from router.deciding.utility import RIGHT_AT, UTILITY


class Bounds(TypedDict):
    """A mean with its interval at the policy's error rate, on the metric's own scale or in currency."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Unit:
    """What decided and how its numbers are shown: a metric as it is, utility in currency a question.

    The statistics see utility scaled to [0, 1]; `low` and `width` take it back. `margin` is the policy's, in this unit.
    """

    metric: str
    margin: float
    is_currency: bool = False
    low: float = 0.0
    width: float = 1.0

    def bounds(self, found: Interval) -> Bounds:
        """A mean in this unit."""
        mean, low, high = (self.low + value * self.width for value in (found.mean, found.low, found.high))
        return Bounds(mean=mean, low=low, high=high)

    def lead(self, found: Interval | Difference) -> Bounds:
        """A difference of two means in this unit."""
        mean, low, high = (value * self.width for value in (found.mean, found.low, found.high))
        return Bounds(mean=mean, low=low, high=high)


class Row(TypedDict):
    """One arm of the side-by-side table.

    `primary`, `metrics`, `utility`, `num_asked` and `num_right` are over the questions that decided, `held_out` over
    those that a race kept untouched, all else over all questions. `metrics` holds every metric that has a value.
    `utility` is in currency a question, None unless it decided. `corrected` is the judge's mean verdict, corrected by
    people's labels, with a 95% interval. Prompt and generated tokens are means of an answered question; `p50_ms` and
    `p95_ms` are measured at the evaluation's concurrency, `ttft_ms` one question at a time. A race dropped the arm
    after `dropped_after` questions; `excluded` says which limit of the policy it broke.
    """

    arm: str
    kind: str
    is_chosen: bool
    primary: Bounds | None
    metrics: dict[str, Bounds]
    utility: Bounds | None
    held_out: Bounds | None
    corrected: Bounds | None
    num_asked: int
    num_right: int
    num_unscored: int
    num_errors: int
    num_not_asked: int
    p50_ms: float | None
    p95_ms: float | None
    ttft_ms: float | None
    prompt_tokens: float
    generated_tokens: float
    total_tokens: int
    cost_per_1k: float | None
    amortised_per_1k: float | None
    dropped_after: int | None
    excluded: str | None


class FloorRow(TypedDict):
    """Answers that need no model, scored like an arm's on the questions that decided; never to be chosen."""

    name: str
    primary: Bounds | None
    num_asked: int
    num_right: int


def unit_of(table: ArmTable) -> Unit:
    """The unit of a decision: the primary metric's, or currency where expected utility decided."""
    policy, scale = table.policy, table.scale
    if policy.utility is None or scale is None:
        return Unit(table.scorecard.primary, policy.margin)
    margin = policy.margin * (policy.utility.right - policy.utility.wrong)
    return Unit(UTILITY, margin, is_currency=True, low=scale.low, width=scale.width)


def side_by_side(table: ArmTable, decision: Decision, unit: Unit) -> list[Row]:
    """A row per arm: the best by what decided first, arms that a race dropped after those that it kept."""
    alpha, primary, held_out = table.policy.alpha, table.scorecard.primary, table.scorecard.held_out()
    rows = []
    for found in table.rows:
        scores, usage = found.scores, found.whole.usage
        metrics = {name: _bounds(table.decided, found.decided, name, alpha) for name in table.scorecard.metrics}
        utility = table.decided.interval(found.decided, UTILITY, alpha=alpha) if unit.is_currency else None
        rows.append(
            Row(
                arm=found.name,
                kind=scores.arm.kind,
                is_chosen=found.name == decision.arm,
                primary=metrics[primary],
                metrics={name: bounds for name, bounds in metrics.items() if bounds is not None},
                utility=unit.bounds(utility) if utility is not None else None,
                held_out=_bounds(held_out, held_out.by_name(found.name), primary, alpha) if held_out else None,
                corrected=_as_bounds(table.scorecard.corrected.get(found.name)),
                num_asked=found.decided.num_asked,
                num_right=_num_right(found.decided.scores[primary]),
                num_unscored=scores.num_unscored(primary),
                num_errors=len(scores.errors),
                num_not_asked=len(scores.not_asked),
                p50_ms=found.p50_ms,
                p95_ms=found.p95_ms,
                ttft_ms=found.ttft_ms,
                prompt_tokens=usage.prompt_tokens or 0.0,
                generated_tokens=usage.generated_tokens or 0.0,
                total_tokens=scores.total_tokens(),
                cost_per_1k=found.costs.per_1k,
                amortised_per_1k=found.amortised_per_1k,
                dropped_after=found.dropped.after if found.dropped is not None else None,
                excluded=found.excluded,
            )
        )
    return sorted(rows, key=lambda row: _rank(row, unit))


def floor_rows(table: ArmTable) -> list[FloorRow]:
    """A row per floor, the best first."""
    card, rows = table.scorecard.raced(), []
    for name, values in card.floors.items():
        known = [(value, cluster) for value, cluster in zip(values, card.clusters, strict=True) if value is not None]
        scores, clusters = zip(*known, strict=True) if known else ((), ())
        found = mean_interval(scores, clusters, alpha=table.policy.alpha) if known else None
        rows.append(FloorRow(name=name, primary=_as_bounds(found), num_asked=len(values), num_right=_num_right(values)))
    return sorted(rows, key=lambda row: -row["primary"]["mean"] if row["primary"] else 1.0)


def _bounds(card: Scorecard, scores: ArmScores, metric: str, alpha: float) -> Bounds | None:
    """The mean of one metric; None where nothing is scored, or where a score is not finite."""
    found = card.interval(scores, metric, alpha=alpha)
    is_finite = found is not None and all(map(math.isfinite, (found.mean, found.low, found.high)))
    return _as_bounds(found) if is_finite else None


def _as_bounds(found: Interval | None) -> Bounds | None:
    return Bounds(mean=found.mean, low=found.low, high=found.high) if found is not None else None


def _rank(row: Row, unit: Unit) -> tuple[bool, bool, float]:
    decided_by = row["utility"] if unit.is_currency else row["primary"]
    mean = decided_by["mean"] if decided_by is not None else 0.0
    return (decided_by is None, row["dropped_after"] is not None, -mean)


def _num_right(scores: tuple[float | None, ...]) -> int:
    return sum(score is not None and score >= RIGHT_AT for score in scores)
