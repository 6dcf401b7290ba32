"""How a score grows with the number of training examples, and how many more it takes to be as good as another arm.

curve = fit_curve([25, 50, 100], scores, clusters)         or measured.fit()
curve.forecast(200)                       an Interval
curve.needed(rival_scores)                Needed(expected=180, low=90, high=None)

The score's log-odds are taken as a line in the logarithm of the number of examples, which may bend beyond the last
size. The questions are resampled, the same ones for all sizes and for the rival; another training of the same rows is
not, of which there is one a size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router.deciding.statistics import Interval, mean_interval, number_documents
from storage.settings import Count, NotNegative, settings

Floats = NDArray[np.float64]


@settings()
class CurveSettings:
    """A learning curve: what `arbiter tune --curve` measures."""

    arm: str | None = None
    """The arm whose adapter is trained on a few sizes of the training rows; null is the first that is trained."""
    most: Count = 1000
    """How many more examples are worth asking for at most."""
    example_price: NotNegative = 0.0
    """What writing and checking one more example costs, in the user's currency."""


FEWEST = 10
"""Rows of the smallest size that is tried."""
FEWEST_ROWS = 4 * FEWEST
"""Of which the whole, a half and a quarter are the three sizes that a curve needs."""

_DRAWS = 1000
# How far, in log-odds, a curve is taken to bend away from its line for each doubling of the examples beyond the last.
_BEND = 0.3
# Where the interval of a forecast ends on either side.
_TAIL = 0.05


@dataclass(frozen=True, slots=True)
class MeasuredCurve:
    """What was measured: an arm's scores when it was trained on some sizes, and those of arms that are not trained, all
    of the same questions about the documents in `clusters`. The rest follows from it.
    """

    arm: str
    metric: str
    sizes: tuple[int, ...]
    scores: tuple[tuple[float, ...], ...]
    rivals: Mapping[str, tuple[float, ...]]
    clusters: tuple[str, ...]
    training_s: tuple[float, ...]
    """Of each size."""
    seed: int = 0

    def fit(self) -> LearningCurve:
        """The curve through the scores."""
        return fit_curve(self.sizes, self.scores, self.clusters, seed=self.seed)


@dataclass(frozen=True, slots=True)
class Needed:
    """A number of examples in all: the median of what the curve may be, and its 5% and 95% points. None is more than
    was asked about, or never.
    """

    expected: int | None
    low: int | None
    high: int | None


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """Mean scores at some sizes, with their 95% intervals, and what they say of other sizes."""

    sizes: tuple[int, ...]
    intervals: tuple[Interval, ...]
    _weights: Floats
    """(draws, questions) how often each question counts."""
    _start: Floats
    """(draws,) the log-odds at the largest size."""
    _slopes: Floats
    """(draws,) of the log-odds in the logarithm of the size, among the sizes."""
    _later: Floats
    """(draws,) the same beyond the largest size."""

    def forecast(self, num_examples: int) -> Interval:
        """The score to expect with so many examples, with a 90% interval."""
        found = _expit(self._log_odds(math.log(num_examples / self.sizes[-1])))
        low, middle, high = np.quantile(found, [_TAIL, 0.5, 1 - _TAIL])
        return Interval(float(middle), float(low), float(high))

    def needed(self, rival: Sequence[float], *, most: int) -> Needed:
        """How many examples it takes until the score is that of a rival on the same questions, up to `most`."""
        gap = _logit(_means(self._weights, np.asarray(rival, dtype=np.float64)[None])[:, 0]) - self._start
        slopes = np.where(gap > 0, self._later, self._slopes)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            sizes = self.sizes[-1] * np.exp(gap / slopes)
        # A curve that does not rise never comes up to a rival above it, and was above one below it from the start.
        sizes = np.where(slopes > 0, sizes, np.where(gap > 0, np.inf, 1.0))
        low, middle, high = np.quantile(sizes, [_TAIL, 0.5, 1 - _TAIL], method="nearest")
        # What lies below the smallest size was not tried.
        return Needed(*(None if size > most else max(math.ceil(size), self.sizes[0]) for size in (middle, low, high)))

    def chance_ahead(self, rival: Sequence[float], num_examples: int) -> float:
        """How likely the score with so many examples is at least the rival's."""
        own = self._log_odds(math.log(num_examples / self.sizes[-1]))
        return float((own >= _logit(_means(self._weights, np.asarray(rival, dtype=np.float64)[None])[:, 0])).mean())

    def _log_odds(self, distance: float) -> Floats:
        return np.asarray(self._start + (self._later if distance > 0 else self._slopes) * distance, dtype=np.float64)


def fit_curve(
    sizes: Sequence[int], scores: Sequence[Sequence[float]], clusters: Sequence[str], *, seed: int = 0
) -> LearningCurve:
    """A curve through the scores, 0 to 1, of the same questions at each size; `clusters` are the questions' documents.

    Raises ValueError for fewer than three sizes, which show no curve, or sizes that do not rise.
    """
    if len(sizes) < 3 or list(sizes) != sorted(set(sizes)):
        raise ValueError(f"a curve needs at least three rising sizes, not {list(sizes)}")
    values, documents = np.asarray(scores, dtype=np.float64), number_documents(clusters)
    weights = _resample(documents, np.random.default_rng(seed))
    means = _means(weights, values)
    # Each point counts as much as it is known: a mean near 0 or 1 says little about its log-odds.
    precision = means * (1 - means)
    x = np.log(np.asarray(sizes, dtype=np.float64))
    total = precision.sum(1)
    centre_x = (precision * x).sum(1) / total
    centre_y = (precision * _logit(means)).sum(1) / total
    away = x[None] - centre_x[:, None]
    slopes = (precision * away * (_logit(means) - centre_y[:, None])).sum(1) / (precision * away**2).sum(1)
    bends = np.random.default_rng([seed, 1]).normal(0.0, _BEND / math.log(2), len(slopes))
    return LearningCurve(
        sizes=tuple(sizes),
        intervals=tuple(mean_interval(row, clusters) for row in values),
        _weights=weights,
        _start=centre_y + slopes * (x[-1] - centre_x),
        _slopes=slopes,
        _later=slopes + bends,
    )


def _resample(documents: NDArray[np.intp], draw: np.random.Generator) -> Floats:
    """(draws, questions) how often each question counts when whole documents are drawn anew."""
    num = int(documents.max()) + 1
    counts = draw.multinomial(num, np.full(num, 1 / num), size=_DRAWS)
    return np.asarray(counts[:, documents], dtype=np.float64)


def _means(weights: Floats, values: Floats) -> Floats:
    """(draws, sizes) means with half a right and half a wrong answer more, so that none is 0 or 1."""
    return np.asarray((weights @ values.T + 0.5) / (weights.sum(1, keepdims=True) + 1.0), dtype=np.float64)


def _logit(share: Floats) -> Floats:
    return np.asarray(np.log(share / (1 - share)), dtype=np.float64)


def _expit(odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-odds)), dtype=np.float64)
