"""A policy's hard limits: which of them an arm breaks, and whether that is shown or may be chance.

found = check_limits(scores, card, policy, cost_per_1k=0.04, level=0.01)
found.broken, found.is_shown       # {"p95_ms": "95th percentile of latency 812 ms is over ..."}, False

An arm that breaks a limit as measured may not be served. It stays a rival until the violation is shown, because a
twentieth of twenty latencies is one of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from router.deciding.costs import question_costs
from router.deciding.evidence import log_mixture
from router.deciding.policy import Policy
from router.deciding.scorecard import ArmScores, Scorecard, quantile
from router.deciding.statistics import by_cluster, mean_known
from router.deciding.wording import as_score

# The limit that depends on prices; the others are measured once and for all.
COST_LIMIT = "cost_per_1k"


@dataclass(frozen=True, slots=True)
class BrokenLimits:
    """`broken` maps the limits that an arm does not keep, as measured, to the reason in words; `is_shown` says whether
    the violation of one of them is more than chance.
    """

    broken: Mapping[str, str]
    is_shown: bool


def check_limits(
    card: Scorecard, scores: ArmScores, policy: Policy, *, cost_per_1k: float | None, level: float
) -> BrokenLimits:
    """What one arm breaks. `level` is the chance, for this arm, to call a limit broken that it keeps, however often one
    looks.
    """
    limits, num_failed = policy.limits, len(scores.errors)
    mean = mean_known(scores.scores[card.primary]) or 0.0
    # What the time to the first token was measured on is known of the arms together.
    streamed = {name for arm in card.arms for name, ms in zip(card.question_ids, arm.ttft_ms, strict=False) if ms}
    whole = _with_failed(scores.latency_ms, num_failed)
    first = _with_failed(scores.ttft_ms, len(streamed.intersection(scores.errors)))
    spent = question_costs(scores, policy, card.prefill_s) if limits.cost_per_1k is not None else []
    costs = [None if cost is None else 1000 * cost for cost in spent]
    # Name, in words, what was measured, the limit, its unit, and what may exceed which mean, question by question.
    rows = (
        ("latency_ms", "median latency", _time_within(whole, 0.5), limits.latency_ms, " ms", whole, 0.5),
        ("p95_ms", "95th percentile of latency", _time_within(whole, 0.95), limits.p95_ms, " ms", whole, 0.05),
        ("ttft_ms", "median time to the first token", _time_within(first, 0.5), limits.ttft_ms, " ms", first, 0.5),
        (COST_LIMIT, "cost of 1,000 questions", cost_per_1k, limits.cost_per_1k, "", costs, None),
    )
    level /= max(sum(row[3] is not None for row in rows) + (limits.score is not None), 1)
    broken: dict[str, str] = {}
    is_shown = False
    for name, called, value, limit, unit, values, share in rows:
        if limit is None or (value is not None and value <= limit):
            continue
        measured = "was not measured, which does not keep" if value is None else f"{value:.4g}{unit} is over"
        if value == math.inf:
            measured = f"cannot be told with {num_failed} of {scores.num_asked} answers failed, which does not keep"
        broken[name] = f"{called} {measured} the limit of {limit:.4g}{unit}"
        if value is None:
            is_shown = True  # more questions would not measure it either
        elif share is None:
            is_shown |= _exceeds(values, limit, card.clusters, level)
        else:
            is_shown |= _exceeds([float(ms > limit) for ms in values if ms is not None], share, None, level)
    if limits.score is not None and mean < limits.score:
        broken["score"] = f"mean {card.primary} {as_score(mean)} is under the limit of {as_score(limits.score)}"
        missing = [None if score is None else 1 - score for score in scores.scores[card.primary]]
        is_shown |= _exceeds(missing, 1 - limits.score, card.clusters, level)
    if len(scores.errors) == scores.num_asked or scores.num_unscored(card.primary) == scores.num_asked:
        why, lost = next(iter(scores.errors.values()), "no score"), "answered" if scores.errors else "scored"
        return BrokenLimits({"scored": f"no question was {lost} ({why})"}, is_shown=True)
    return BrokenLimits(broken, is_shown)


def _with_failed(times_ms: Sequence[float | None], num_failed: int) -> list[float]:
    """The known times, and an infinite one for each answer that failed."""
    return [ms for ms in times_ms if ms is not None] + [math.inf] * num_failed


def _time_within(times_ms: Sequence[float], share: float) -> float | None:
    """The time that `share` of the answers stay within, infinite where so many failed."""
    known = sorted(times_ms)
    if not known:
        return None
    return math.inf if known[math.ceil(share * (len(known) - 1))] == math.inf else quantile(known, share)


def _exceeds(values: Sequence[float | None], limit: float, clusters: Sequence[str] | None, level: float) -> bool:
    """Whether it is shown at `level`, at any time, that the mean of these values >= 0 is over `limit`.

    For the null "the mean is at most m", prod(1 + l (x / m - 1)) is a supermartingale for every stake l in [0, 1].
    """
    known = [value for value in values if value is not None]
    if not known:
        return False
    sums, sizes = np.array(known), np.ones(len(known))
    if clusters is not None:
        sums, sizes = by_cluster(known, [c for value, c in zip(values, clusters, strict=True) if value is not None])
    if limit <= 0:
        return bool(sums.any())
    gains = (sums / limit - sizes) / sizes.max()
    return log_mixture(gains) >= -math.log(level)
