"""How much of the error rate each look at a known number of questions may spend (Lan and DeMets 1983).

levels = nominal_levels((20, 40, 60, 80), tail=0.02)   # one-sided; at each look a p-value below its level is a claim
level = exact_level((6, 14), (20, 40, 60, 80), 0.04)   # two-sided, after 14 of 40 questions set two arms apart

A race knows how many questions there are, so it need not pay for looking for ever, as an e-process does. After a share
t of the questions tail * t ** 2 of the level is spent: little early, when chance is large. The levels follow from how
sums of answers move between looks: a Brownian motion, by numerical integration; or, where each question sets two arms
apart by a whole point or not at all, a walk of fair signs, by counting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from router.deciding.statistics import Floats

# Of the error rate: what the questions that are known may spend. The rest is kept for questions that are added later,
# which are judged by evidence that may be looked at for ever (`router/deciding/evidence.py`).
FIRST_SHARE = 0.8
LATER_SHARE = 1 - FIRST_SHARE
_POINTS = 400
_REACH = 8.0  # standard deviations


def spendable(rate: float, num_spent: int, ends: Sequence[int]) -> float:
    """What all looks up to so many questions may spend of an error rate."""
    return rate * (num_spent / ends[-1]) ** 2


@lru_cache(maxsize=256)
def nominal_levels(ends: tuple[int, ...], tail: float) -> tuple[float, ...]:
    """The one-sided level of each look, after so many questions each, that adds up to `tail` over all of them.

    `ends` rises to the number of all questions. Raises ValueError where it does not.
    """
    if not ends or any(a >= b for a, b in zip((0, *ends), ends, strict=False)):
        raise ValueError(f"looks must come after more and more questions, not after {ends!r}")
    from scipy.optimize import brentq
    from scipy.special import ndtr

    levels: list[float] = []
    # Where the motion is at the last look, if it crossed no bound before.
    places: Floats = np.zeros(1)
    density: Floats = np.ones(1)
    before, spent = 0.0, 0.0
    for end in ends:
        now = end / ends[-1]
        step = math.sqrt(now - before)
        wanted = spendable(tail, end, ends) - spent

        def crossed(bound: float) -> float:
            return float(density @ ndtr((places - bound) / step)) - wanted  # noqa: B023  # called in this turn alone

        reach = _REACH * math.sqrt(now)
        bound = brentq(crossed, -reach, reach) if crossed(reach) < 0 else reach
        levels.append(float(ndtr(-bound / math.sqrt(now))))
        width = (bound + reach) / _POINTS
        grid = -reach + width * (np.arange(_POINTS) + 0.5)
        moved = np.exp(-0.5 * ((grid[:, None] - places) / step) ** 2) / (step * math.sqrt(2 * math.pi))
        density = np.asarray(moved @ density * width, dtype=np.float64)
        places = np.asarray(grid, dtype=np.float64)
        before, spent = now, spendable(tail, end, ends)
    return tuple(levels)


def exact_level(num_apart: Sequence[int], ends: tuple[int, ...], alpha: float) -> float:
    """The two-sided level of McNemar's test at the last of the looks so far: the largest p-value that is a claim.

    `num_apart` counts at each of them the questions that exactly one of two arms got right. Given these counts, the
    signs are fair coins: what a look spends is counted, and what it cannot, as a count of wins jumps, is left to the
    next.
    """
    from scipy.special import bdtr

    chances: Floats = np.ones(1)  # of each number of wins, if no look before was a claim
    spent, num_seen, outer = 0.0, 0, 0
    for num, end in zip(num_apart, ends, strict=False):
        chances = np.asarray(np.convolve(chances, _coins(num - num_seen)), dtype=np.float64)
        tails = 2 * np.cumsum(chances[: (num + 1) // 2])
        outer = int(np.searchsorted(tails, spendable(alpha, end, ends) - spent, side="right"))
        if outer:
            spent += float(tails[outer - 1])
            chances[:outer] = chances[-outer:] = 0.0
        num_seen = num
    return min(1.0, 2 * float(bdtr(outer - 1, num_seen, 0.5))) if outer else 0.0


@lru_cache(maxsize=256)
def _coins(num: int) -> Floats:
    """(num + 1,) the chance of each number of heads."""
    from scipy.special import gammaln

    heads = np.arange(num + 1)
    logs = gammaln(num + 1) - gammaln(heads + 1) - gammaln(num - heads + 1) - num * math.log(2)
    return np.asarray(np.exp(logs), dtype=np.float64)
