"""Which arms a policy allows: those that were scored and keep its hard limits; and the price by which ties are settled.

eligible, excluded = eligible_arms(scorecard, policy)
"""

from __future__ import annotations

import math

from router.deciding.costs.arm_costs import amortised_per_1k, cost_per_1k
from router.deciding.policy import Policy
from router.deciding.scorecard import ArmScores, Scorecard
from router.deciding.utility import UTILITY
from router.errors import RouterError


def mean_score(card: Scorecard, scores: ArmScores) -> float:
    """Mean of the primary metric over the questions it was scored on; 0 when there is none, which excludes the arm."""
    known = [value for value in scores.scores[card.primary] if value is not None]
    return sum(known) / len(known) if known else 0.0


def price_of(card: Scorecard, scores: ArmScores, policy: Policy) -> float:
    """What settles a tie: the price of 1,000 questions with everything included, an unknown one being the highest.

    Where utility decides, costs are in it already, and nothing but the higher mean is better.
    """
    if card.primary == UTILITY:
        return -mean_score(card, scores)
    price = amortised_per_1k(card, scores, policy)
    return math.inf if price is None else price


def eligible_arms(scorecard: Scorecard, policy: Policy) -> tuple[list[ArmScores], dict[str, str]]:
    """The arms that keep the policy's hard limits and have a score, and why each other one is excluded.

    Raises RouterError saying which limit excludes which arm when none is left.
    """
    excluded: dict[str, str] = {}
    for scores in scorecard.arms:
        if scores.num_unscored(scorecard.primary) == scores.num_asked:
            why = next(iter(scores.errors.values()), "no score")
            excluded[scores.arm.name] = f"no question was scored ({why})"
        elif broken := _broken_limits(scorecard, scores, policy):
            excluded[scores.arm.name] = " and ".join(broken)
    eligible = [scores for scores in scorecard.arms if scores.arm.name not in excluded]
    if not eligible:
        reasons = "; ".join(f"{name}: {why}" for name, why in excluded.items())
        raise RouterError(f"no arm is left to choose from ({reasons}); fix the arms or relax the policy")
    return eligible, excluded


def _broken_limits(scorecard: Scorecard, scores: ArmScores, policy: Policy) -> list[str]:
    limits = policy.limits
    upper = (
        ("median latency", scores.median_latency_ms(), limits.latency_ms, " ms"),
        ("95th percentile of latency", scores.latency_quantile_ms(0.95), limits.p95_ms, " ms"),
        ("median time to the first token", scores.median_ttft_ms(), limits.ttft_ms, " ms"),
        ("cost of 1,000 questions", cost_per_1k(scores, policy), limits.cost_per_1k, ""),
    )
    broken = []
    for name, value, limit, unit in upper:
        if limit is not None and (value is None or value > limit):
            measured = "was not measured, which does not keep" if value is None else f"{value:.4g}{unit} is over"
            broken.append(f"{name} {measured} the limit of {limit:.4g}{unit}")
    mean = mean_score(scorecard, scores)
    if limits.score is not None and mean < limits.score:
        broken.append(f"mean {scorecard.primary} {mean:.2f} is under the limit of {limits.score:.2f}")
    return broken
