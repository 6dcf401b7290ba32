import pytest

from router.deciding.planning import carries_flips, plan_questions, race_questions


def test_a_plan_by_hand() -> None:
    rows = {row.difference: row for row in plan_questions(num_arms=2, discordance=0.2, effects=(0.05, 0.1, 0.3))}
    assert set(rows) == {0.05, 0.1}  # arms that disagree on a fifth cannot differ by more
    # Four fifths of the error rate are there for a first look: (2.054 + 0.8416)^2 * 0.2 / 0.05^2.
    assert rows[0.05].two_arms == rows[0.05].best_of_all == 671
    assert rows[0.1].two_arms == 168


@pytest.mark.slow
def test_more_arms_take_more_questions() -> None:
    two, six = plan_questions(num_arms=2, discordance=0.2), plan_questions(num_arms=6, discordance=0.2)
    for few, many in zip(two, six, strict=True):
        assert few.two_arms == many.two_arms < many.best_of_all
        assert few.race is not None
        assert few.race < few.best_of_all


def test_a_race_ends_at_the_first_look_whose_level_the_effect_reaches() -> None:
    # At half of 400 questions 0.04 / 4 are spent, both ways: about the quantile 2.6.
    assert race_questions(0.1, 0.4, num_questions=400) == 160
    assert race_questions(0.1, 5.0, num_questions=400) is None


def test_flips_are_carried_from_where_the_lead_could_be_shown() -> None:
    # (1.96 * 0.447 + 0.84 * 0.4)^2 / 0.2^2 = 36.8 questions for a lead of a fifth, and for any smaller one.
    assert [carries_flips(n, lead=0.2) for n in (36, 37)] == [False, True]
    assert [carries_flips(n, lead=0.0) for n in (36, 37)] == [False, True]
    assert [carries_flips(n, lead=-0.5) for n in (8, 20)] == [False, True]
    assert not carries_flips(37, lead=0.2, alpha=0.01)
