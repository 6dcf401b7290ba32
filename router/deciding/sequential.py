"""How much of the error rate each look at a known number of questions may spend (Lan and DeMets 1983).

levels = nominal_levels((20, 40, 60, 80), tail=0.02)   # one-sided; at each look a p-value below its level is a claim

A race knows how many questions there are, so it need not pay for looking for ever, as an e-process does. After a share
t of the questions tail * t ** 2 of the level is spent: little early, when chance is large. The levels follow from how
sums of answers move between looks (a Brownian motion), by numerical integration.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from router.deciding.statistics import Floats

# Of the error rate: what the questions that are known may spend. The rest is kept for questions that are added later,
# which are judged by evidence that may be looked at for ever (`router/deciding/evidence.py`).
FIRST_SHARE = 0.8
LATER_SHARE = 1 - FIRST_SHARE
_POINTS = 400
_REACH = 8.0  # standard deviations


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
        wanted = tail * now**2 - spent

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
        before, spent = now, tail * now**2
    return tuple(levels)
