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

import numpy as np
from numpy.typing import NDArray

from router.deciding.scorecard import ArmScores, Scorecard
from router.deciding.statistics import (
    Difference,
    Documents,
    Floats,
    Interval,
    by_cluster,
    mean_interval,
    mean_known,
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
    if card.labelled not in scores.scores:
        return None
    is_judged = ~np.isnan(scores.column(card.labelled))
    values = standing_in(card, scores, is_judged)
    if values is None:
        return None
    documents, is_labelled = card.documents[is_judged], ~np.isnan(scores.measured("labels")[is_judged])
    if is_labelled.all():
        return mean_interval(values, documents, alpha=alpha)
    mean, error, df = _estimate(values, documents, len(np.unique(documents[is_labelled])))
    reach, mean = upper_t(alpha / 2, df) * error, min(max(mean, 0.0), 1.0)
    return Interval(mean, max(mean - reach, 0.0), min(mean + reach, 1.0))


def difference_of(card: Scorecard, a: ArmScores, b: ArmScores, *, margin: float, alpha: float) -> Difference | None:
    """How much better `a` is than `b` where both were scored, by people's labels where there are enough of them; None
    where they share no scored question.
    """
    pairs = card.pairs(a, b)
    by_labels = labelled_difference(card, a, b, margin=margin, alpha=alpha)
    if by_labels is not None or not len(pairs.a):
        return by_labels
    return paired_difference(*pairs, margin=margin, alpha=alpha)


def bettable(card: Scorecard, a: ArmScores, b: ArmScores) -> tuple[Floats, Floats]:
    """What may be bet on: the scores of both arms, or people's labels alone where those decide, for bets correct
    nothing.
    """
    if _labelled_gains(card, a, b) is not None:
        return a.measured("labels"), b.measured("labels")
    return a.column(card.primary), b.column(card.primary)


def lead_of(card: Scorecard, a: ArmScores, b: ArmScores) -> float | None:
    """The mean of `difference_of`."""
    gains = _labelled_gains(card, a, b)
    return mean_known(a.column(card.primary) - b.column(card.primary)) if gains is None else float(gains.mean())


def labelled_difference(
    card: Scorecard, a: ArmScores, b: ArmScores, *, margin: float, alpha: float = 0.05
) -> Difference | None:
    """How much better `a` is than `b` by people's labels, of the questions that the judge scored for both.

    A t-test with as many degrees of freedom as there are documents with labels, less one, and two made-up ones: a judge
    that made no error on 30 answers may well make some. None where labels are not of what decides, or fewer than
    `MIN_LABELS` of the answers of either arm have one.
    """
    gains, is_judged = _labelled_gains(card, a, b), ~np.isnan(a.column(card.primary) + b.column(card.primary))
    if gains is None:
        return None
    documents, num_pairs = card.documents[is_judged], len(gains)
    labelled = (~np.isnan(arm.measured("labels")[is_judged]) for arm in (a, b))
    mean, error, df = _estimate(gains, documents, min(len(np.unique(documents[known])) for known in labelled))
    if df < 1:
        return Difference(mean, -1.0, 1.0, 1.0, 1.0, 1.0, None, num_pairs, TEST)
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
        sd=error * math.sqrt(num_pairs),
        num_pairs=num_pairs,
        test=TEST,
    )


def _labelled_gains(card: Scorecard, a: ArmScores, b: ArmScores) -> Floats | None:
    """How much better `a` is than `b` by people's labels on each question that the judge scored for both."""
    if card.labelled != card.primary:
        return None
    is_judged = ~np.isnan(a.column(card.primary) + b.column(card.primary))
    values, others = (standing_in(card, arm, is_judged) for arm in (a, b))
    return None if values is None or others is None else values - others


def standing_in(card: Scorecard, scores: ArmScores, where: NDArray[np.bool_]) -> Floats | None:
    """A value for each of these scored questions: their mean is the corrected mean, and their spread its error.

    An answer that failed is what it is scored, whatever the judge is worth. None with fewer than `MIN_LABELS` labels.
    """
    if card.labelled not in scores.scores or not scores.labels:
        return None
    truth, judged = scores.measured("labels")[where], scores.column(card.labelled)[where]
    is_failed = np.array([name in scores.errors for name in card.question_ids])[where]
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


def _estimate(values: Floats, documents: Documents, num: int) -> tuple[float, float, int]:
    """The mean, its standard error, and its degrees of freedom, by the `num` documents with labels and two made-up ones
    at half the weight of one, on which the judge errs by a point either way.
    """
    sums, counts = by_cluster(values, documents)
    mean = float(values.mean())
    if num < 2:
        return mean, math.inf, 0
    squares = float(((sums - counts * mean) ** 2).sum()) / len(values) ** 2
    return mean, math.sqrt(num / (num - 1) * squares + 1 / (num * (num + 1))), num - 1
