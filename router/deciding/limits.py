"""A policy's hard limits: which of them an arm breaks, and whether that is shown or may be chance.

found = check_limits(scores, card, policy, cost_per_1k=0.04, level=0.01)
found.broken, found.is_shown       # {"p95_ms": "95th percentile of latency 812 ms is over ..."}, False

An arm that breaks a limit as measured may not be served. It stays a rival until the violation is shown, because a
twentieth of twenty latencies is one of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from router.deciding.costs import question_costs
from router.deciding.evidence import log_mixture
from router.deciding.labelled import labelled_mean
from router.deciding.policy import Policy
from router.deciding.scorecard import ArmScores, Scorecard, quantile
from router.deciding.statistics import Documents, Floats, by_cluster, mean_known
from router.deciding.wording import as_score

# The limit that depends on prices; the others are measured once and for all.
COST_LIMIT = "cost_per_1k"
# An arm that fails more often than this on the questions to come is out.
_MOSTLY = 0.5
# Name, in words, unit, and the share of questions that may exceed it; a mean must keep the last.
_ROWS = (
    ("latency_ms", "median latency", " ms", 0.5),
    ("p95_ms", "95th percentile of latency", " ms", 0.05),
    ("ttft_ms", "median time to the first token", " ms", 0.5),
    (COST_LIMIT, "cost of 1,000 questions", "", None),
)


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
    limits, num_failed, column = policy.limits, len(scores.errors), scores.column(card.primary)
    level /= max(sum(getattr(limits, field.name) is not None for field in fields(limits)), 1)
    broken: dict[str, str] = {}
    is_shown = False
    for name, called, unit, share in _ROWS:
        limit = getattr(limits, name)
        if limit is None:
            continue
        values = _measured(card, scores, policy, name)
        value = cost_per_1k if share is None else quantile(values, 1 - share)
        if value is not None and value <= limit:
            continue
        measured = "was not measured, which does not keep" if value is None else f"{value:.4g}{unit} is over"
        if value == math.inf:
            measured = f"cannot be told with {num_failed} of {scores.num_asked} answers failed, which does not keep"
        broken[name] = f"{called} {measured} the limit of {limit:.4g}{unit}"
        if value is None:
            is_shown = True  # more questions would not measure it either
        elif share is None:
            is_shown |= _exceeds(values, limit, card.documents, level)
        else:
            is_shown |= _exceeds((values > limit).astype(np.float64), share, np.arange(len(values)), level)
    if limits.score is not None:
        by_labels = labelled_mean(card, scores) if card.labelled == card.primary else None
        mean = by_labels.mean if by_labels else mean_known(column) or 0.0
        if mean < limits.score:
            broken["score"] = f"mean {card.primary} {as_score(mean)} is under the limit of {as_score(limits.score)}"
            # An e-process corrects nothing, so that where people's labels do, they alone are evidence.
            known = scores.measured("labels") if by_labels else column
            is_shown |= _exceeds(1 - known, 1 - limits.score, card.documents, level)
    if len(scores.errors) == scores.num_asked or scores.num_unscored(card.primary) == scores.num_asked:
        why, lost = next(iter(scores.errors.values()), "no score"), "answered" if scores.errors else "scored"
        # Of some questions a metric says nothing, whatever is answered; and bad luck with the first few answers must
        # not end a race for an arm.
        told = set(card.question_ids).difference(card.undefined, scores.not_asked)
        is_shown = _exceeds(np.ones(len(told)), _MOSTLY, np.arange(len(told)), level)
        return BrokenLimits({"scored": f"no question was {lost} ({why})"}, is_shown)
    return BrokenLimits(broken, is_shown)


def _measured(card: Scorecard, scores: ArmScores, policy: Policy, limit: str) -> Floats:
    """What a limit is of, question by question: costs, or the known times and an infinite one for each answer that
    failed.
    """
    if limit == COST_LIMIT:
        return 1000 * question_costs(scores, policy, card.prefill_s)
    # What the time to the first token was measured on is known of the arms together.
    is_first = limit == "ttft_ms"
    failed = card.streamed.intersection(scores.errors) if is_first else scores.errors
    times_ms = scores.measured("ttft_ms" if is_first else "latency_ms")
    return np.append(times_ms[~np.isnan(times_ms)], [math.inf] * len(failed))


def _exceeds(values: Floats, limit: float, documents: Documents, level: float) -> bool:
    """Whether it is shown at `level`, at any time, that the mean of these values >= 0 is over `limit`.

    For the null "the mean is at most m", prod(1 + l (x / m - 1)) is a supermartingale for every stake l in [0, 1].
    """
    known = ~np.isnan(values)
    if not known.any():
        return False
    sums, sizes = by_cluster(values[known], documents[known])
    if limit <= 0:
        return bool(sums.any())
    gains = (sums / limit - sizes) / sizes.max()
    return log_mixture(gains) >= -math.log(level)
