"""The arms side by side: a row per arm with its means, counts, times, tokens and costs, and the floors below them.

unit = unit_of(table)
rows = side_by_side(table, decision, unit)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from router.deciding.arm_table import ArmTable
from router.deciding.decision import Decision
from router.deciding.labelled import labelled_mean
from router.deciding.statistics import Difference, Interval, mean_interval
from router.deciding.utility import RIGHT_AT, UTILITY, Scale

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Unit:
    """What decided and how its numbers are shown: a metric as it is, utility in currency a question.

    The statistics see utility scaled to [0, 1]; `scale` takes it back. `margin` is the policy's, in this unit.
    """

    name: str
    margin: float
    scale: Scale
    is_currency: bool

    @property
    def column(self) -> str:
        """The key of what decided in a row."""
        return "utility" if self.is_currency else "primary"

    def bounds(self, found: Interval) -> Interval:
        """A mean in this unit."""
        return Interval(*map(self.scale.to_currency, (found.mean, found.low, found.high)))

    def lead(self, found: Interval | Difference) -> Interval:
        """A difference of two means in this unit."""
        return Interval(*(value * self.scale.width for value in (found.mean, found.low, found.high)))


def unit_of(table: ArmTable) -> Unit:
    """The unit of a decision: the primary metric's, or currency where expected utility decided."""
    policy, scale = table.policy, table.scale
    if policy.utility is None or scale is None:
        return Unit(table.scorecard.primary, policy.margin, Scale(0.0, 1.0), is_currency=False)
    margin = policy.margin * (policy.utility.right - policy.utility.wrong)
    return Unit(UTILITY, margin, scale, is_currency=True)


def side_by_side(table: ArmTable, decision: Decision, unit: Unit) -> list[Row]:
    """A row per arm: the best by what decided first, arms that a race dropped after those that it kept.

    Means are `Interval`s at the policy's error rate, None where nothing is scored.
    """
    alpha, primary, held_out = table.policy.alpha, table.scorecard.primary, table.scorecard.held_out()
    rows: list[Row] = []
    for found in table.rows:
        scores, usage = found.scores, found.whole.usage
        means = {name: table.decided.interval(found.decided, name, alpha=alpha) for name in table.scorecard.metrics}
        utility = table.decided.interval(found.decided, UTILITY, alpha=alpha) if unit.is_currency else None
        rows.append(
            {
                "arm": found.name,
                "kind": scores.arm.kind,
                "is_chosen": found.name == decision.arm,
                # Over the questions that decided; utility in currency a question, where it decided.
                "primary": means[primary],
                "metrics": {name: mean for name, mean in means.items() if mean is not None},
                "utility": unit.bounds(utility) if utility is not None else None,
                "outcomes": found.outcomes,
                # Over the questions that a race kept untouched.
                "held_out": held_out.interval(held_out.by_name(found.name), primary, alpha=alpha) if held_out else None,
                # The judge's mean verdict, corrected by people's labels: where the judge decides, this does.
                "corrected": labelled_mean(table.scorecard.raced(), found.decided, alpha=alpha),
                "num_asked": found.decided.num_asked,
                "num_right": _num_right(found.decided.scores[primary]),
                # All else is over all questions; tokens are means of an answered one.
                "num_unscored": scores.num_unscored(primary),
                "num_errors": len(scores.errors),
                "num_not_asked": len(scores.not_asked),
                "p50_ms": found.p50_ms,
                "p95_ms": found.p95_ms,
                "ttft_ms": found.ttft_ms,
                "prompt_tokens": usage.prompt_tokens or 0.0,
                "generated_tokens": usage.generated_tokens or 0.0,
                "total_tokens": scores.total_tokens(),
                "cost_per_1k": found.costs.per_1k,
                "amortised_per_1k": found.amortised_per_1k,
                "dropped_after": found.dropped.after if found.dropped is not None else None,
                "excluded": found.excluded,
            }
        )

    def rank(row: Row) -> tuple[bool, bool, float]:
        mean = row[unit.column]
        return mean is None, row["dropped_after"] is not None, -mean.mean if mean is not None else 0.0

    return sorted(rows, key=rank)


def floor_rows(table: ArmTable) -> list[Row]:
    """A row per floor, the best first: answers that need no model, scored on the questions that decided."""
    card, rows = table.scorecard.raced(), []
    for name, values in card.floors.items():
        known = [(value, cluster) for value, cluster in zip(values, card.clusters, strict=True) if value is not None]
        mean = mean_interval(*zip(*known, strict=True), alpha=table.policy.alpha) if known else None
        rows.append({"name": name, "primary": mean, "num_asked": len(values), "num_right": _num_right(values)})
    return sorted(rows, key=lambda row: -row["primary"].mean if row["primary"] else 1.0)


def _num_right(scores: tuple[float | None, ...]) -> int:
    return sum(score is not None and score >= RIGHT_AT for score in scores)
