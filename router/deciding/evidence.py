"""Anytime-valid evidence that one arm is better than another: it may be looked at after every batch, and stopping when
it looks good keeps the error rate.

difference = anytime_difference(rag, base, clusters, margin=0.05, alpha=0.05)

The e-process bets on the paired differences d in [-1, 1]: for the null "the mean of d is at most m" the capital prod(1
+ l (d - m) / (1 + m)) is a supermartingale for every stake l in [0, 1], and so is its average over stakes
(Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting"). Averaged uniformly and with
d in {-1, 0, 1}, m = 0, this is the Beta(1, 1) mixture over discordant pairs. Capital of 1 / p is evidence at level p
(Ville's inequality).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from router.deciding.decision import Further
from router.deciding.statistics import Difference, Documents, Floats, by_cluster, number_documents, question_sd

TEST = "anytime e-process"
# Any positive weights that sum to 1 keep the guarantee; this many Gauss-Legendre nodes integrate hundreds of
# differences exactly.
_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_STAKES = (_POINTS + 1) / 2
_LOG_WEIGHTS = np.log(_WEIGHTS / 2)
_MOST = 1e8  # documents; what takes more never comes
# Normal quantiles of a power of 50% and of 90%; of two tests at once, where each has the root of that.
_LUCK = {False: (0.0, 1.2816), True: (0.5450, 1.6325)}

Column = Sequence[float | None] | Floats


@dataclass(frozen=True, slots=True)
class Bets:
    """Paired differences to bet on: all questions about one source document are one bet.

    `sums` (c,) holds each document's sum of differences, `sizes` (c,) its jointly scored questions; `largest` is the
    most questions any document can bring, known before the first answer.
    """

    sums: Floats
    sizes: Floats
    largest: int

    @property
    def mean(self) -> float:
        """Mean difference of a question; 0 without any."""
        total = float(self.sizes.sum())
        return float(self.sums.sum()) / total if total else 0.0

    def flipped(self) -> Bets:
        """The same bets seen from the other arm."""
        return Bets(-self.sums, self.sizes, self.largest)

    def gains(self, null: float) -> Floats:
        """(c,) what each document's bet wins per unit of stake against "the mean difference is at most `null`"."""
        return (self.sums - null * self.sizes) / (self.largest * (1 + null))

    def log_evidence(self, null: float) -> float:
        """Log capital against "the mean difference is at most `null`", null in (-1, 1); 0 before the first bet."""
        return log_mixture(self.gains(null))

    def lower_bound(self, alpha: float) -> float:
        """The largest mean that is refuted from below at level `alpha`; -1 when none is. Valid at all times at once."""
        from scipy.optimize import brentq

        wanted, low = -math.log(alpha), -1 + 1e-9
        if not len(self.sums) or self.log_evidence(low) < wanted:
            return -1.0
        return float(brentq(lambda null: self.log_evidence(null) - wanted, low, self.mean))


def log_mixture(gains: Floats) -> float:
    """Log capital after a bet on each of (n,) `gains` in [-1, inf), averaged over stakes in [0, 1]."""
    return _log_sum(_log_capitals(gains))


def make_bets(a: Column, b: Column, clusters: Sequence[str] | Documents, largest: int | None = None) -> Bets:
    """The bets of a minus b over the questions that both were scored on; `largest` defaults to the largest cluster."""
    differences = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)  # None becomes NaN
    known = ~np.isnan(differences)
    sums, sizes = by_cluster(differences[known], number_documents(clusters)[known])
    return Bets(sums, sizes, largest or int(sizes.max(initial=1)))


def anytime_difference(
    a: Column,
    b: Column,
    clusters: Sequence[str] | Documents,
    *,
    margin: float,
    alpha: float = 0.05,
    largest: int | None = None,
) -> Difference | None:
    """How much better `a` scored than `b`, with an interval and p-values that hold whenever one looks.

    The interval has level 1 - alpha at all times at once, so it is wider than one of a fixed sample. None when the arms
    share no scored question.
    """
    bets = make_bets(a, b, clusters, largest)
    num_pairs = int(bets.sizes.sum())
    if not num_pairs:
        return None
    back = bets.flipped()
    ahead, behind = (_as_p(side.log_evidence(-margin)) for side in (bets, back))
    return Difference(
        mean=bets.mean,
        low=bets.lower_bound(alpha / 2),
        high=-back.lower_bound(alpha / 2),
        p_value=min(1.0, 2 * _as_p(max(bets.log_evidence(0.0), back.log_evidence(0.0)))),
        # Closer than the margin means that both "at least the margin" and "at most minus the margin" are refuted.
        p_not_worse=ahead,
        p_equivalent=max(ahead, behind),
        sd=question_sd(bets.sums, bets.sizes),
        num_pairs=num_pairs,
        test=TEST,
    )


def claim_level(alpha: float, num_arms: int) -> float:
    """The level of one claim among so many arms: alpha / (2 (K - 1)).

    The chance of a false winner is then alpha at most: for one to be declared, each truly best arm (all but one of
    several equals) must have been beaten, and K - 1 arms could beat either of two. By the same count the arm served
    lies behind the best by the margin or more with a chance of alpha at most: the capital against "better by the
    margin" is never below that against "better at all", so the two claims share one correction.
    """
    return alpha / max(2 * (num_arms - 1), 1)


def further_questions(bets: Bets, null: float, level: float, *, if_equal: bool = False) -> Further | None:
    """How many further questions would refute "the mean is at most `null`", if they were like those seen; or, if the
    arms are equal, that and its mirror image, which takes better luck.

    The log of each stake's capital grows by its mean log gain a document, with the spread of these gains. A made-up
    document for either side keeps a handful of questions from promising too much. None when no stake gains.
    """
    wanted, capital = -math.log(level), _log_capitals(bets.gains(null))
    if _log_sum(capital) >= wanted:
        return Further(0, 0)
    from scipy.optimize import brentq

    moved = Bets(bets.sums - bets.mean * bets.sizes, bets.sizes, bets.largest) if if_equal else bets
    gains = np.append(moved.gains(null), bets.gains(null).max(initial=1.0 / (1 + null)) * np.array([1.0, -1.0]))
    logs = np.log1p(np.outer(_STAKES, np.clip(gains, -0.999, None)))
    growth, spread = logs.mean(axis=1), logs.std(axis=1)

    def missing(num_documents: float, luck: float) -> float:
        return wanted - _log_sum(capital + num_documents * growth - luck * math.sqrt(num_documents) * spread)

    if missing(_MOST, _LUCK[if_equal][1]) > 0:
        return None
    size = float(bets.sizes.mean()) if len(bets.sizes) else 1.0
    low, high = (size * brentq(missing, 0.0, _MOST, args=(luck,)) for luck in _LUCK[if_equal])
    return Further(math.ceil(low), math.ceil(high))


def _log_capitals(gains: Floats) -> Floats:
    """(64,) the logs of what each stake adds to the average."""
    # Binary scores have three distinct differences, however many questions there are.
    values, counts = np.unique(gains, return_counts=True)
    return np.asarray(_LOG_WEIGHTS + counts.astype(np.float64) @ np.log1p(np.outer(values, _STAKES)), dtype=np.float64)


def _log_sum(logs: Floats) -> float:
    top = float(logs.max())
    return top + math.log(float(np.exp(logs - top).sum()))


def _as_p(log_evidence: float) -> float:
    return min(1.0, math.exp(-max(log_evidence, 0.0)))
