"""Which arm the measured means favour under a policy: the decision without its tests, fast enough for thousands of
policies.

preference = make_preference(scorecard, policy)
preference.choose(replace(policy, margin=0.1))
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from router.deciding.costs.arm_costs import Measures, measure, price
from router.deciding.eligibility import eligible_arms, mean_score
from router.deciding.policy import Policy
from router.deciding.scorecard import Scorecard
from router.deciding.utility import Outcomes, count_outcomes, mean_worth
from router.errors import RouterError


@dataclass(frozen=True, slots=True)
class Candidate:
    """What does not change with the policy: an arm's mean of the primary metric, its outcomes and its measures."""

    name: str
    mean: float
    outcomes: Outcomes
    measures: Measures

    def amortised(self, policy: Policy) -> float | None:
        """What one question costs at the policy's traffic, everything included; None is unknown."""
        traffic = policy.traffic
        cost = price(self.measures, policy).amortised_per_1k(traffic.questions, months=traffic.months)
        return None if cost is None else cost / 1000

    def net_utility(self, policy: Policy) -> float | None:
        """Expected worth of an answer minus `amortised`, in currency; None where the cost is unknown.

        Linear in each value and price, in churn and in the prefix cache's hits. The policy must have a utility.
        """
        assert policy.utility is not None
        cost = self.amortised(policy)
        return None if cost is None else mean_worth(self.outcomes, policy.utility) - cost


@dataclass(frozen=True, slots=True)
class Preference:
    """The candidates of one scorecard, all of which keep the limits that do not depend on prices."""

    candidates: tuple[Candidate, ...]

    def choose(self, policy: Policy) -> str | None:
        """The arm of the highest net utility, or without a utility the cheapest within the margin of the best mean.

        Arms over the policy's limit on the cost are passed over; None when no arm is left. An arm of unknown cost has
        no utility and is never the cheapest, but is chosen where every other arm is worse by more than the margin.
        """
        allowed = [candidate for candidate in self.candidates if _is_affordable(candidate, policy)]
        if policy.utility is not None:
            nets = [(net, candidate) for candidate in allowed if (net := candidate.net_utility(policy)) is not None]
            return min(nets, key=lambda row: (-row[0], row[1].name))[1].name if nets else None
        best = max((candidate.mean for candidate in allowed), default=0.0)
        near = [candidate for candidate in allowed if candidate.mean >= best - policy.margin - 1e-12]
        costs = [(candidate.amortised(policy), candidate) for candidate in near]
        ranked = sorted(costs, key=lambda row: (row[0] is None, row[0] or 0.0, -row[1].mean, row[1].name))
        return ranked[0][1].name if ranked else None

    def is_priced(self, policy: Policy) -> bool:
        """Whether the cost of every candidate is known under this policy."""
        return all(candidate.amortised(policy) is not None for candidate in self.candidates)


def make_preference(scorecard: Scorecard, policy: Policy, arms: Collection[str] | None = None) -> Preference:
    """The preference among `arms`, or among all arms that keep the policy's limits and that no race dropped.

    Raises RouterError when no arm is left.
    """
    unpriced = replace(policy, limits=replace(policy.limits, cost_per_1k=None))
    eligible = {scores.arm.name for scores in eligible_arms(scorecard, unpriced)[0]}
    card = scorecard.raced()
    dropped = {drop.arm for drop in card.race.drops} if card.race is not None else set()
    candidates = []
    for scores in card.arms:
        outcomes = count_outcomes(scores, card.primary)
        name = scores.arm.name
        if name in eligible and name not in dropped and outcomes is not None and (arms is None or name in arms):
            candidates.append(Candidate(name, mean_score(card, scores), outcomes, measure(card, scores)))
    if not candidates:
        asked = "no arm" if arms is None else f"none of {', '.join(sorted(arms))}"
        raise RouterError(f"{asked} keeps the policy's limits with a score; relax the limits or name other arms")
    return Preference(tuple(candidates))


def _is_affordable(candidate: Candidate, policy: Policy) -> bool:
    limit = policy.limits.cost_per_1k
    if limit is None:
        return True
    cost = price(candidate.measures, policy).per_1k
    return cost is not None and cost <= limit
