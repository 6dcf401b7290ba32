"""Paired statistics for arms that answered the same questions: differences, intervals, tests and how many questions
they need.

Scores lie in [0, 1]. Questions about one source document are not independent, so documents (clusters) are what is
counted: in standard errors, in degrees of freedom, and where something is made up so that a handful of answers which
all agree does not look like certainty.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_DRAWS, _PRIOR_SIZE = 4000, 0.75
_POWER = 0.8
# Made-up documents, each at half the weight of one: of scores, and of the differences of two scores.
_MADE_UP_SCORES = (0.0, 1.0)
_MADE_UP_DIFFERENCES = (-1.0, 0.0, 0.0, 1.0)
# A sign-flip test counts sums in this many steps, or so many a document, and can tell no smaller p-value.
_STEPS, _STEPS_EACH, _SMALLEST_P, _SMALLEST_HEIGHT = 1024, 4, 1e-14, 1e-18
# It doubts a lead with fewer than so many documents that have a difference this large (less the last bits).
_FEW, _LARGE = 3, 0.5 - 1e-9
MCNEMAR = "exact McNemar"
Floats = NDArray[np.float64]
# Whole numbers >= 0 in the place of names.
Documents = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its confidence bounds, all on the metric's own scale."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of (a - b) over jointly scored questions.

    `p_value` is two-sided for "no difference"; `p_not_worse` one-sided for "a is worse by the margin or more";
    `p_equivalent` the TOST p-value for "closer than the margin"; `sd` is that of one question's difference, as
    `question_sd` has it; None when all questions are about one document.
    """

    mean: float
    low: float
    high: float
    p_value: float
    p_not_worse: float
    p_equivalent: float
    sd: float | None
    num_pairs: int
    test: str


def mean_of(values: Sequence[float] | Floats) -> float:
    """The mean, whatever the order of the values: equal columns have equal means to the last bit."""
    return math.fsum(values.tolist() if isinstance(values, np.ndarray) else values) / len(values)


def mean_known(values: Iterable[float | None] | Floats) -> float | None:
    """The mean of those that are neither None nor NaN; None without any."""
    found = values if isinstance(values, np.ndarray) else np.array(list(values), dtype=np.float64)
    known = found[~np.isnan(found)]
    return mean_of(known) if len(known) else None


def mean_interval(
    values: Sequence[float] | Floats, clusters: Sequence[str] | Documents, *, alpha: float = 0.05
) -> Interval:
    """The mean of one arm's scores with a (1 - alpha) interval.

    Wilson's for independent binary scores, else Student's t with the clustered standard error and two made-up clusters
    at half the weight of one, all wrong and all right. Raises ValueError when there are no values.
    """
    if not len(values):
        raise ValueError("mean_interval needs at least one value")
    sums, counts = by_cluster(values, clusters)
    mean = mean_of(values)
    if len(sums) == len(values) and _are_binary(sums):
        return Interval(mean, *_wilson(mean, len(values), alpha=alpha))
    return Interval(mean, *_bounds(sums, counts, _MADE_UP_SCORES, alpha=alpha))


def share_interval(
    values: Sequence[float] | Floats, clusters: Sequence[str] | Documents, *, alpha: float = 0.05
) -> Interval:
    """As `mean_interval`, but exact (Clopper and Pearson 1934) for independent binary values: each end is beyond the
    truth in no more than alpha / 2 of all samples, however few the values and rare the ones. Wilson's, which is right
    on average, may be so twice as often.
    """
    sums, _ = by_cluster(values, clusters)
    if len(sums) != len(values) or not _are_binary(sums):
        return mean_interval(values, clusters, alpha=alpha)
    from scipy.special import betaincinv

    num, ones = len(sums), int(sums.sum())
    low = float(betaincinv(ones, num - ones + 1, alpha / 2)) if ones else 0.0
    high = float(betaincinv(ones + 1, num - ones, 1 - alpha / 2)) if ones < num else 1.0
    return Interval(mean_of(values), low, high)


def paired_difference(
    a: Sequence[float] | Floats,
    b: Sequence[float] | Floats,
    clusters: Sequence[str] | Documents,
    *,
    margin: float,
    alpha: float = 0.05,
) -> Difference:
    """How much better `a` scored than `b` on the same questions.

    The test is exact McNemar for binary scores of independent questions, else a sign-flip permutation over clusters.
    Where rare large differences would balance many small ones, few documents may hold none of them. So until three
    went the leading arm's way, with a question whose difference is at least half a point, the test has one more
    cluster, which is made up: as large as a mean one, and all against the leading arm.
    The interval has the clustered standard error, Student's t with a degree of freedom less than there are clusters,
    and two made-up clusters: Agresti and Min's interval (2005) for matched proportions, here for any score. Equivalence
    is two one-sided t-tests (TOST), each as in `not_worse`: a few answers that all agree do not show that two arms are
    equal, nor do many small differences that rare large ones would balance. Raises ValueError when there are no pairs.
    """
    if not len(a):
        raise ValueError("paired_difference needs at least one pair")
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    differences, documents = first - second, number_documents(clusters)
    sums, counts = by_cluster(differences, documents)
    mean = mean_of(differences)
    low, high = _bounds(sums, counts, _MADE_UP_DIFFERENCES, alpha=alpha)
    if len(sums) == len(differences) and _are_binary(first) and _are_binary(second):
        test, p_value = MCNEMAR, _mcnemar(differences)
    else:
        toward = differences if mean > 0 else -differences
        num_large = np.count_nonzero(np.bincount(documents[toward >= _LARGE]))
        against = float(counts.mean()) if num_large < _FEW else 0.0
        test, p_value = "sign-flip permutation", _sign_flip(sums, against=against)
    sd = question_sd(sums, counts)
    error = None if sd is None else sd / math.sqrt(len(differences))
    ahead, behind = (
        1.0
        if error is None
        else not_worse(
            sign * mean,
            error,
            margin=margin,
            num_clusters=len(sums),
            skewness=_skewness_of_losses(sign * sums, counts, margin=margin),
        )
        for sign in (1.0, -1.0)
    )
    return Difference(
        mean=mean,
        low=low,
        high=high,
        p_value=p_value,
        p_not_worse=ahead,
        p_equivalent=max(ahead, behind),
        sd=sd,
        num_pairs=len(differences),
        test=test,
    )


def holm(p_values: Sequence[float], *, among: int | None = None) -> list[float]:
    """Holm-adjusted p-values, in the order given: the k-th smallest of n times n - k + 1, none below one before it.

    `among` is the number of hypotheses that these were picked from by what the data say, n where none were. The k-th is
    then multiplied by among - k + 1: when those before it are true findings, no more hypotheses than that can be null.
    """
    # statsmodels has this too, behind a garbage collection that stops a server for up to 0.3 s.
    ordered = np.asarray(p_values, dtype=float)
    order = np.argsort(ordered, kind="stable")
    adjusted = np.empty_like(ordered)
    times = (among or len(order)) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(ordered[order] * times), 1.0)
    found: list[float] = adjusted.tolist()
    return found


def share_not_beaten(scores: Floats, clusters: Sequence[str] | Documents, *, arm: int, margin: float) -> float:
    """The probability, as far as these questions tell, that no arm is better than row `arm` by more than `margin`.

    `scores` is (arms, questions) in [0, 1] without gaps. The arms' means are drawn from a multivariate Student's t with
    their clustered covariance, a degree of freedom less than there are clusters, and always the same random numbers.
    A handful of documents must not look like certainty, so two are made up: one that only this arm gets right, and one
    that all others do. Each is three quarters as large as a mean one, and a question at least: half as large, 95%
    was right in 92% of samples of four documents; as large, six documents would hardly ever be 95% sure.
    """
    lone_win = np.zeros((len(scores), 1))
    lone_win[arm] = 1.0
    sums, counts = by_cluster(scores, clusters)
    size, degrees = max(_PRIOR_SIZE * float(counts.mean()), 1.0), max(len(counts) - 1, 1)
    sums, counts = np.hstack([sums, size * lone_win, size * (1 - lone_win)]), np.append(counts, [size, size])
    means = sums.sum(axis=1) / counts.sum()
    residuals = sums - np.outer(means, counts)
    spread = residuals @ residuals.T * len(counts) / (len(counts) - 1) / counts.sum() ** 2
    sizes, directions = np.linalg.eigh(spread)
    draws = means + _draws(len(scores), degrees) @ (directions * np.sqrt(np.maximum(sizes, 0.0))).T
    return float((draws.max(axis=1) - draws[:, arm] <= margin + 1e-12).mean())


@lru_cache(maxsize=32)
def _draws(num: int, degrees: int) -> Floats:
    """Of Student's t in `num` dimensions."""
    rng = np.random.default_rng(0)
    normal = rng.standard_normal((_DRAWS, num))
    return np.asarray(normal / np.sqrt(rng.chisquare(degrees, (_DRAWS, 1)) / degrees))


def questions_needed(effect: float, sd: float, *, alpha: float = 0.05) -> int:
    """Paired questions that show a mean difference of `effect` with 80% power (normal approximation)."""
    if sd == 0:
        return 1
    return math.ceil((_z(1 - alpha / 2) + _z(_POWER)) ** 2 * sd**2 / effect**2)


def detectable_difference(num_questions: int, *, discordance: float = 0.2, alpha: float = 0.05) -> float:
    """Smallest difference in accuracy that so many paired questions show with 80% power (Connor 1987, McNemar).

    `discordance` is the share of questions on which exactly one of two arms is right. 100 questions at 0.2 see 0.12;
    0.05 needs 626.
    """
    # The root of d sqrt(n) = z sqrt(D) + power sqrt(D - d^2), in which D is the discordance.
    needed, power = _z(1 - alpha / 2) * math.sqrt(discordance), _z(_POWER) ** 2
    square = power * ((num_questions + power) * discordance - needed**2)
    if square < 0:
        return 1.0
    found = (needed * math.sqrt(num_questions) + math.sqrt(square)) / (num_questions + power)
    return found if found <= discordance else 1.0


def number_documents(clusters: Sequence[str] | Documents) -> Documents:
    """Each cluster's place among their sorted names; of numbers these themselves."""
    if isinstance(clusters, np.ndarray):
        return clusters
    places = {name: place for place, name in enumerate(sorted(set(clusters)))}
    return np.array([places[name] for name in clusters], dtype=np.intp)


def by_cluster(values: Sequence[float] | Floats, clusters: Sequence[str] | Documents) -> tuple[Floats, Floats]:
    """Sum and count of each cluster's values; (..., values) -> (..., clusters) and (clusters,)."""
    columns, documents = np.atleast_2d(np.asarray(values, dtype=np.float64)), number_documents(clusters)
    counts = np.bincount(documents)
    places = documents + len(counts) * np.arange(len(columns))[:, None]
    sums = np.bincount(places.ravel(), columns.ravel(), minlength=len(columns) * len(counts))
    is_seen = counts > 0
    found = np.asarray(sums.reshape(len(columns), -1)[:, is_seen], dtype=np.float64)
    return found if np.ndim(values) > 1 else found[0], counts[is_seen].astype(np.float64)


def _are_binary(values: Floats) -> bool:
    return bool((values * values == values).all())


def _bounds(sums: Floats, counts: Floats, made_up: Sequence[float], *, alpha: float) -> tuple[float, float]:
    """Bounds of level 1 - alpha of sum(sums) / sum(counts) over clusters, with `made_up` ones of mean size beside them.

    A single cluster says nothing about the next: its bounds are the lowest and the highest that was made up.
    """
    if len(sums) < 2:
        return min(made_up), max(made_up)
    seen, size = float(sums.sum() / counts.sum()), float(counts.mean())
    num, values = len(sums) + len(made_up) / 2, np.asarray(made_up)
    total = num * size
    mean = (float(sums.sum()) + size * float(values.sum()) / 2) / total
    squares = float(((sums - counts * mean) ** 2).sum()) + size**2 * float(((values - mean) ** 2).sum()) / 2
    reach = upper_t(alpha / 2, len(sums) - 1) * math.sqrt(num / (num - 1) * squares) / total
    # What was seen lies inside, and no bound outside of what can be.
    low, high = max(mean - reach, float(values.min())), min(mean + reach, float(values.max()))
    return min(low, seen), max(high, seen)


def _wilson(mean: float, num: int, *, alpha: float) -> tuple[float, float]:
    square = _z(1 - alpha / 2) ** 2 / num
    centre, reach = mean + square / 2, math.sqrt(square * (mean * (1 - mean) + square / 4))
    return min(max((centre - reach) / (1 + square), 0.0), mean), max(min((centre + reach) / (1 + square), 1.0), mean)


def _mcnemar(differences: Floats) -> float:
    from scipy.special import bdtr

    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    return min(1.0, 2 * float(bdtr(min(wins, losses), wins + losses, 0.5)))


def _sign_flip(sums: Floats, *, against: float) -> float:
    """The share of all patterns of signs whose sum is as far from 0, exact: whole numbers have few possible sums, and
    anything else is rounded to whole parts of a small step first, which changes how it is weighed and no error rate.

    `against` is added against the sign of the sum, and never turns it.
    """
    if against:
        if abs(float(sums.sum())) <= against:
            return 1.0
        sums = np.append(sums, -math.copysign(against, float(sums.sum())))
    total = float(np.abs(sums).sum())
    num_steps = max(_STEPS, _STEPS_EACH * len(sums))
    step = 1.0 if total <= num_steps and bool((sums == np.rint(sums)).all()) else total / num_steps
    rounded = np.rint(sums / (step or 1.0)).astype(np.intp)
    reach, seen = int(np.abs(rounded).sum()), abs(int(rounded.sum()))
    if seen == 0:
        return 1.0
    times = np.bincount(np.abs(rounded))
    times[0] = 0
    # The parts that fall on one side are a sum of independent values, each 0 or its size with even chances. Its chances
    # of at most `most` follow from its characteristic function at an odd number of angles; few of them matter.
    num, most = reach + 1 + reach % 2, (reach - seen) // 2
    angles = np.pi / num * np.arange(1, num // 2 + 1)
    heights = np.ones(len(angles))
    for size in np.argsort(-times, kind="stable")[: np.count_nonzero(times)].tolist():
        heights = heights * np.cos(size * angles) ** int(times[size])
        matters = np.abs(heights) > _SMALLEST_HEIGHT
        angles, heights = angles[matters], heights[matters]
    waves = np.cos((reach - most) * angles) * np.sin((most + 1) * angles) / np.sin(angles)
    tail = (most + 1 + 2 * float(heights @ waves)) / num
    # The last bits are noise.
    return min(1.0, max(float(f"{2 * tail:.14g}"), 2.0 ** (1 - int(times.sum())), _SMALLEST_P))


def question_sd(sums: Floats, counts: Floats) -> float | None:
    """The standard deviation of one question's value; divided by the root of their number it is the standard error of
    the ratio sum(sums) / sum(counts) over clusters (linearisation). None for a single cluster.
    """
    if len(sums) < 2:
        return None
    residuals = sums - counts * (sums.sum() / counts.sum())
    return math.sqrt(len(sums) / (len(sums) - 1) * float((residuals**2).sum()) / float(counts.sum()))


def not_worse(mean: float, error: float, *, margin: float, num_clusters: int, skewness: float = 0.0) -> float:
    """The one-sided p-value of "worse by the margin or more"; the standard error is at least that of arms which differ
    on a share `margin` of the clusters.

    A `skewness` below 0 means rare large losses, of which few documents hold too few: t is then corrected (Johnson
    1978, "Modified t tests and confidence intervals for asymmetrical populations").
    """
    from scipy.special import stdtr

    floored = max(error, math.sqrt(margin * (1 - margin) / num_clusters))
    t = (margin + mean) / floored
    t += skewness / (6 * math.sqrt(num_clusters)) * (1 + 2 * t**2)
    return float(stdtr(num_clusters - 1, -t))


def _skewness_of_losses(sums: Floats, counts: Floats, *, margin: float) -> float:
    """The skewness of the clusters' means where it is below 0, else 0. A sample does not show how skewed the rest is by
    the few losses that it holds, so one more cluster of mean size is made up, which is all lost.
    """
    size = float(counts.mean())
    sums, counts = np.append(sums, -size), np.append(counts, size)
    residuals = (sums - counts * (sums.sum() / counts.sum())) / size
    spread = max(float((residuals**2).mean()), margin * (1 - margin))
    return min(float((residuals**3).mean()) / (spread * math.sqrt(spread)), 0.0)


@lru_cache(maxsize=256)
def upper_t(level: float, freedom: int) -> float:
    """The value of Student's t that is exceeded with this probability; infinite without a degree of freedom."""
    from scipy.special import stdtrit

    return -float(stdtrit(freedom, level)) if freedom else math.inf


def upper_z(level: float) -> float:
    """The standard normal value that is exceeded with this probability."""
    return -_z(level)


def _z(probability: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(probability))
