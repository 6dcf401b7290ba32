"""What one arm costs less than another, whether that is enough to matter, and which arm is served for it.

savings = Savings(table.decided.documents)
savings.find(cheap, instead_of=dear, policy=policy).matters
savings.serve([leader, *near], policy)

A saving matters where it is more than `policy.cost_tolerance` of what the dearer arm costs, and more than the noise of
its own measurement: the standard error of the mean difference of a question's cost over the questions that both
answered, by source document, times Student's t at `policy.alpha`. What is paid once or by the month has no noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from router.deciding.arm_table import ArmRow
from router.deciding.costs import price, unit_prices, usage_rows
from router.deciding.policy import Policy
from router.deciding.statistics import Documents, Floats, by_cluster, number_documents, upper_t


@dataclass(frozen=True, slots=True)
class Saving:
    """What serving an arm instead of another saves: a share of what the other costs at the policy's traffic, negative
    where it costs more. None where a cost is unknown; a known cost is a saving against an unknown one.
    """

    share: float | None
    matters: bool


@dataclass(frozen=True)
class _Gap:
    """How much more one arm's questions take than another's, (questions, k), and each question's document."""

    more: Floats
    documents: Documents

    @cached_property
    def mean(self) -> Floats:
        """Of a question, (k,)."""
        return np.asarray(self.more.sum(axis=0) / max(len(self.more), 1))

    @cached_property
    def spread(self) -> tuple[Floats, int]:
        """The (k, k) covariance of the means, and the number of documents that it was taken over."""
        sums, counts = by_cluster(self.more.T, self.documents)
        rest = sums - np.outer(self.mean, counts)
        return len(counts) / max(len(counts) - 1, 1) / max(counts.sum(), 1.0) ** 2 * (rest @ rest.T), len(counts)


@dataclass(frozen=True, slots=True)
class Savings:
    """Compares the costs of arms that were asked the same questions; `clusters` names each question's document."""

    clusters: Sequence[str] | Documents
    _gaps: dict[tuple[str, str], _Gap] = field(default_factory=dict)

    def find(self, arm: ArmRow, *, instead_of: ArmRow, policy: Policy) -> Saving:
        """What serving `arm` instead of another saves, on the questions that both answered."""
        volume = {"questions": policy.traffic.questions, "months": policy.traffic.months}
        costs = [price(row.measures, policy) for row in (arm, instead_of)]
        own, others = (cost.amortised_per_1k(**volume) for cost in costs)
        if own is None or others is None:
            return Saving(None, matters=own is not None)
        others /= 1000
        if others <= 0:
            return Saving(0.0, matters=False)
        weights = np.array(unit_prices(policy, arm.measures.prefill_s))
        gap = self._gap(instead_of, arm)
        cheap, dear = (cost.fixed_part(**volume) or 0.0 for cost in costs)
        saved = float(weights @ gap.mean) + dear - cheap
        least = policy.cost_tolerance * others
        if saved <= least:
            return Saving(saved / others, matters=False)
        covariance, num_documents = gap.spread
        if num_documents < 2:
            return Saving(saved / others, matters=False)  # one document says nothing about the next
        error = math.sqrt(max(float(weights @ covariance @ weights), 0.0))
        return Saving(saved / others, saved > upper_t(policy.alpha / 2, num_documents - 1) * error)

    def serve(self, ranked: Sequence[ArmRow], policy: Policy) -> ArmRow:
        """Of arms that are as good as each other by the policy's margin, the best first: the one to serve.

        That is the first, unless others save something that matters against it. Of these, those whose cost is equal to
        the lowest are left, and the best of them is served. Where utility decides, costs are in it already.
        """
        leader = ranked[0]
        others = ranked[1:] if policy.utility is None else []
        cheaper = [row for row in others if self.find(row, instead_of=leader, policy=policy).matters]
        if not cheaper:
            return leader
        cheapest = min(cheaper, key=lambda row: math.inf if (cost := row.amortised(policy)) is None else cost)
        return next(row for row in cheaper if not self.find(cheapest, instead_of=row, policy=policy).matters)

    def _gap(self, dear: ArmRow, cheap: ArmRow) -> _Gap:
        key = (dear.name, cheap.name)
        if key not in self._gaps:
            self._gaps[key] = _measure_gap(
                usage_rows(dear.decided), usage_rows(cheap.decided), number_documents(self.clusters)
            )
        return self._gaps[key]


def _measure_gap(a: Floats, b: Floats, documents: Documents) -> _Gap:
    # Of what nobody measured the price is 0, or the cost would be unknown.
    is_measured = ~np.isnan(a).all(axis=0) & ~np.isnan(b).all(axis=0)
    more = np.where(is_measured, a - b, 0.0)
    known = ~np.isnan(more).any(axis=1)
    return _Gap(more[known], documents[known])
