"""Which arm the measured means favour under a policy: the decision without its tests, fast enough for thousands of
policies.

preference = make_preference(make_table(scorecard, policy))
preference.choose(replace(policy, margin=0.1))
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from router.deciding.arm_table import COST_LIMIT, ArmRow, ArmTable
from router.deciding.costs.arm_costs import price
from router.deciding.policy import Policy
from router.errors import RouterError


@dataclass(frozen=True, slots=True)
class Preference:
    """The candidates of one table, scored and keeping all limits that do not depend on prices."""

    candidates: tuple[ArmRow, ...]

    def choose(self, policy: Policy) -> str | None:
        """The arm of the highest net utility, or without a utility the cheapest within the margin of the best mean.

        Arms over the policy's limit on the cost are passed over; None when no arm is left. An arm of unknown cost has
        no utility and is never the cheapest, but is chosen where every other arm is worse by more than the margin.
        """
        allowed = [candidate for candidate in self.candidates if _is_affordable(candidate, policy)]
        if policy.utility is not None:
            nets = [(net, candidate) for candidate in allowed if (net := candidate.net_utility(policy)) is not None]
            return min(nets, key=lambda row: (-row[0], row[1].name))[1].name if nets else None
        best = max((candidate.score for candidate in allowed), default=0.0)
        near = [candidate for candidate in allowed if candidate.score >= best - policy.margin - 1e-12]
        costs = [(candidate.amortised(policy), candidate) for candidate in near]
        ranked = sorted(costs, key=lambda row: (row[0] is None, row[0] or 0.0, -row[1].score, row[1].name))
        return ranked[0][1].name if ranked else None

    def is_priced(self, policy: Policy) -> bool:
        """Whether the cost of every candidate is known under this policy."""
        return all(candidate.amortised(policy) is not None for candidate in self.candidates)


def make_preference(table: ArmTable, arms: Collection[str] | None = None) -> Preference:
    """The preference among `arms`, or among all arms that keep the policy's limits and that no race dropped.

    Raises RouterError when no arm is left.
    """
    candidates = tuple(
        row
        for row in table.rows
        # A limit on the cost moves with the prices: `choose` looks at it.
        if row.broken.keys() <= {COST_LIMIT} and row.dropped is None and row.outcomes is not None
        if arms is None or row.name in arms
    )
    if not candidates:
        asked = "no arm" if arms is None else f"none of {', '.join(sorted(arms))}"
        raise RouterError(f"{asked} keeps the policy's limits with a score; relax the limits or name other arms")
    return Preference(candidates)


def _is_affordable(candidate: ArmRow, policy: Policy) -> bool:
    limit = policy.limits.cost_per_1k
    if limit is None:
        return True
    cost = price(candidate.measures, policy).per_1k
    return cost is not None and cost <= limit
