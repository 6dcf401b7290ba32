import pytest

from router.deciding.planning import carries_flips, plan_questions, race_questions


def test_a_plan_by_hand() -> None:
    rows = {row.difference: row for row in plan_questions(num_arms=2, discordance=0.2, effects=(0.05, 0.1, 0.3))}
    assert set(rows) == {0.05, 0.1}  # arms that disagree on a fifth cannot differ by more
    # (1.96 + 0.8416)² · 0.2 / 0.05².
    assert rows[0.05].two_arms == rows[0.05].best_of_all == 628
    assert rows[0.1].two_arms == 157


def test_more_arms_take_more_questions() -> None:
    two, six = plan_questions(num_arms=2, discordance=0.2), plan_questions(num_arms=6, discordance=0.2)
    for few, many in zip(two, six, strict=True):
        assert few.two_arms == many.two_arms < many.best_of_all
        assert few.race is not None
        assert many.race is not None
        assert few.race < many.race


def test_a_race_without_losses_by_hand() -> None:
    # n wins of n: the mean of (1 + l)^n is (2^(n + 1) - 1) / (n + 1); 40 is passed at n = 8 (56.8; 31.9 at 7).
    assert race_questions(1.0, 1.0, num_arms=2) == 8


def test_effects_that_are_too_small_for_any_race_are_none() -> None:
    assert race_questions(1e-6, 1.0, num_arms=6) is None
    with pytest.raises(ValueError, match="disagree on at least as many"):
        race_questions(0.3, 0.2, num_arms=2)


def test_flips_are_carried_from_where_the_lead_could_be_shown() -> None:
    # (1.96 * 0.447 + 0.84 * 0.4)^2 / 0.2^2 = 36.8 questions for a lead of a fifth, and for any smaller one.
    assert [carries_flips(n, lead=0.2) for n in (36, 37)] == [False, True]
    assert [carries_flips(n, lead=0.0) for n in (36, 37)] == [False, True]
    assert [carries_flips(n, lead=-0.5) for n in (8, 20)] == [False, True]
    assert not carries_flips(37, lead=0.2, alpha=0.01)
