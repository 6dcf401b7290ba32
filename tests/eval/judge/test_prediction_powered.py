"""A biased judge, a few labels, and the truth of a seeded simulation."""

import sys
import warnings

import numpy as np
import pytest

from eval.judge.prediction_powered import MIN_LABELS, prediction_powered_interval


def trial(rng: np.random.Generator, num_questions: int, num_labels: int) -> tuple[dict[str, float], dict[str, float]]:
    """Answers that are right with probability 0.6; the judge passes all of those and 40% of the wrong ones too."""
    truth = rng.random(num_questions) < 0.6
    passed = truth | (rng.random(num_questions) < 0.4)
    scores = {str(i): float(passed[i]) for i in range(num_questions)}
    labels = {str(i): float(truth[i]) for i in rng.choice(num_questions, num_labels, replace=False)}
    return scores, labels


@pytest.mark.parametrize("num_labels", [MIN_LABELS, 100])
def test_the_interval_covers_the_truth_that_the_judges_mean_misses(num_labels: int) -> None:
    rng = np.random.default_rng(0)
    covered, missed, narrower = 0, 0, 0
    for _ in range(200):
        scores, labels = trial(rng, 600, num_labels)
        interval = prediction_powered_interval(scores, labels)
        assert interval is not None
        covered += interval.low <= 0.6 <= interval.high
        judged = float(np.mean(list(scores.values())))
        missed += abs(judged - 0.6) > 1.96 * np.sqrt(judged * (1 - judged) / 600)
        share = float(np.mean(list(labels.values())))
        narrower += interval.high - interval.low < 2 * 1.96 * np.sqrt(share * (1 - share) / num_labels)
    assert covered >= 0.9 * 200
    assert missed == 200  # the judge's own mean is 0.76
    assert narrower > 0.9 * 200  # and the labels alone say less


def test_the_mean_takes_the_judges_bias_off() -> None:
    # 40 labelled and 400 other answers. The judge passes everything that is right and half of what is wrong.
    labels = {f"l{i}": float(i < 20) for i in range(40)}
    scores = {f"l{i}": float(i < 30) for i in range(40)} | {f"u{i}": float(i < 300) for i in range(400)}
    interval = prediction_powered_interval(scores, labels)
    assert interval is not None
    # The judge's share is 0.75 among both, so whatever its weight the correction is the labelled answers' own 0.5.
    assert interval.mean == pytest.approx(0.5)
    assert 0.3 < interval.low < 0.5 < interval.high < 0.7


def test_too_few_labels_give_no_interval_and_unscored_answers_are_no_labels() -> None:
    scores: dict[str, float | None] = {str(i): float(i % 2) for i in range(100)}
    labels = {str(i): float(i % 2) for i in range(MIN_LABELS)}
    assert prediction_powered_interval(scores, labels) is not None
    assert prediction_powered_interval({**scores, "0": None}, labels) is None
    assert prediction_powered_interval(scores, {**labels, "0": 0.0, "elsewhere": 1.0}) is not None
    assert prediction_powered_interval(scores, dict(list(labels.items())[1:])) is None


@pytest.mark.parametrize(
    ("labelled_truth", "labelled_score", "other_scores"),
    [
        ([1.0] * 30, [1.0] * 30, [1.0] * 100),  # nothing varies
        ([1.0] * 30, [1.0] * 20 + [0.0] * 10, [1.0, 0.0] * 50),  # only the judge does
        ([1.0] * 20 + [0.0] * 10, [1.0] * 30, [1.0] * 100),  # only people do
        ([1.0] * 20 + [0.0] * 10, [1.0] * 20 + [0.0] * 10, [1.0, 0.0] * 50),  # the judge made no error yet
        ([1.0] * 20 + [0.0] * 10, [1.0] * 15 + [0.0] * 15, []),  # everything is labelled
    ],
)
def test_where_nothing_varies_the_labels_alone_speak_and_are_not_believed_too_far(
    labelled_truth: list[float], labelled_score: list[float], other_scores: list[float]
) -> None:
    labels = {f"l{i}": value for i, value in enumerate(labelled_truth)}
    scores = {f"l{i}": value for i, value in enumerate(labelled_score)}
    scores |= {f"u{i}": value for i, value in enumerate(other_scores)}
    interval = prediction_powered_interval(scores, labels)
    assert interval is not None
    assert interval.mean == pytest.approx(np.mean(labelled_truth))
    assert interval.high - interval.low > 0.1  # Wilson: 30 of 30 are 0.89 to 1
    assert 0 <= interval.low <= interval.high <= 1


def test_the_bounds_stay_within_the_scale() -> None:
    labels = {f"l{i}": float(i != 0) for i in range(40)}
    scores = {f"l{i}": float(i > 1) for i in range(40)} | {f"u{i}": float(i > 3) for i in range(60)}
    interval = prediction_powered_interval(scores, labels, alpha=0.01)
    assert interval is not None
    assert interval.high == 1.0


def test_warnings_are_not_silenced_for_the_whole_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "ppi_py"]:
        monkeypatch.delitem(sys.modules, name)
    before = list(warnings.filters)
    scores = {str(i): float(i % 3 == 0) for i in range(100)}
    prediction_powered_interval(scores, {str(i): float(i % 2) for i in range(40)})
    assert "ppi_py" in sys.modules
    assert warnings.filters == before
