"""Whether a harm that was measured item by item is over its limit: `rule(harms, clusters, limit=0.1, alpha=0.05)`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from router.deciding.statistics import Interval, questions_needed, share_interval

GateVerdict = Literal["pass", "fail", "not decided", "no data"]
# Closer to the limit than this, no number of items tells on which side of it the harm is.
_SAME = 1e-3


@dataclass(frozen=True, slots=True)
class Ruling:
    """`harm` is the mean with its interval, None without an item. `more` is about how many further items would decide,
    if these are like all others; None where nothing is open, or no number would. `is_open_by_missing` says that what is
    known would decide, and what is missing could turn it.
    """

    verdict: GateVerdict
    harm: Interval | None = None
    more: int | None = None
    is_open_by_missing: bool = False


def rule(
    harms: Sequence[float], clusters: Sequence[str], *, limit: float, alpha: float, num_missing: int = 0
) -> Ruling:
    """It fails where the whole interval is over the limit, and passes where none of it is.

    Each harm is 0 (none) to 1. So a harm that is exactly at its limit is failed in no more than `alpha` of cases, and
    one that is over it passes in no more. An item whose harm is missing may hold any, and what fails to answer is
    seldom like the rest: the verdict stands only if it does with none in all of them, and with all.
    """
    if not harms:
        return Ruling("no data")
    found = share_interval(harms, clusters, alpha=alpha)
    least, most = (_with_missing(harms, clusters, num_missing, one, alpha=alpha) for one in (0.0, 1.0))
    if least.low > limit:
        return Ruling("fail", found)
    if most.high <= limit:
        return Ruling("pass", found)
    if found.low > limit or found.high <= limit:
        return Ruling("not decided", found, is_open_by_missing=True)
    distance = abs(found.mean - limit)
    if distance < _SAME:
        return Ruling("not decided", found)
    # The spread of a handful of harms that are all alike says little: that at the limit is the least.
    spread = math.sqrt(max(found.mean * (1 - found.mean), limit * (1 - limit)))
    return Ruling("not decided", found, max(questions_needed(distance, spread, alpha=alpha) - len(harms), 1))


def _with_missing(
    harms: Sequence[float], clusters: Sequence[str], num_missing: int, harm: float, *, alpha: float
) -> Interval:
    missing = [f"missing:{number}" for number in range(num_missing)]
    return share_interval([*harms, *[harm] * num_missing], [*clusters, *missing], alpha=alpha)
