"""A judge that is lenient with one arm, a few labels of people, and the truth of seeded simulations."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from fakes.priced import BASE, RAG, make_card, make_scores

from router.deciding.arm_table import make_table
from router.deciding.labelled import MIN_LABELS, TEST, bettable, difference_of, labelled_difference, labelled_mean
from router.deciding.policy import Limits, Policy, Prices, Utility
from router.deciding.recommend import recommend
from router.deciding.scorecard import ArmScores, Scorecard

Column = Sequence[float | None]


def labelled_card(*arms: tuple[ArmScores, Column]) -> Scorecard:
    card = make_card(*(replace(scores, labels=tuple(labels)) for scores, labels in arms))
    return replace(card, labelled="f1")


def one(judged: Column, labels: Column) -> Scorecard:
    return labelled_card((make_scores(BASE, judged), labels))


def trial(rng: np.random.Generator, num_questions: int, num_labels: int) -> tuple[Column, Column]:
    """Answers that are right with probability 0.6; the judge passes all of those and 40% of the wrong ones too."""
    truth = rng.random(num_questions) < 0.6
    passed = truth | (rng.random(num_questions) < 0.4)
    known = set(rng.choice(num_questions, num_labels, replace=False).tolist())
    return passed.astype(float).tolist(), [float(right) if i in known else None for i, right in enumerate(truth)]


@pytest.mark.parametrize(("num_labels", "is_shown"), [(40, False), (600, True)])
def test_a_limit_on_the_score_is_kept_by_what_people_say(num_labels: int, is_shown: bool) -> None:
    card = one(*trial(np.random.default_rng(1), 600, num_labels))
    row = make_table(card, Policy(limits=Limits(score=0.7))).row("base")
    assert row.score < 0.7  # 0.76 by the judge alone
    assert (set(row.broken), row.is_ruled_out) == ({"score"}, is_shown)


@pytest.mark.slow
@pytest.mark.parametrize("num_labels", [MIN_LABELS, 100])
def test_the_interval_covers_the_truth_that_the_judges_mean_misses(num_labels: int) -> None:
    rng, covered, narrower = np.random.default_rng(0), 0, 0
    for _ in range(200):
        judged, labels = trial(rng, 600, num_labels)
        card = one(judged, labels)
        interval = labelled_mean(card, card.arms[0])
        assert interval is not None
        covered += interval.low <= 0.6 <= interval.high
        share = float(np.mean([label for label in labels if label is not None]))
        narrower += interval.high - interval.low < 2 * 2.05 * np.sqrt(share * (1 - share) / num_labels)
    assert covered >= 0.92 * 200  # the judge's own mean is 0.76
    assert narrower > 0.9 * 200  # and the labels alone say less


def test_the_mean_takes_the_judges_bias_off() -> None:
    # 40 labelled and 400 other answers. The judge passes everything that is right and half of what is wrong.
    labels = [float(i < 20) for i in range(40)] + [None] * 400
    judged = [float(i < 30) for i in range(40)] + [float(i < 300) for i in range(400)]
    card = one(judged, labels)
    interval = labelled_mean(card, card.arms[0])
    assert interval is not None
    # The judge's share is 0.75 among both, so whatever its weight the correction is the labelled answers' own 0.5.
    assert interval.mean == pytest.approx(0.5)
    assert 0.3 < interval.low < 0.5 < interval.high < 0.7
    assert make_table(card, Policy()).row("base").mean == pytest.approx(0.5)


def test_too_few_labels_correct_nothing_and_unscored_answers_are_no_labels() -> None:
    judged: list[float | None] = [float(i % 2) for i in range(100)]
    labels: list[float | None] = [float(i % 2) for i in range(MIN_LABELS)] + [None] * (100 - MIN_LABELS)
    card = one(judged, labels)
    assert labelled_mean(card, card.arms[0]) is not None
    card = one([None, *judged[1:]], labels)
    assert labelled_mean(card, card.arms[0]) is None
    card = one(judged, [None, *labels[1:]])
    assert labelled_mean(card, card.arms[0]) is None
    assert make_table(card, Policy()).row("base").mean == 0.5


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
def test_where_nothing_varies_a_few_labels_are_not_believed_too_far(
    labelled_truth: list[float], labelled_score: list[float], other_scores: list[float]
) -> None:
    card = one([*labelled_score, *other_scores], [*labelled_truth, *[None] * len(other_scores)])
    interval = labelled_mean(card, card.arms[0])
    assert interval is not None
    assert interval.high - interval.low > 0.03
    assert 0 <= interval.low <= interval.mean <= interval.high <= 1


def two(rng: np.random.Generator, rights: tuple[float, float], passed: tuple[float, float], num: int) -> Scorecard:
    """200 questions; the judge passes 93% of what is right, and these shares of what is wrong; `num` are labelled."""
    arms = []
    for arm, right, wrongly in zip((RAG, BASE), rights, passed, strict=True):
        truth = rng.random(200) < right
        judged = rng.random(200) < np.where(truth, 0.93, wrongly)
        arms.append(
            (make_scores(arm, judged.astype(float).tolist()), [*truth[:num].astype(float), *[None] * (200 - num)])
        )
    return labelled_card(*arms)


@pytest.mark.slow
@pytest.mark.parametrize("num_labels", [30, 60])
def test_a_judge_that_is_lenient_with_one_of_two_equal_arms_makes_no_winner(num_labels: int) -> None:
    rng = np.random.default_rng(0)
    cards = [two(rng, (0.5, 0.5), (0.35, 0.15), num_labels) for _ in range(150)]
    found = [labelled_difference(card, *card.arms, margin=0.05) for card in cards]
    assert sum(difference is not None and difference.p_value <= 0.05 for difference in found) <= 14  # 7.5 expected
    judged = [recommend(make_table(replace(card, labelled=""), Policy())).verdict for card in cards[:50]]
    assert judged.count("winner") > 15


def test_labels_decide_against_the_judge() -> None:
    # People see 40 points between the arms, the judge none.
    card = two(np.random.default_rng(1), (0.8, 0.4), (0.2, 0.8), 100)
    decision = recommend(make_table(card, Policy()))
    assert (decision.arm, decision.verdict, decision.comparisons[0].difference.test) == ("rag", "winner", TEST)  # type: ignore[union-attr]
    assert decision.margin == decision.comparisons[0].difference.mean > 0.2  # type: ignore[union-attr]
    for bets, arm in zip(bettable(card, *card.arms), card.arms, strict=True):
        assert np.array_equal(bets, arm.measured("labels"), equal_nan=True)


def test_where_one_arm_has_no_labels_the_judge_compares_the_two() -> None:
    card = two(np.random.default_rng(1), (0.8, 0.4), (0.2, 0.8), 100)
    card = replace(card, arms=(card.arms[0], replace(card.arms[1], labels=())))
    assert labelled_difference(card, *card.arms, margin=0.05) is None
    found = difference_of(card, *card.arms, margin=0.05, alpha=0.05)
    assert found is not None
    assert found.test == "exact McNemar"
    assert bettable(card, *card.arms)[0].tolist() == list(card.arms[0].scores["f1"])


def test_labels_about_one_document_show_nothing() -> None:
    card = two(np.random.default_rng(1), (0.8, 0.4), (0.2, 0.2), 40)
    together = replace(card, clusters=("d",) * 40 + card.clusters[40:])
    found = labelled_difference(together, *together.arms, margin=0.05)
    assert found is not None
    assert (found.low, found.high, found.p_value, found.p_equivalent) == (-1.0, 1.0, 1.0, 1.0)


def test_an_answer_that_failed_is_wrong_whatever_the_judge_is_worth() -> None:
    # A judge that is too strict by half; a hundred answers failed.
    judged = [1.0, 0.0] * 50 + [0.0] * 100
    card = one(judged, [*[1.0] * 60, *[None] * 140])
    failed = replace(card.arms[0], errors=dict.fromkeys(card.question_ids[100:], "too long"))
    found = labelled_mean(replace(card, arms=(failed,)), failed)
    assert found is not None
    assert found.mean == pytest.approx(0.5)


def test_labels_are_worth_what_a_metric_would_say() -> None:
    card = two(np.random.default_rng(1), (0.8, 0.4), (0.2, 0.2), 40)
    table = make_table(card, Policy(prices=Prices(prompt=0.0, generated=0.0), utility=Utility(right=1.0, wrong=-1.0)))
    assert table.decided.labelled == "utility"
    assert table.row("rag").decided.labels == card.arms[0].labels
    assert table.row("rag").score == pytest.approx(table.row("rag").mean)
