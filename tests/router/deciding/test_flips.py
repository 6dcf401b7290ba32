from dataclasses import replace

import pytest
from fakes.priced import BASE, RAG, TUNED, make_card, make_scores
from hypothesis import given, settings
from hypothesis import strategies as st

from router.deciding.arm_table import make_table
from router.deciding.flips import Flip, find_flips, search_flip, stability
from router.deciding.policy import Limits, Policy, Prices, Traffic, Utility
from router.deciding.preference import make_preference

# base: 2 right, 8 abstained, 0.001 a question; rag: 6 right, 4 wrong, 0.005 a question.
CARD = make_card(
    make_scores(BASE, [1.0] * 2 + [0.0] * 8, prompt=100, generated=0, abstained=[0.0] * 2 + [1.0] * 8),
    make_scores(RAG, [1.0] * 6 + [0.0] * 4, prompt=500, generated=0),
)
POLICY = Policy(prices=Prices(prompt=10.0, generated=0.0), utility=Utility(right=1.0, wrong=-0.5, abstain=0.0))


def flips_of(policy: Policy) -> dict[str, Flip]:
    return {flip.weight: flip for flip in find_flips(make_preference(make_table(CARD, policy)), policy)}


@pytest.mark.parametrize(
    ("path", "at"),
    [
        # rag minus base: (0.6 - 0.2) right + 0.4 wrong - 0.8 abstain - 400 tokens x price = 0.4 - 0.2 - 0.004 = 0.196.
        ("utility.right", 1.0 - 0.196 / 0.4),
        ("utility.wrong", -0.5 - 0.196 / 0.4),
        ("utility.abstain", 0.196 / 0.8),
        ("prices.prompt", 10.0 + 0.196 / 400e-6),
    ],
)
def test_a_flip_under_a_utility_is_exact(path: str, at: float) -> None:
    flip = flips_of(POLICY)[path]
    assert (flip.served, flip.arm) == ("rag", "base")
    assert flip.at == pytest.approx(at, rel=1e-9)


def test_what_never_flips_says_so() -> None:
    flips = flips_of(replace(POLICY, traffic=Traffic(prefix_hits=0.0)))
    assert flips["traffic.prefix_hits"] == Flip("traffic.prefix_hits", 0.0, "rag")
    assert flips["prices.generated"] == Flip("prices.generated", 0.0, "rag")


def test_a_value_is_not_moved_past_another() -> None:
    # base would lead from right < 0.04 on, where a wrong answer is worth 0.04 already.
    policy = replace(POLICY, utility=Utility(right=1.0, wrong=0.9, abstain=0.0))
    assert flips_of(policy)["utility.right"].at is None


def test_weights_that_need_an_unmeasured_number_or_do_not_count_are_left_out() -> None:
    assert "prices.engine_hour" not in flips_of(POLICY)
    assert "margin" not in flips_of(POLICY)
    assert "traffic.prefix_hits" not in flips_of(POLICY)  # null is as measured, and no number to move
    plain = flips_of(replace(POLICY, utility=None))
    assert "margin" in plain
    assert not any(path.startswith("utility") for path in plain)


def test_without_a_utility_the_margin_flips_where_the_leader_ends() -> None:
    flip = flips_of(replace(POLICY, utility=None))["margin"]
    assert (flip.served, flip.arm) == ("rag", "base")
    assert flip.at == pytest.approx(0.4, rel=1e-6)


def test_traffic_flips_where_training_is_earned_back() -> None:
    # 4 for the training over ten months of 0.004 saved a question: 100 a month.
    card = make_card(
        make_scores(RAG, [1.0], prompt=500, generated=0), make_scores(TUNED, [1.0], prompt=100, generated=0)
    )
    prices, traffic = Prices(prompt=10.0, generated=0.0, training_hour=4.0), Traffic(questions=150, months=10)
    policy = Policy(prices=prices, traffic=traffic)
    flips = {flip.weight: flip for flip in find_flips(make_preference(make_table(card, policy)), policy)}
    assert flips["traffic.questions"].at == pytest.approx(100)
    assert flips["traffic.months"].at == pytest.approx(10 / 1.5)
    assert flips["prices.training_hour"].at == pytest.approx(6)
    assert flips["traffic.questions"].arm == "rag"
    # From no churn at all: 4 + 10 * churn * 40 = 6.
    assert flips["traffic.churn"].at == pytest.approx(0.005)


def test_a_limit_can_leave_no_arm() -> None:
    policy = replace(POLICY, limits=Limits(cost_per_1k=8.0))
    flip = flips_of(policy)["prices.prompt"]
    # rag is over the limit from 16 per million on.
    assert (flip.arm, flip.at) == ("base", pytest.approx(16.0))
    alone = make_preference(make_table(CARD, policy), ["base"])
    gone = search_flip(alone.choose, policy, "prices.prompt")
    assert (gone.arm, gone.at) == (None, pytest.approx(80.0))


@pytest.mark.parametrize("threshold", [0.011, 3.0, 250.0, 9_900.0])
def test_a_search_follows_any_rule_up_to_a_factor_of_a_thousand(threshold: float) -> None:
    def choose(policy: Policy) -> str:
        return "big" if policy.traffic.questions > threshold else "small"

    policy = Policy(traffic=Traffic(questions=10.0))
    flip = search_flip(choose, policy, "traffic.questions")
    assert flip.at == pytest.approx(threshold)
    assert {flip.served, flip.arm} == {"big", "small"}


def test_of_two_flips_the_nearer_by_ratio_is_found() -> None:
    def choose(policy: Policy) -> str:
        return "mid" if 4 < policy.traffic.questions < 15 else "out"

    flip = search_flip(choose, Policy(traffic=Traffic(questions=10.0)), "traffic.questions")
    assert flip.at == pytest.approx(15)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.5, 2), st.floats(-2, 0), st.floats(0, 0.4), st.sampled_from(["right", "wrong", "abstain"]))
def test_beyond_an_exact_flip_the_other_arm_is_chosen(right: float, wrong: float, abstain: float, name: str) -> None:
    policy = replace(POLICY, utility=Utility(right, wrong, abstain))
    preference = make_preference(make_table(CARD, policy))
    exact = search_flip(preference.choose, policy, f"utility.{name}")
    if exact.at is None:
        return
    step = 1e-6 * max(1.0, abs(exact.at - exact.value)) * (1 if exact.at >= exact.value else -1)
    beyond = replace(policy, utility=replace(policy.utility, **{name: exact.at + step}))  # type: ignore[type-var]
    before = replace(policy, utility=replace(policy.utility, **{name: exact.at - step}))  # type: ignore[type-var]
    assert preference.choose(beyond) == exact.arm
    assert abs(exact.at - exact.value) < 1e-5 or preference.choose(before) == exact.served


@pytest.mark.slow
def test_stability_is_the_share_of_neighbours_that_choose_alike() -> None:
    policy = Policy(traffic=Traffic(questions=100.0))
    assert stability(lambda _: "rag", policy) == 1.0

    def choose(moved: Policy) -> str:
        return "many" if moved.traffic.questions >= 100.0 else "few"

    # Factors are as often above 1 as below.
    assert stability(choose, policy, draws=2000) == pytest.approx(0.5, abs=0.04)
    assert stability(choose, policy) == stability(choose, policy)


def test_neighbours_stay_within_bounds_and_keep_right_above_wrong() -> None:
    seen: list[Policy] = []

    def choose(policy: Policy) -> str:
        seen.append(policy)
        return "rag"

    traffic = Traffic(churn=0.9, retrain_at=0.8, prefix_hits=0.9)
    stability(choose, Policy(margin=0.8, traffic=traffic, utility=Utility(right=1.0, wrong=0.9)), draws=100)
    assert len(seen) == 101
    for policy in seen:
        assert policy.utility is not None
        assert policy.utility.right > policy.utility.wrong
        assert policy.margin < 1
        assert max(policy.traffic.churn, policy.traffic.retrain_at, policy.traffic.prefix_hits) <= 1
