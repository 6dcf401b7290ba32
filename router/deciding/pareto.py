"""The arms that no other beats in quality and in cost, and how sure the questions make that.

for member in pareto_front(make_table(scorecard, policy)):
    member.arm, member.is_on_front, member.share

An arm is on the front when no other is at least as good on every axis and better on one: mean of the primary metric,
cost of a question, and the median latency if the policy limits it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router.deciding.arm_table import ArmRow, ArmTable
from router.deciding.costs import question_costs
from router.deciding.policy import Policy
from router.deciding.statistics import Floats

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class FrontMember:
    """An arm's place: `is_on_front` as measured, `share` of the resamples in which it is on the front, in [0, 1].

    `share` is None where all questions are about one document, which says nothing about the next. `cost_per_1k` is None
    where it is unknown, and then counts as dearer than any known cost. `latency_ms` is the median, None where latency
    is no axis.
    """

    arm: str
    quality: float
    cost_per_1k: float | None
    latency_ms: float | None
    is_on_front: bool
    share: float | None


def pareto_front(table: ArmTable) -> tuple[FrontMember, ...]:
    """A member for every arm that keeps the policy's hard limits: those on the front first, then by cost.

    Whole source documents are resampled, the same ones for all arms. Each time, an arm's means and median are taken
    again over what is known of its own questions. After a race only the questions it spent count. Raises RouterError
    when the limits leave no arm.
    """
    arms, policy, primary = table.eligible(), table.policy, table.scorecard.primary
    rows = table.decided.documents
    num_documents = int(rows.max()) + 1
    once = np.ones((1, num_documents), dtype=np.int64)
    measured = on_front(_axes(arms, primary, policy, rows, once))[0]
    shares: list[float | None] = [None] * len(arms)
    if num_documents > 1:
        rng = np.random.default_rng(0)
        draws = rng.multinomial(num_documents, [1 / num_documents] * num_documents, size=RESAMPLES)
        axes = _axes(arms, primary, policy, rows, draws)
        # An arm of few questions is missing from the resamples that drew none of them.
        num_known = np.maximum((~np.isnan(axes).any(axis=2)).sum(axis=0), 1)
        shares = [float(share) for share in on_front(axes).sum(axis=0) / num_known]
    has_latency = policy.limits.latency_ms is not None
    members = [
        FrontMember(
            arm=row.name,
            quality=row.score,
            cost_per_1k=row.costs.per_1k,
            latency_ms=row.p50_ms if has_latency else None,
            is_on_front=bool(measured[i]),
            share=shares[i],
        )
        for i, row in enumerate(arms)
    ]
    return tuple(sorted(members, key=lambda m: (not m.is_on_front, m.cost_per_1k is None, m.cost_per_1k or 0.0, m.arm)))


def on_front(axes: Floats) -> NDArray[np.bool_]:
    """(resamples, arms, axes), less is better on each, NaN for an arm that is missing -> (resamples, arms)."""
    is_known: NDArray[np.bool_] = np.logical_not(np.isnan(axes).any(axis=2))
    columns = []
    for arm in range(axes.shape[1]):
        own = axes[:, [arm], :]
        beats = np.asarray((axes <= own).all(axis=2)) & np.asarray((axes < own).any(axis=2))
        columns.append(is_known[:, arm] & ~beats.any(axis=1))
    return np.stack(columns, axis=1)


def _axes(
    arms: Sequence[ArmRow], primary: str, policy: Policy, rows: NDArray[np.intp], draws: NDArray[np.int64]
) -> Floats:
    """(resamples, arms, axes) under `draws`, (resamples, clusters) of how often each cluster counts."""
    axes = []
    for row in arms:
        scores, costs = row.decided, question_costs(row.decided, policy, row.measures.prefill_s)
        cost = np.full(len(draws), np.inf) if np.isnan(costs).all() else _means(costs, rows, draws)
        own = [-_means(scores.column(primary), rows, draws), cost]
        if policy.limits.latency_ms is not None:
            own.append(_medians(scores.measured("latency_ms"), rows, draws))
        axes.append(np.stack(own, axis=-1))
    return np.stack(axes, axis=1)


def _means(column: Floats, rows: NDArray[np.intp], draws: NDArray[np.int64]) -> Floats:
    known = ~np.isnan(column)
    num_clusters = draws.shape[1]
    sums = np.bincount(rows[known], column[known], minlength=num_clusters)
    counts = np.bincount(rows[known], minlength=num_clusters)
    totals = draws @ counts
    return np.asarray(np.where(totals > 0, draws @ sums / np.maximum(totals, 1), np.nan))


def _medians(column: Floats, rows: NDArray[np.intp], draws: NDArray[np.int64]) -> Floats:
    """The middle value, or the mean of the two in the middle, each counted as often as its cluster was drawn."""
    known = np.flatnonzero(~np.isnan(column))
    if not len(known):
        return np.full(len(draws), np.nan)
    order = known[np.argsort(column[known], kind="stable")]
    running = np.cumsum(draws[:, rows[order]], axis=1)
    total = running[:, [-1]]
    low, high = ((running > place).argmax(axis=1) for place in ((total - 1) // 2, total // 2))
    middle = (column[order[low]] + column[order[high]]) / 2
    return np.asarray(np.where(running[:, -1] > 0, middle, np.nan))
