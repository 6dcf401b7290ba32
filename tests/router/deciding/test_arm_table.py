from dataclasses import replace

import pytest
from fakes.decided import make_raced, make_valued
from fakes.priced import BASE, HYBRID, RAG, TUNED, make_card, make_scores

from router.deciding.arm_table import make_table
from router.deciding.costs import measure, price
from router.deciding.policy import Limits, Policy, Prices, Traffic, Utility
from router.errors import RouterError

CARD = make_card(
    make_scores(BASE, [0.0, 1.0]), make_scores(RAG, [1.0, 1.0], prompt=500), make_scores(TUNED, [1.0, None])
)


def test_a_row_has_every_number_of_an_arm() -> None:
    traffic = Traffic(questions=1000, months=2, churn=0.5, retrain_at=0.5)
    policy = Policy(prices=Prices(prompt=10.0, generated=50.0, training_hour=4.0), traffic=traffic)
    row = make_table(CARD, policy).row("tuned")
    assert (row.name, row.score, row.mean, row.excluded, row.dropped) == ("tuned", 1.0, 1.0, None, None)
    assert (row.p50_ms, row.p95_ms, row.ttft_ms) == (10.0, 10.0, None)
    assert row.costs == price(measure(CARD, CARD.by_name("tuned")), policy)
    # 1.5 for 1,000 questions of 100 prompt and 10 generated tokens; trained once for 4 and again every month.
    assert (row.costs.per_1k, row.costs.fixed, row.costs.upkeep) == pytest.approx((1.5, 4.0, 4.0))
    assert row.amortised_per_1k == pytest.approx((4.0 + 2 * 5.5) / 2)
    assert row.price == row.amortised_per_1k


def test_a_lead_is_measured_on_shared_questions() -> None:
    table = make_table(CARD, Policy())
    assert (table.lead("rag", "base"), table.lead("base", "tuned")) == (0.5, -1.0)
    apart = make_card(make_scores(BASE, [1.0, None]), make_scores(RAG, [None, 1.0]))
    assert make_table(apart, Policy()).lead("base", "rag") is None


def test_a_mean_does_not_depend_on_the_order_of_the_questions() -> None:
    column = [0.1, 0.7, 0.3, 0.2, 0.9, 0.6] * 7
    card = make_card(make_scores(BASE, column), make_scores(RAG, sorted(column)))
    table = make_table(card, Policy())
    assert table.row("base").mean == table.row("rag").mean
    intervals = [card.interval(scores, "f1") for scores in card.arms]
    assert [found.mean for found in intervals if found is not None] == [table.row("base").mean] * 2


def test_after_a_race_what_decides_is_what_it_spent_and_costs_are_of_all_answers() -> None:
    raced = make_raced()
    row = raced.table.row("hybrid")
    assert (len(row.decided.latency_ms), len(row.scores.latency_ms)) == (15, 20)
    assert row.score == pytest.approx(11.5 / 15)
    assert row.costs == price(measure(raced.scorecard, row.scores), raced.policy)
    dropped = raced.table.row("base").dropped
    assert dropped is not None
    assert dropped.after == 6


def test_what_a_race_found_by_an_arm_that_is_ruled_out_since_counts_no_more() -> None:
    card = make_raced().scorecard
    assert card.race is not None
    by = {drop.arm: drop.beaten_by for drop in card.race.drops}
    slow = tuple(replace(s, latency_ms=(1e6,) * 20) if s.arm.name == by["base"] else s for s in card.arms)
    policy = Policy(limits=Limits(latency_ms=1e5))
    assert make_table(card, policy).row("base").dropped is not None
    assert make_table(replace(card, arms=slow), policy).row("base").dropped is None


def test_what_a_race_found_by_another_metric_or_other_values_counts_no_more() -> None:
    card = make_raced().scorecard
    assert card.race is not None

    def dropped(metric: str, policy: Policy) -> bool:
        drops = tuple(replace(drop, metric=metric) for drop in card.race.drops) if card.race else ()
        raced = replace(card, race=replace(card.race, drops=drops)) if card.race else card
        return make_table(raced, policy).row("base").dropped is not None

    utility = Policy(utility=Utility(right=1.0, wrong=-1.0))
    decider = make_table(card, utility).decider
    assert [dropped(metric, Policy()) for metric in ("", card.primary, decider)] == [True, True, False]
    assert [dropped(metric, utility) for metric in (card.primary, decider)] == [False, True]
    assert not dropped(decider, replace(utility, prices=Prices(prompt=9.0)))


def test_where_utility_decides_means_are_on_its_scale_and_the_higher_is_the_cheaper() -> None:
    valued = make_valued()
    table = valued.table
    row = table.row("hybrid")
    assert (table.decided.primary, table.scorecard.primary) == ("utility", "token_f1")
    assert table.scale is not None
    assert row.costs.per_1k is not None
    assert table.scale.to_currency(row.mean) == pytest.approx(12 / 20 - 19 / 20 * row.costs.per_1k / 1000)
    assert (row.price, row.score) == (-row.mean, pytest.approx(15.5 / 20))


def test_every_broken_limit_is_named_and_nobody_left_is_an_error() -> None:
    table = make_table(CARD, Policy(limits=Limits(latency_ms=5.0, score=0.75)))
    assert set(table.row("base").broken) == {"latency_ms", "score"}
    assert table.excluded["base"] == (
        "median latency 10 ms is over the limit of 5 ms and mean f1 0.50 is under the limit of 0.75"
    )
    with pytest.raises(RouterError, match=r"no arm is left to choose from \(base: median latency 10 ms"):
        table.eligible()
    dead = replace(make_scores(HYBRID, [0.0, 0.0]), errors={"q0": "too long", "q1": "too long"})
    assert make_table(make_card(dead), Policy()).excluded == {"hybrid": "no question was answered (too long)"}
    unscored = make_scores(HYBRID, [None, None])
    assert make_table(make_card(unscored), Policy()).excluded == {"hybrid": "no question was scored (no score)"}


def test_a_failed_answer_keeps_no_limit_on_latency() -> None:
    answers = replace(
        make_scores(RAG, [1.0] * 18 + [0.0] * 2),
        errors={"q18": "too long", "q19": "too long"},
        latency_ms=(10.0,) * 18 + (None,) * 2,
        ttft_ms=(None,) * 20,
    )
    streamed = replace(make_scores(BASE, [1.0] * 20), ttft_ms=(None,) * 17 + (5.0,) * 3)
    limits = Limits(latency_ms=50.0, p95_ms=50.0, ttft_ms=50.0)
    row = make_table(make_card(answers, streamed), Policy(limits=limits)).row("rag")
    # The median is that of an answer; the 95th percentile of twenty, two of them failed, is a failed one's.
    assert set(row.broken) == {"p95_ms", "ttft_ms"}
    assert row.broken["p95_ms"] == (
        "95th percentile of latency cannot be told with 2 of 20 answers failed, which does not keep the limit of 50 ms"
    )
    assert row.p95_ms == 10.0


def test_an_unknown_arm_lists_the_known_ones() -> None:
    with pytest.raises(RouterError, match="no arm 'other' in the scorecard; it has base, rag, tuned"):
        make_table(CARD, Policy()).row("other")


@pytest.mark.parametrize(
    ("a", "b", "is_enough"),
    [
        ([1.0, 1.0, 1.0, 1.0], [0.0, 0.0, None, None], True),
        ([1.0, 1.0, 1.0, None], [0.0, None, None, 1.0], False),
        ([1.0, 1.0, None, None], [None, None, 0.0, 0.0], False),
        ([None] * 4, [None] * 4, False),
    ],
)
def test_arms_compare_over_half_of_what_either_was_scored_on(
    a: list[float | None], b: list[float | None], is_enough: bool
) -> None:
    table = make_table(make_card(make_scores(BASE, a), make_scores(RAG, b)), Policy())
    assert table.can_compare("base", "rag") == table.can_compare("rag", "base") == is_enough


def test_a_question_that_a_race_did_not_ask_does_not_count_against_a_comparison() -> None:
    # base saw the first six of fifteen questions, tuned_rag all of them.
    assert make_raced().table.can_compare("base", "tuned_rag")
