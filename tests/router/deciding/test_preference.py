from dataclasses import replace

import pytest
from fakes.priced import BASE, HYBRID, RAG, TUNED, make_card, make_scores

from router.deciding.arm_table import make_table
from router.deciding.policy import Limits, Policy, Prices, Traffic, Utility
from router.deciding.preference import VOLUMES, make_preference, winning_map
from router.deciding.scorecard import Drop, RaceRecord
from router.errors import RouterError

# Means 0.5, 0.7, 0.75; questions at 0.001, 0.005 and 0.001, and a training of 4.
ARMS = (
    make_scores(BASE, [1.0, 1.0, 0.0, 0.0, 0.5, 0.0], prompt=100, generated=0),
    make_scores(RAG, [1.0, 1.0, 1.0, 0.5, 0.5, 0.2], prompt=500, generated=0),
    make_scores(TUNED, [1.0, 1.0, 1.0, 1.0, 0.5, 0.0], prompt=100, generated=0, latency_ms=50.0),
)
CARD = make_card(*ARMS)
PRICES = Prices(prompt=10.0, generated=0.0, training_hour=4.0)
# Over ten months: RAG 0.005, TUNED 0.001 + 4 / (10 * questions). Savings of 1% are to count.
FEW = Policy(margin=0.06, cost_tolerance=0.0, prices=PRICES, traffic=Traffic(questions=99, months=10))
MANY = replace(FEW, traffic=Traffic(questions=101, months=10))


@pytest.mark.parametrize(("policy", "chosen"), [(FEW, "rag"), (MANY, "tuned"), (replace(FEW, margin=0.04), "tuned"),
                                                (replace(FEW, margin=0.5), "base")])  # fmt: skip
def test_the_cheapest_within_the_margin_of_the_best_is_chosen(policy: Policy, chosen: str) -> None:
    assert make_preference(make_table(CARD, policy)).choose(policy) == chosen


def test_of_arms_that_cost_about_the_same_the_best_is_chosen() -> None:
    # rag is 0.8% cheaper than tuned, which is better; base is cheaper than both by 80%.
    equal = replace(FEW, cost_tolerance=0.05)
    assert make_preference(make_table(CARD, equal)).choose(equal) == "tuned"
    wide = replace(equal, margin=0.5)
    assert make_preference(make_table(CARD, wide)).choose(wide) == "base"


def test_a_utility_decides_net_of_everything() -> None:
    # Right answers: base 3 of 6, rag and tuned 5 of 6.
    valued = replace(FEW, utility=Utility(right=6.0, wrong=0.0))
    preference = make_preference(make_table(CARD, valued))
    nets = {candidate.name: candidate.net_utility(valued) for candidate in preference.candidates}
    assert nets == {
        "base": pytest.approx(3 - 0.001),
        "rag": pytest.approx(5 - 0.005),
        "tuned": pytest.approx(5 - 0.001 - 4 / 990),
    }
    assert preference.choose(valued) == "rag"
    assert preference.choose(replace(MANY, utility=valued.utility)) == "tuned"
    # An answer that is worth a thousandth does not pay for passages.
    assert preference.choose(replace(FEW, utility=Utility(right=0.001, wrong=0.0))) == "base"


def test_limits_leave_arms_out_and_a_limit_on_cost_moves_with_the_prices() -> None:
    slow = replace(MANY, limits=Limits(latency_ms=20.0))
    assert make_preference(make_table(CARD, slow)).choose(slow) == "rag"
    capped = replace(FEW, limits=Limits(cost_per_1k=2.0))
    preference = make_preference(make_table(CARD, capped))
    assert preference.choose(capped) == "tuned"
    assert preference.choose(replace(capped, prices=replace(PRICES, prompt=30.0))) is None


def test_an_unknown_cost_is_never_the_cheapest_but_may_be_the_only_good_one() -> None:
    card = make_card(ARMS[1], make_scores(replace(HYBRID, adapter="bought@1"), [1.0] * 6))
    near, far = replace(FEW, margin=0.5), replace(FEW, margin=0.1)
    preference = make_preference(make_table(card, near))
    assert (preference.choose(near), preference.choose(far)) == ("rag", "hybrid")
    assert not preference.is_priced(near)
    assert preference.is_priced(replace(near, prices=replace(PRICES, training_hour=0.0)))


def test_arms_can_be_named() -> None:
    policy = replace(FEW, margin=0.5)
    assert make_preference(make_table(CARD, policy), ["rag", "tuned"]).choose(policy) == "rag"
    with pytest.raises(RouterError, match="none of other keeps the policy's limits"):
        make_preference(make_table(CARD, policy), ["other"])


def test_an_arm_that_a_race_dropped_does_not_come_back() -> None:
    race = RaceRecord((3, 6), 6, (), (Drop("tuned", "rag", 3, 0.01),), "questions spent", 15, 18)
    raced = replace(CARD, race=race)
    assert make_preference(make_table(raced, MANY)).choose(MANY) == "rag"


MAPPED = make_card(make_scores(RAG, [1.0], prompt=500), make_scores(TUNED, [1.0], prompt=100))
# A question saves 0.004, a training costs 4.
MAP_PRICES = Prices(prompt=10.0, generated=0.0, training_hour=4.0)


@pytest.mark.slow
def test_the_border_lies_where_training_is_earned_back() -> None:
    policy = Policy(prices=MAP_PRICES, traffic=Traffic(questions=1000, months=10, churn=0.0, retrain_at=0.5))
    found = winning_map(make_preference(make_table(MAPPED, policy)).choose, policy)
    # Without churn: 4 over ten months of 0.004 a question, so from 100 a month, the map's edge, on.
    assert set(found.winners[0][1:]) == {"tuned"}
    # All documents change each month: two trainings a month, (4 + 10 * 8) / (10 * 0.004) = 2,100.
    border = found.winners[-1].index("tuned")
    assert found.volumes[border - 1] < 2100 <= found.volumes[border]
    assert set(found.winners[-1][:border]) == {"rag"}
    assert (found.volume, found.churn, found.winner) == (1000, 0.0, "tuned")
    assert found.shares == {
        name: pytest.approx(sum(row.count(name) for row in found.winners) / (81 * 41)) for name in ("tuned", "rag")
    }


@pytest.mark.parametrize(("questions", "ends"), [(5, (5, 1e7)), (1000, VOLUMES), (1e8, (1e2, 1e8))])
def test_the_map_reaches_the_policys_own_traffic(questions: float, ends: tuple[float, float]) -> None:
    policy = Policy(traffic=Traffic(questions=questions))
    found = winning_map(lambda _: "rag", policy)
    assert (found.volumes[0], found.volumes[-1]) == pytest.approx(ends)
    assert (found.churns[0], found.churns[-1]) == (0.0, 1.0)
    assert found.shares == {"rag": 1.0}


def test_where_no_arm_keeps_the_limits_there_is_none() -> None:
    found = winning_map(lambda policy: None if policy.traffic.churn > 0.5 else "rag", Policy())
    assert found.winners[-1][0] is None
    assert found.shares == {"rag": pytest.approx(21 / 41)}
