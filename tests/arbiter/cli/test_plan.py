import pytest
from fakes.comparison import make_comparison

from arbiter.cli.plan import measured_discordance
from router.answering.arm import Arm
from router.deciding.scorecard import ArmScores, Scorecard


def card(*columns: list[float | None]) -> Scorecard:
    n = len(columns[0])
    arms = [
        ArmScores(Arm(str(i)), {"exact_match": tuple(column)}, (1.0,) * n, (1,) * n, (1,) * n)
        for i, column in enumerate(columns)
    ]
    names = tuple(f"q{i}" for i in range(n))
    return Scorecard(names, names, "exact_match", tuple(arms))


def test_discordance_is_the_share_of_questions_on_which_the_leader_and_another_disagree() -> None:
    leader, far, near = [1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 1.0]
    # 3 of 4 and 2 of 4.
    assert measured_discordance(card(leader, far, near)) == pytest.approx(5 / 8)


def test_pairs_that_were_not_both_scored_do_not_count() -> None:
    assert measured_discordance(card([1.0, 1.0, 1.0], [0.0, None, 1.0])) == pytest.approx(1 / 2)


def test_one_arm_or_no_disagreement_measures_nothing() -> None:
    assert measured_discordance(card([1.0, 0.0])) is None
    assert measured_discordance(card([1.0, 0.0], [1.0, 0.0])) is None


def test_half_right_answers_disagree_by_a_quarter() -> None:
    found = measured_discordance(make_comparison().scorecard)
    assert found is not None
    assert 0 < found < 1
    assert measured_discordance(card([0.5, 0.5], [0.0, 0.0])) == pytest.approx(0.25)
