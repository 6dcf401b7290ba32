from dataclasses import replace

import pytest
from fakes.comparison import Comparison
from fakes.decided import make_raced, make_valued

from eval.report.side_by_side import Row, floor_rows, side_by_side, unit_of
from router.deciding.scorecard import Scorecard
from router.deciding.statistics import Interval


def rows_of(comparison: Comparison) -> list[Row]:
    return side_by_side(comparison.table, comparison.decision, unit_of(comparison.table))


def labelled(card: Scorecard) -> Scorecard:
    """Every question twice; people say that all answers of rag are right."""
    card = card.part([*range(20), *range(20)])
    arms = (replace(s, labels=(1.0,) * 40) if s.arm.name == "rag" else s for s in card.arms)
    return replace(card, arms=tuple(arms), labelled="exact_match")


def without_scores_of(card: Scorecard, arm: str) -> Scorecard:
    arms = [
        replace(
            s, scores={m: (None,) * len(v) for m, v in s.scores.items()}, latency_ms=(None,) * len(card.question_ids)
        )
        if s.arm.name == arm
        else s
        for s in card.arms
    ]
    return replace(card, arms=tuple(arms))


def test_rows_are_best_first_with_numbers_counted_by_hand(comparison: Comparison) -> None:
    rows = rows_of(comparison)
    assert [row["arm"] for row in rows] == ["hybrid", "tuned_rag", "tuned", "rag", "fewshot", "base"]
    hybrid, base = rows[0], rows[-1]
    # hybrid: 15 right, one half right, 3 wrong, 1 failed: (15 + 0.5) / 20.
    assert hybrid["primary"] is not None
    assert hybrid["primary"].mean == pytest.approx(15.5 / 20)
    assert hybrid["primary"].low < 15.5 / 20 < hybrid["primary"].high
    counts = (hybrid["num_right"], hybrid["num_unscored"], hybrid["num_errors"], hybrid["num_asked"])
    assert counts == (16, 0, 1, 20)
    assert hybrid["metrics"]["exact_match"].mean == pytest.approx(15 / 20)
    assert [row["arm"] for row in rows if row["is_chosen"]] == ["hybrid"]
    # base: 48 prompt tokens plus the question's number, mean 57.5; generated 3, 4, 5, 6, ... mean 4.5.
    assert (base["prompt_tokens"], base["generated_tokens"]) == (57.5, 4.5)
    assert base["cost_per_1k"] == pytest.approx(1000 * (57.5 * 0.10 + 4.5 * 0.40) / 1e6)
    # 310 + 9 i ms: the median of twenty lies between questions 9 and 10, the 95th percentile at 0.95 * 19 = 18.05.
    assert (base["p50_ms"], base["p95_ms"], base["ttft_ms"]) == (395.5, pytest.approx(472.45), None)
    assert "context_recall" not in base["metrics"]
    assert (base["utility"], base["held_out"], base["dropped_after"]) == (None, None, None)


def test_an_arm_without_scores_comes_last_and_has_no_mean(comparison: Comparison) -> None:
    changed = replace(comparison, scorecard=without_scores_of(comparison.scorecard, "rag"))
    row = rows_of(changed)[-1]
    assert (row["arm"], row["primary"], row["metrics"], row["num_unscored"]) == ("rag", None, {}, 20)
    assert row["excluded"] is not None
    assert "no question was scored" in row["excluded"]


def test_after_a_race_means_are_of_the_questions_that_decided() -> None:
    raced = make_raced()
    rows = {row["arm"]: row for row in rows_of(raced)}
    hybrid, base = rows["hybrid"], rows["base"]
    # Facts: 8 right, one half, 2 wrong, 1 failed; three notes right: 11.5 of 15.
    assert hybrid["primary"] is not None
    assert hybrid["primary"].mean == pytest.approx(11.5 / 15)
    assert (hybrid["num_asked"], hybrid["num_right"], hybrid["num_unscored"], hybrid["num_not_asked"]) == (15, 12, 0, 0)
    # The last five notes decided nothing: four of them right.
    assert hybrid["held_out"] is not None
    assert hybrid["held_out"].mean == pytest.approx(4 / 5)
    # base saw the first six facts and knew one.
    assert base["primary"] is not None
    assert base["primary"].mean == pytest.approx(1 / 6)
    assert (base["num_asked"], base["num_right"], base["num_unscored"], base["num_not_asked"]) == (6, 1, 0, 14)
    assert (base["held_out"], base["dropped_after"]) == (None, 6)


def test_arms_that_a_race_dropped_come_after_those_that_it_kept() -> None:
    assert [row["arm"] for row in rows_of(make_raced())][:2] == ["hybrid", "tuned_rag"]


def test_utility_is_shown_in_currency() -> None:
    valued = make_valued()
    unit = unit_of(valued.table)
    # A margin of 3% of the questions right instead of wrong is worth 0.03 * 2.
    assert (unit.name, unit.is_currency, unit.margin) == ("utility", True, pytest.approx(0.06))
    hybrid = rows_of(valued)[0]
    # 16 right and 4 wrong of 20, minus the cost of the 19 answers.
    assert hybrid["utility"] is not None
    assert hybrid["cost_per_1k"] is not None
    assert hybrid["utility"].mean == pytest.approx(12 / 20 - 19 / 20 * hybrid["cost_per_1k"] / 1000, abs=1e-9)
    assert hybrid["primary"] is not None
    assert hybrid["primary"].mean == pytest.approx(15.5 / 20)


def test_a_decision_by_the_primary_metric_keeps_its_unit(comparison: Comparison) -> None:
    unit = unit_of(comparison.table)
    assert unit.bounds(Interval(0.5, 0.4, 0.6)) == Interval(0.5, 0.4, 0.6)


def test_floors_are_rows_of_their_own_the_best_first(comparison: Comparison) -> None:
    floors = {"majority answer": (0.0,) * 20, "nearest training answer": (1.0,) * 5 + (None,) + (0.0,) * 14}
    rows = floor_rows(replace(comparison, scorecard=replace(comparison.scorecard, floors=floors)).table)
    assert [row["name"] for row in rows] == ["nearest training answer", "majority answer"]
    assert rows[0]["primary"] is not None
    assert rows[0]["primary"].mean == pytest.approx(5 / 19)
    assert (rows[0]["num_right"], rows[0]["num_asked"]) == (5, 20)


def test_labels_of_people_correct_the_judge_beside_its_arm(comparison: Comparison) -> None:
    rows = {row["arm"]: row for row in rows_of(replace(comparison, scorecard=labelled(comparison.scorecard)))}
    assert rows["rag"]["corrected"] is not None
    assert rows["rag"]["corrected"].mean == 1.0
    assert rows["base"]["corrected"] is None


def test_intervals_are_at_the_error_rate_of_the_policy(comparison: Comparison) -> None:
    card = replace(comparison.scorecard, floors={"majority": (1.0,) * 5 + (0.0,) * 15})
    strict = replace(comparison, scorecard=card, policy=replace(comparison.policy, alpha=0.01))
    usual = replace(comparison, scorecard=card)
    for wide, narrow in ((rows_of(strict), rows_of(usual)), (floor_rows(strict.table), floor_rows(usual.table))):
        found = [row["primary"] for row in (wide[0], narrow[0])]
        assert found[0] is not None
        assert found[1] is not None
        assert found[0].mean == found[1].mean
        assert found[0].low < found[1].low < found[1].high < found[0].high
