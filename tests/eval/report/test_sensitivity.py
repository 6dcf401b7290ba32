import re
from dataclasses import replace

import pytest
from fakes.comparison import Comparison
from fakes.decided import card_of, make_valued, usual_decision
from fakes.priced import BASE, TUNED, make_card, make_scores

from eval.report.page import to_html
from eval.report.sensitivity import find_sensitivity
from eval.report.tables import to_markdown
from router.deciding.arm_table import make_table
from router.deciding.decision import Comparison as Compared
from router.deciding.policy import Limits, Policy, Prices, Traffic, Utility
from router.deciding.recommend import recommend
from router.deciding.statistics import Difference


def test_the_nearest_flip_is_the_smallest_factor(comparison: Comparison) -> None:
    found = find_sensitivity(comparison.table, usual_decision())
    assert found is not None
    assert (found.served, found.left_out) == ("hybrid", ())
    # tuned is 15.5 / 20 - 7 / 20 = 0.425 behind, and costs less: a margin of that much takes it.
    assert found.nearest is not None
    assert (found.nearest.weight, found.nearest.arm) == ("margin", "tuned")
    assert found.nearest.at == pytest.approx(8.5 / 20)
    assert found.flips[0] is found.nearest
    assert all(flip.at is None for flip in found.flips[1:])
    assert found.map.winner == "hybrid"


def test_flips_from_zero_come_after_those_with_a_factor() -> None:
    valued = make_valued()
    policy = replace(valued.policy, prices=Prices(prompt=1e3, generated=4e3, training_hour=1e4))
    found = find_sensitivity(make_table(valued.scorecard, policy), valued.decision)
    assert found is not None
    happening = [flip for flip in found.flips if flip.at is not None]
    factors = [max(f.at / f.value, f.value / f.at) for f in happening if f.value and f.at and f.at * f.value > 0]
    assert factors == pytest.approx(sorted(factors))
    assert len(factors) > 1
    assert [flip.value == 0 for flip in happening] == sorted(flip.value == 0 for flip in happening)


def test_an_arm_that_was_shown_to_be_worse_is_left_out_though_it_is_within_the_margin(comparison: Comparison) -> None:
    # At a margin of 0.5 the means favour tuned, which is cheaper; the tests say that it is worse.
    policy = replace(comparison.policy, margin=0.5)
    difference = Difference(0.45, 0.24, 0.68, 0.001, 0.001, 0.9, 1.0, 19, "exact McNemar")
    worse = tuple(Compared(name, difference, 0.01, "beaten") for name in ("tuned", "tuned_rag", "rag"))
    decision = replace(usual_decision(), comparisons=worse)
    found = find_sensitivity(make_table(comparison.scorecard, policy), decision)
    assert found is not None
    assert (found.served, found.left_out) == ("hybrid", ("tuned",))


def test_an_arm_that_is_better_before_costs_only_comes_with_the_traffic_that_pays_for_it() -> None:
    # Right on 55 and on 70 of 100; tuned is trained for an hour at 500, over twelve months.
    card = make_card(make_scores(BASE, [1.0] * 55 + [0.0] * 45), make_scores(TUNED, [1.0] * 70 + [0.0] * 30))
    policy = Policy(
        prices=Prices(0.0, 0.0, training_hour=500.0), traffic=Traffic(questions=100), utility=Utility(1.0, 0.0)
    )
    table = make_table(card, policy)
    found = find_sensitivity(table, recommend(table))
    assert found is not None
    assert (found.served, found.left_out) == ("base", ())
    assert found.flips is not None
    flips = {flip.weight: (flip.arm, flip.at) for flip in found.flips}
    assert flips["traffic.questions"] == ("tuned", pytest.approx(500 / 12 / 0.15))


def test_a_cheaper_arm_that_ties_is_named_where_the_means_disagree(comparison: Comparison) -> None:
    decision = replace(usual_decision(), arm="tuned", comparisons=())
    found = find_sensitivity(comparison.table, decision)
    assert found is not None
    assert found.served == "hybrid"


def test_where_fewer_than_two_arms_keep_the_limits_there_is_nothing_to_weigh(comparison: Comparison) -> None:
    for score in (0.5, 0.99):
        policy = replace(comparison.policy, limits=Limits(score=score))
        assert find_sensitivity(make_table(comparison.scorecard, policy), usual_decision()) is None


@pytest.mark.slow
def test_a_handful_of_questions_does_not_carry_flips(comparison: Comparison) -> None:
    few = replace(comparison, scorecard=comparison.scorecard.part(range(12, 20)), questions=comparison.questions[12:])
    found = find_sensitivity(few.table, few.decision)
    assert found is not None
    assert (found.flips, found.stability, found.nearest) == (None, None, None)
    card = card_of(few)
    assert card["summary"]["change"] == "8 questions are too few to say what would change the choice."
    assert card["sensitivity"] is not None
    assert card["sensitivity"]["flips"] == []
    words = to_html(card)
    assert "8 questions are too few to say what would change the choice." in words
    assert "With all weights moved" not in words
    assert "too few to say what would change" in to_markdown(card)


@pytest.mark.slow
def test_an_arm_that_was_never_compared_is_no_alternative(comparison: Comparison) -> None:
    # tuned has scores of notes only, everybody else of facts only.
    arms = tuple(
        replace(
            s,
            scores={
                "token_f1": tuple(v if (i >= 12) == (s.arm.name == "tuned") else None for i, v in enumerate(column))
            },
        )
        for s in comparison.scorecard.arms
        for column in (s.scores["token_f1"],)
    )
    apart = replace(comparison, scorecard=replace(comparison.scorecard, arms=arms))
    found = find_sensitivity(apart.table, replace(usual_decision(), comparisons=()))
    assert found is not None
    assert "tuned" not in found.map.shares
    card = card_of(apart)
    assert any("was never compared with" in line for line in card["summary"]["warnings"])
    text = to_html(card) + to_markdown(card)
    assert "never compared" in text
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)
