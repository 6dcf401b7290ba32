"""Paired statistics for arms that answered the same questions: differences, intervals, tests and how many questions
they need.

Scores lie in [0, 1]. Questions about one source document are not independent, so every resampling draws whole
documents (clusters). scipy and statsmodels do the work; this file says which procedure answers which question.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 4000
_POWER = 0.8
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its confidence bounds, all on the metric's own scale."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of (a - b) over jointly scored questions.

    `p_value` is two-sided for "no difference"; `p_equivalent` is the TOST p-value for "closer than the margin"; `sd`
    is that of one question's difference, as `question_sd` has it; None when all questions are about one document.
    """

    mean: float
    low: float
    high: float
    p_value: float
    p_equivalent: float
    sd: float | None
    num_pairs: int
    test: str


def mean_of(values: Sequence[float]) -> float:
    """The mean, whatever the order of the values: equal columns have equal means to the last bit."""
    return math.fsum(values) / len(values)


def mean_known(values: Iterable[float | None]) -> float | None:
    """The mean of those that are not None; None without any."""
    known = [value for value in values if value is not None]
    return mean_of(known) if known else None


def mean_interval(values: Sequence[float], clusters: Sequence[str], *, alpha: float = 0.05, seed: int = 0) -> Interval:
    """The mean of one arm's scores with a (1 - alpha) interval: Wilson for independent binary scores, else BCa
    bootstrap.

    Raises ValueError when there are no values.
    """
    if not values:
        raise ValueError("mean_interval needs at least one value")
    scores = np.asarray(values, dtype=np.float64)
    mean = mean_of(values)
    is_binary = bool(np.isin(scores, (0.0, 1.0)).all())
    is_clustered = len(set(clusters)) < len(clusters)
    if is_binary and (not is_clustered or mean in (0.0, 1.0)):
        from statsmodels.stats.proportion import proportion_confint

        low, high = proportion_confint(int(scores.sum()), len(scores), alpha=alpha, method="wilson")
        return Interval(mean, float(low), float(high))
    sums, counts = by_cluster(scores, clusters)
    low, high = _bootstrap(sums, counts, bounds=(0.0, 1.0), alpha=alpha, seed=seed)
    return Interval(mean, low, high)


def paired_difference(
    a: Sequence[float],
    b: Sequence[float],
    clusters: Sequence[str],
    *,
    margin: float,
    alpha: float = 0.05,
    seed: int = 0,
) -> Difference:
    """How much better `a` scored than `b` on the same questions.

    The test is exact McNemar for binary scores of independent questions, else a sign-flip permutation over clusters;
    the interval is a BCa bootstrap over clusters; equivalence is two one-sided t-tests (TOST) with the clustered
    standard error. Raises ValueError when there are no pairs.
    """
    if not a:
        raise ValueError("paired_difference needs at least one pair")
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    differences = first - second
    sums, counts = by_cluster(differences, clusters)
    mean = mean_of(differences.tolist())
    low, high = _bootstrap(sums, counts, bounds=(-1.0, 1.0), alpha=alpha, seed=seed)
    is_binary = bool(np.isin(first, (0.0, 1.0)).all() and np.isin(second, (0.0, 1.0)).all())
    if is_binary and len(sums) == len(differences):
        test, p_value = "exact McNemar", _mcnemar(differences)
    else:
        test, p_value = "sign-flip permutation", _sign_flip(sums, seed=seed)
    sd = question_sd(sums, counts)
    return Difference(
        mean=mean,
        low=low,
        high=high,
        p_value=p_value,
        p_equivalent=_tost(mean, sd, margin=margin, num_pairs=len(differences), num_clusters=len(sums)),
        sd=sd,
        num_pairs=len(differences),
        test=test,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm-adjusted p-values, in the order given: the k-th smallest of n times n - k + 1, none below one before it."""
    # statsmodels has this too, behind a garbage collection that stops a server for up to 0.3 s.
    ordered = np.asarray(p_values, dtype=float)
    order = np.argsort(ordered, kind="stable")
    adjusted = np.empty_like(ordered)
    adjusted[order] = np.minimum(np.maximum.accumulate(ordered[order] * np.arange(len(order), 0, -1)), 1.0)
    found: list[float] = adjusted.tolist()
    return found


def share_not_beaten(scores: Floats, clusters: Sequence[str], *, arm: int, margin: float) -> float:
    """Share of bootstrap resamples in which no arm beats row `arm` by more than `margin`.

    `scores` is (arms, questions) in [0, 1] without gaps; whole clusters are resampled. This is a decision's confidence:
    the probability, as far as these questions tell, that serving this arm costs at most the margin. A handful of
    questions must not look like certainty, so two are made up: one that only this arm gets right, and one that all
    others do. They act as a Beta(1, 1) prior on the wins: one win in one question is 0.75 there.
    """
    lone_win = np.zeros((scores.shape[0], 1))
    lone_win[arm] = 1.0
    scores = np.hstack([scores, lone_win, 1.0 - lone_win])
    clusters = [*clusters, "prior: won", "prior: lost"]
    names, places = np.unique(clusters, return_inverse=True)
    sums = np.stack([np.bincount(places, row) for row in scores])
    counts = np.bincount(places)
    draws = np.random.default_rng(0).multinomial(len(names), [1 / len(names)] * len(names), size=RESAMPLES)
    means = (draws @ sums.T) / (draws @ counts)[:, None]
    return float((means.max(axis=1) - means[:, arm] <= margin + 1e-12).mean())


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


def by_cluster(values: Iterable[float], clusters: Sequence[str]) -> tuple[Floats, Floats]:
    """Sum and count of each cluster's values, in the order of their first appearance."""
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for value, cluster in zip(values, clusters, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + float(value)
        counts[cluster] = counts.get(cluster, 0) + 1
    return np.array(list(sums.values())), np.array(list(counts.values()), dtype=np.float64)


def _bootstrap(
    sums: Floats, counts: Floats, *, bounds: tuple[float, float], alpha: float, seed: int
) -> tuple[float, float]:
    mean = float(sums.sum() / counts.sum())
    if len(sums) < 2:
        return bounds  # one cluster says nothing about the next
    if np.ptp(sums / counts) == 0:
        return mean, mean
    from scipy.stats import DegenerateDataWarning, bootstrap

    def ratio(totals: Floats, sizes: Floats, axis: int = -1) -> Floats:
        return np.asarray(totals.sum(axis=axis) / sizes.sum(axis=axis))

    with warnings.catch_warnings(action="ignore", category=DegenerateDataWarning):  # its NaN bounds are handled below
        found = bootstrap(
            (sums, counts),
            ratio,
            paired=True,
            vectorized=True,
            n_resamples=RESAMPLES,
            confidence_level=1 - alpha,
            method="BCa",
            rng=np.random.default_rng(seed),
        ).confidence_interval
    low, high = float(found.low), float(found.high)
    return (mean if math.isnan(low) else low), (mean if math.isnan(high) else high)


def _mcnemar(differences: Floats) -> float:
    from scipy.stats import binomtest

    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def _sign_flip(sums: Floats, *, seed: int) -> float:
    moved = sums[sums != 0]
    if len(moved) < 2:
        # One document can fall either way: 2 of 2 sign patterns are as extreme.
        return 1.0
    from scipy.stats import permutation_test

    def total(values: Floats, axis: int = -1) -> Floats:
        return np.asarray(values.sum(axis=axis))

    return float(
        permutation_test(
            (moved,),
            total,
            permutation_type="samples",
            vectorized=True,
            n_resamples=RESAMPLES,
            rng=np.random.default_rng(seed),
        ).pvalue
    )


def question_sd(sums: Floats, counts: Floats) -> float | None:
    """The standard deviation of one question's value; divided by the root of their number it is the standard error of
    the ratio sum(sums) / sum(counts) over clusters (linearisation). None for a single cluster.
    """
    if len(sums) < 2:
        return None
    residuals = sums - counts * (sums.sum() / counts.sum())
    return math.sqrt(len(sums) / (len(sums) - 1) * float((residuals**2).sum()) / float(counts.sum()))


def _tost(mean: float, sd: float | None, *, margin: float, num_pairs: int, num_clusters: int) -> float:
    if sd is None:
        return 1.0
    if sd == 0:
        return 0.0 if abs(mean) < margin else 1.0
    from scipy.stats import t

    return float(t.sf((margin - abs(mean)) / sd * math.sqrt(num_pairs), df=num_clusters - 1))


def _z(probability: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf(probability))
