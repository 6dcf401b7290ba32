"""People's labels of some answers correct a judge's scores of all of them: prediction-powered means and differences.

labelled_mean(card, rag)                           # Interval, or None with too few labels
labelled_difference(card, rag, base, margin=0.05)  # Difference, or None where not both arms have labels enough

A judge may be lenient with one arm and strict with another: of two equal arms a pooled agreement of 0.68 then makes a
winner. Where people labelled some answers, the judge's mean error on those is taken off, and its scores of the others
count as much as they proved to be worth (PPI++: Angelopoulos, Duchi and Zrnic 2023, arXiv 2311.01453). The labelled
answers must be a random sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from router.deciding.scorecard import ArmScores, Score, Scorecard
from router.deciding.statistics import (
    Difference,
    Floats,
    Interval,
    by_cluster,
    mean_interval,
    not_worse,
    paired_difference,
    upper_t,
)

# With fewer the t quantiles below do not hold the error rate; with 30 they do (benchmarks/decision.py).
MIN_LABELS = 30
TEST = "prediction-powered t"


def labelled_mean(card: Scorecard, scores: ArmScores, *, alpha: float = 0.05) -> Interval | None:
    """An arm's mean of the labelled metric over all judged answers with a (1 - alpha) interval, in [0, 1].

    None where fewer than `MIN_LABELS` of the answers are labelled.
    """
    places = [i for i, score in enumerate(scores.scores.get(card.labelled, ())) if score is not None]
    values = standing_in(card, scores, places)
    if values is None:
        return None
    clusters = [card.clusters[i] for i in places]
    known = {card.clusters[i] for i in places if scores.labels[i] is not None}
    if all(scores.labels[i] is not None for i in places):
        return mean_interval(values.tolist(), clusters, alpha=alpha)
    mean, error, df = _estimate(values, clusters, known)
    reach, mean = upper_t(alpha / 2, df) * error, min(max(mean, 0.0), 1.0)
    return Interval(mean, max(mean - reach, 0.0), min(mean + reach, 1.0))


def difference_of(card: Scorecard, a: ArmScores, b: ArmScores, *, margin: float, alpha: float) -> Difference | None:
    """How much better `a` is than `b` where both were scored, by people's labels where there are enough of them; None
    where they share no scored question.
    """
    pairs = card.pairs(a, b)
    by_labels = labelled_difference(card, a, b, margin=margin, alpha=alpha)
    if by_labels is not None or not pairs.a:
        return by_labels
    return paired_difference(*pairs, margin=margin, alpha=alpha)


def bettable(card: Scorecard, a: ArmScores, b: ArmScores) -> tuple[tuple[Score, ...], tuple[Score, ...]]:
    """What may be bet on: the scores of both arms, or people's labels alone where those decide, for bets correct
    nothing.
    """
    if labelled_difference(card, a, b, margin=0.5) is not None:
        return a.labels, b.labels
    return a.scores[card.primary], b.scores[card.primary]


def labelled_difference(
    card: Scorecard, a: ArmScores, b: ArmScores, *, margin: float, alpha: float = 0.05
) -> Difference | None:
    """How much better `a` is than `b` by people's labels, of the questions that the judge scored for both.

    A t-test with as many degrees of freedom as there are documents with labels, less one, and two made-up ones: a judge
    that made no error on 30 answers may well make some. None where labels are not of what decides, or fewer than
    `MIN_LABELS` of the answers of either arm have one.
    """
    if card.labelled != card.primary:
        return None
    columns = zip(a.scores[card.primary], b.scores[card.primary], strict=True)
    places = [i for i, (x, y) in enumerate(columns) if x is not None and y is not None]
    values, others = (standing_in(card, arm, places) for arm in (a, b))
    if values is None or others is None:
        return None
    labelled = ({card.clusters[i] for i in places if arm.labels[i] is not None} for arm in (a, b))
    clusters = [card.clusters[i] for i in places]
    mean, error, df = _estimate(values - others, clusters, min(labelled, key=len))
    if df < 1:
        return Difference(mean, -1.0, 1.0, 1.0, 1.0, 1.0, None, len(places), TEST)
    from scipy.special import stdtr

    reach = upper_t(alpha / 2, df) * error
    ahead, behind = (not_worse(lead, error, margin=margin, num_clusters=df + 1) for lead in (mean, -mean))
    return Difference(
        mean=mean,
        low=max(mean - reach, -1.0),
        high=min(mean + reach, 1.0),
        p_value=2 * float(stdtr(df, -abs(mean) / error)),
        p_not_worse=ahead,
        p_equivalent=max(ahead, behind),
        sd=error * math.sqrt(len(places)),
        num_pairs=len(places),
        test=TEST,
    )


def standing_in(card: Scorecard, scores: ArmScores, places: Sequence[int]) -> Floats | None:
    """A value for each of these scored questions: their mean is the corrected mean, and their spread its error.

    An answer that failed is what it is scored, whatever the judge is worth. None with fewer than `MIN_LABELS` labels.
    """
    column, labels = scores.scores.get(card.labelled), scores.labels
    if column is None or not labels:
        return None
    truth = np.array([labels[i] for i in places], dtype=np.float64)  # None becomes NaN
    judged = np.array([column[i] for i in places], dtype=np.float64)
    is_failed = np.array([card.question_ids[i] in scores.errors for i in places], dtype=bool)
    known = ~np.isnan(truth) & ~is_failed
    unknown = ~known & ~is_failed
    num, rest, total = int(known.sum()), int(unknown.sum()), int((~is_failed).sum())
    if num < MIN_LABELS:
        return None
    values = judged.copy()
    if not rest:
        values[known] = truth[known]
        return values
    spread = float(judged[~is_failed].var(ddof=1))
    shared = float(np.cov(truth[known], judged[known])[0, 1])
    weight = min(max(shared / ((1 + num / rest) * spread), 0.0), 1.0) if spread else 0.0
    errors, others = truth[known] - weight * judged[known], weight * judged[unknown]
    mean = float(errors.mean() + others.mean())
    values[known] = mean + total / num * (errors - errors.mean())
    values[unknown] = mean + total / rest * (others - others.mean())
    return values


def _estimate(values: Floats, clusters: Sequence[str], labelled: set[str]) -> tuple[float, float, int]:
    """The mean, its standard error, and its degrees of freedom, by the documents in `labelled` and two made-up ones at
    half the weight of one, on which the judge errs by a point either way.
    """
    sums, counts = by_cluster(values.tolist(), clusters)
    mean, num = float(values.mean()), len(labelled)
    if num < 2:
        return mean, math.inf, 0
    squares = float(((sums - counts * mean) ** 2).sum()) / len(values) ** 2
    return mean, math.sqrt(num / (num - 1) * squares + 1 / (num * (num + 1))), num - 1
