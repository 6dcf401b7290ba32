"""A mean of judge scores, corrected by people's labels of some of the answers.

labels = load_human_labels(path)["rag"]
prediction_powered_interval(dict(zip(scorecard.question_ids, arm.scores["judge_correctness"])), labels)
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np

from router.deciding.statistics import Interval, mean_interval

# The interval is a normal approximation, whose usual rule of thumb this is; with 30 labels the simulation in
# tests/eval/judge/test_prediction_powered.py still covers.
MIN_LABELS = 30


def prediction_powered_interval(
    judge_scores: Mapping[str, float | None], labels: Mapping[str, float], *, alpha: float = 0.05
) -> Interval | None:
    """The mean label of all judged answers with a (1 - alpha) interval, all in [0, 1]; PPI++ by the ppi-python package.

    `judge_scores` holds one arm's scores by question id, None where unscored; `labels` people's labels of some of them.
    The judge may be biased: its mean error on the labelled answers is taken off, and the weight of its scores is
    estimated (Angelopoulos, Duchi and Zrnic 2023, arXiv 2311.01453). The labelled answers must be a random sample, and
    answers independent: over several questions a document the interval is too narrow. Answers without a judge score do
    not count. None with fewer than `MIN_LABELS` labelled answers.
    """
    known = {question: score for question, score in judge_scores.items() if score is not None}
    labelled = [question for question in known if question in labels]
    if len(labelled) < MIN_LABELS:
        return None
    truth = np.array([labels[question] for question in labelled], dtype=np.float64)
    judged = np.array([known[question] for question in labelled], dtype=np.float64)
    rest = np.array([score for question, score in known.items() if question not in labels], dtype=np.float64)
    is_judge_blind = np.ptp(np.concatenate([judged, rest])) == 0
    # Where nothing varies the normal approximation has no width: a judge without an error on the labelled answers would
    # be believed to make none at all. The labels alone say how rare what they do not show may be.
    if not len(rest) or is_judge_blind or np.ptp(truth) == 0 or np.ptp(truth - judged) == 0:
        return mean_interval(list(truth), labelled, alpha=alpha)
    with warnings.catch_warnings():  # importing ppi_py silences every warning of the process
        from ppi_py import ppi_mean_ci, ppi_mean_pointestimate
    mean = float(ppi_mean_pointestimate(truth, judged, rest)[0])
    low, high = (float(bound[0]) for bound in ppi_mean_ci(truth, judged, rest, alpha=alpha))
    return Interval(*(min(max(value, 0.0), 1.0) for value in (mean, low, high)))
