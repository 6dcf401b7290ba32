import math
from dataclasses import replace

import pytest
from fakes.priced import BASE, FEW, HYBRID, RAG, TUNED, make_card, make_scores
from hypothesis import given, settings
from hypothesis import strategies as st

from router.answering.arm import Arm
from router.deciding.costs import (
    ArmCosts,
    break_even,
    break_even_table,
    evaluation_cost,
    measure,
    prefill_seconds,
    price,
    question_costs,
)
from router.deciding.policy import Policy, Prices, Traffic
from router.deciding.scorecard import ArmScores
from router.errors import RouterError

# 100 prompt tokens at 10 and 10 generated ones at 50 per million: 0.001 + 0.0005 a question.
TOKENS = Prices(prompt=10.0, generated=50.0)
# An hour of training is 4, an hour of indexing 20: TUNED 4, HYBRID 8 + 2, RAG 2, FEW 0.2.
MACHINES = replace(TOKENS, training_hour=4.0, indexing_hour=20.0)
CARD = make_card(*(make_scores(arm, [1.0] * 4) for arm in (BASE, FEW, RAG, TUNED, HYBRID)))


def cost_per_1k(scores: ArmScores, policy: Policy) -> float | None:
    return price(measure(make_card(scores), scores), policy).per_1k


def test_1000_questions_cost_their_mean_tokens() -> None:
    assert cost_per_1k(make_scores(BASE, [1.0]), Policy(prices=TOKENS)) == pytest.approx(1.5)


def test_a_failed_answer_does_not_make_the_others_cheaper() -> None:
    whole = make_scores(BASE, [1.0, 1.0])
    failed = replace(whole, prompt_tokens=(100, None), generated_tokens=(10, None))
    assert cost_per_1k(failed, Policy(prices=TOKENS)) == pytest.approx(1.5)
    assert question_costs(failed, Policy(prices=TOKENS)) == pytest.approx([0.0015, math.nan], nan_ok=True)


def test_the_prefix_cache_takes_its_share_off_the_prompt_tokens() -> None:
    policy = Policy(prices=TOKENS, traffic=Traffic(prefix_hits=0.75))
    base, rag = make_scores(BASE, [1.0], prompt=100), make_scores(RAG, [1.0], prompt=500)
    assert cost_per_1k(base, policy) == pytest.approx(0.25 + 0.5)
    # The passages are 400 tokens: 400 x 10 / 1e6 x 1000 x (1 - 0.75).
    difference = (cost_per_1k(rag, policy) or 0) - (cost_per_1k(base, policy) or 0)
    assert difference == pytest.approx(1.0)


def test_each_arm_saves_the_tokens_that_its_own_prompts_have_in_common() -> None:
    # Both begin with the same 80 tokens; an assumed share of 0.8 for both would take 320 off the passages.
    base, rag = make_scores(BASE, [1.0], prompt=100, cached=80), make_scores(RAG, [1.0], prompt=500, cached=80)
    policy = Policy(prices=Prices(prompt=10.0, generated=0.0))
    assert cost_per_1k(base, policy) == pytest.approx(0.2)
    assert cost_per_1k(rag, policy) == pytest.approx(4.2)
    assumed = replace(policy, traffic=Traffic(prefix_hits=0.8))
    assert cost_per_1k(rag, assumed) == pytest.approx(1.0)
    # What an engine charges for a cached token counts, assumed or measured.
    charged = replace(policy, prices=Prices(prompt=10.0, generated=0.0, cached=1.0))
    assert cost_per_1k(rag, charged) == pytest.approx(4.2 + 0.08)
    assert cost_per_1k(rag, replace(charged, traffic=assumed.traffic)) == pytest.approx(1.0 + 0.4)


def test_an_arms_share_of_cached_tokens_holds_for_every_question() -> None:
    # Half of what is known is cached; nobody knows of the last question, whose prompt was streamed before.
    scores = replace(make_scores(BASE, [1.0] * 3), prompt_tokens=(100, 300, 200), cached_tokens=(80, 120, None))
    policy = Policy(prices=Prices(prompt=10.0, generated=0.0))
    assert question_costs(scores, policy) == pytest.approx([0.0005, 0.0015, 0.001])
    assert cost_per_1k(scores, policy) == pytest.approx(1.0)


def test_search_and_reranking_are_paid_by_the_hour_by_arms_that_search() -> None:
    policy = Policy(prices=Prices(prompt=0.0, generated=0.0, retrieval_hour=7.2))
    assert cost_per_1k(make_scores(RAG, [1.0], retrieval_s=0.25), policy) == pytest.approx(1000 * 0.25 * 7.2 / 3600)
    assert cost_per_1k(make_scores(BASE, [1.0]), policy) == 0.0
    unknown = make_scores(RAG, [1.0])
    assert price(measure(make_card(unknown), unknown), policy).missing == ("retrieval seconds",)


@pytest.mark.parametrize(("name", "hosting"), [("base", 1.0), ("fewshot", 5.0), ("tuned", 3.0), ("hybrid", 7.0)])
def test_hosting_is_paid_by_the_month(name: str, hosting: float) -> None:
    prices = Prices(prompt=0.0, generated=0.0, engine_month=1.0, adapter_month=2.0, index_month=4.0)
    costs = price(measure(CARD, CARD.by_name(name)), Policy(prices=prices))
    assert (costs.fixed, costs.upkeep, costs.total(10, months=3)) == (0.0, hosting, 3 * hosting)


def test_the_engines_hour_is_shorter_where_more_of_the_prompt_is_cached() -> None:
    # A millisecond for an uncached prompt token, ten for a generated one; 20 of each prompt were cached.
    arms = [
        make_scores(arm, [1.0] * 2, prompt=prompt, generated=made, cached=20, engine_s=(prompt - 20 + 10 * made) / 1000)
        for arm, prompt, made in ((BASE, 100, 10), (RAG, 500, 12), (TUNED, 100, 5))
    ]
    prefill_s = prefill_seconds(arms)
    assert prefill_s == pytest.approx(0.001)
    card = replace(make_card(*arms), prefill_s=prefill_s)
    hour = Policy(prices=Prices(prompt=0.0, generated=0.0, engine_hour=3600.0))
    for hits, seconds in ((None, 0.6), (0.0, 0.62), (0.5, 0.37), (1.0, 0.12)):
        policy = replace(hour, traffic=Traffic(prefix_hits=hits))
        assert price(measure(card, card.by_name("rag")), policy).question == pytest.approx(seconds)
        assert question_costs(card.by_name("rag"), policy, prefill_s)[0] == pytest.approx(seconds)


def test_what_a_prompt_token_takes_is_not_told_by_arms_that_are_too_few_or_alike() -> None:
    base, rag = make_scores(BASE, [1.0], engine_s=0.2), make_scores(RAG, [1.0], prompt=500, engine_s=0.6)
    assert prefill_seconds([base, rag]) is None
    assert prefill_seconds([base, replace(base, arm=TUNED), replace(base, arm=HYBRID)]) is None
    assert prefill_seconds([base, rag, make_scores(TUNED, [1.0])]) is None
    # Never so much that an arm had no second left, and never less than nothing.
    odd = [make_scores(HYBRID, [1.0], prompt=500, generated=40, engine_s=0.1), base, rag]
    found = prefill_seconds(odd)
    assert found is not None
    assert 0 <= found <= 0.1 / 500


def test_engine_seconds_are_paid_by_the_hour() -> None:
    scores = make_scores(BASE, [1.0], engine_s=0.5)
    rented = Policy(prices=Prices(prompt=0.0, generated=0.0, engine_hour=7.2))
    assert cost_per_1k(scores, rented) == pytest.approx(1000 * 0.5 * 7.2 / 3600)


@pytest.mark.parametrize(
    ("prices", "missing"),
    [
        (Prices(0.0, 0.0, engine_hour=1.0), ("engine seconds",)),
        (Prices(1.0, 0.0), ("prompt tokens",)),
        (Prices(0.0, 1.0), ("generated tokens",)),
        (Prices(0.0, 0.0, training_hour=1.0), ("training time of elsewhere@1",)),
        (Prices(0.0, 0.0, indexing_hour=1.0), ("indexing time of theirs",)),
    ],
)
def test_what_was_not_measured_is_unknown_at_a_price_and_named(prices: Prices, missing: tuple[str, ...]) -> None:
    arm = Arm("bought", adapter="elsewhere@1", index="theirs")
    card = make_card(make_scores(arm, [1.0], prompt=None, generated=None))
    costs = price(measure(card, card.arms[0]), Policy(prices=prices))
    assert costs.missing == missing
    assert costs.total(10, months=1) is None
    assert costs.amortised_per_1k(10, months=1) is None


def test_what_has_no_price_need_not_be_measured() -> None:
    arm = Arm("bought", adapter="elsewhere@1", index="theirs")
    card = make_card(make_scores(arm, [1.0], prompt=None, generated=None))
    costs = price(measure(card, card.arms[0]), Policy(prices=Prices(0.0, 0.0)))
    assert (costs.per_1k, costs.fixed, costs.total(10, months=1), costs.missing) == (0.0, 0.0, 0.0, ())


@pytest.mark.parametrize(
    ("name", "fixed"), [("base", 0.0), ("fewshot", 0.2), ("rag", 2.0), ("tuned", 4.0), ("hybrid", 10.0)]
)
def test_training_and_indexing_are_paid_once(name: str, fixed: float) -> None:
    costs = price(measure(CARD, CARD.by_name(name)), Policy(prices=MACHINES))
    assert costs.fixed == pytest.approx(fixed)
    assert costs.upkeep == 0.0
    # 1,000 questions a month over 2 months at 1.5 per 1,000.
    assert costs.total(1000, months=2) == pytest.approx(fixed + 3.0)
    assert costs.amortised_per_1k(1000, months=2) == pytest.approx((fixed + 3.0) / 2)


@pytest.mark.parametrize(
    ("name", "upkeep"),
    [
        ("base", 0.0),
        ("fewshot", 0.0),  # examples do not age with the documents
        ("rag", 0.3 * 2.0),
        ("tuned", 3 * 4.0),  # 30% a month at 10% a training
        ("hybrid", 0.3 * 2.0),  # learnt to read, is not trained again
    ],
)
def test_changing_documents_are_indexed_again_and_trained_again(name: str, upkeep: float) -> None:
    policy = Policy(prices=MACHINES, traffic=Traffic(churn=0.3, retrain_at=0.1))
    costs = price(measure(CARD, CARD.by_name(name)), policy)
    assert costs.upkeep == pytest.approx(upkeep)
    assert costs.monthly(1000) == pytest.approx(upkeep + 1.5)


def test_an_adapter_that_is_shown_examples_still_answers_from_its_weights() -> None:
    both = replace(FEW, name="tuned_fewshot", adapter="closed@1")
    card = make_card(make_scores(both, [1.0]))
    costs = price(measure(card, card.arms[0]), Policy(prices=MACHINES, traffic=Traffic(churn=0.1)))
    assert costs.retrainings == pytest.approx(1.0)
    assert not both.reads_documents


def test_the_evaluation_costs_what_all_arms_answered() -> None:
    # 5 arms x 4 questions x 0.0015; the prefix cache that is assumed of production has not answered then.
    policy = Policy(prices=MACHINES, traffic=Traffic(prefix_hits=1.0))
    assert evaluation_cost(CARD, policy) == pytest.approx(20 * 0.0015)
    failed = replace(CARD.arms[0], errors={"q0": "too long"}, prompt_tokens=(None, 100, 100, 100))
    assert evaluation_cost(replace(CARD, arms=(failed,)), policy) == pytest.approx(3 * 0.0015)
    assert evaluation_cost(CARD, Policy(prices=Prices(engine_hour=1.0))) is None


@settings(max_examples=30, deadline=None)
@given(
    questions=st.floats(1, 1e8),
    months=st.floats(0.1, 120),
    churn=st.floats(0, 1),
    hits=st.floats(0, 1),
    more=st.floats(1, 10),
)
def test_amortised_costs_never_fall_below_a_question_and_never_rise_with_traffic(
    questions: float, months: float, churn: float, hits: float, more: float
) -> None:
    policy = Policy(prices=MACHINES, traffic=Traffic(churn=churn, prefix_hits=hits))
    for scores in CARD.arms:
        costs = price(measure(CARD, scores), policy)
        few, many = (
            costs.amortised_per_1k(questions, months=months),
            costs.amortised_per_1k(more * questions, months=months),
        )
        assert few is not None
        assert many is not None
        assert costs.per_1k is not None
        assert few * (1 + 1e-9) >= many >= costs.per_1k * (1 - 1e-9)


YEAR = Policy(traffic=Traffic(questions=100, months=10))


def costs(name: str, *, fixed: float | None = 0.0, question: float | None = 0.0, retrainings: float = 0.0) -> ArmCosts:
    return ArmCosts(name, question, fixed, 0.0, retrainings, 0.0)


@pytest.mark.parametrize(
    ("a", "b", "outcome", "questions", "text"),
    [
        # 60 ahead, 0.02 saved a question.
        ((60.0, 0.01), (0.0, 0.03), "from", 3000.0, "from 3,000 questions (300 a month)"),
        ((0.0, 0.03), (60.0, 0.01), "until", 3000.0, "until 3,000 questions (300 a month)"),
        ((0.0, 0.01), (60.0, 0.03), "at once", 0.0, "at once"),
        ((0.0, 0.01), (60.0, 0.01), "at once", 0.0, "at once"),
        ((60.0, 0.03), (0.0, 0.01), "never", None, "never"),
        ((60.0, 0.01), (0.0, 0.01), "never", None, "never"),
        ((60.0, 0.01), (60.0, 0.01), "equal", None, "never: both cost the same"),
        ((None, 0.01), (60.0, 0.01), "unknown", None, "unknown: a cost was not measured"),
        ((0.0, 0.01), (60.0, None), "unknown", None, "unknown: a cost was not measured"),
    ],
)
def test_break_even_is_a_number_at_once_or_never(
    a: tuple[float | None, float | None],
    b: tuple[float | None, float | None],
    outcome: str,
    questions: float | None,
    text: str,
) -> None:
    found = break_even(costs("a", fixed=a[0], question=a[1]), costs("b", fixed=b[0], question=b[1]), YEAR)
    assert found.outcome == outcome
    assert found.questions == (None if questions is None else pytest.approx(questions))
    assert found.text == text


def test_under_churn_training_again_has_to_be_earned_back_too() -> None:
    # 60 once and half a training a month for ten months: 60 + 300 over 0.02.
    trained = costs("tuned", fixed=60.0, question=0.01, retrainings=0.5)
    found = break_even(trained, costs("rag", question=0.03), YEAR)
    assert found.questions == pytest.approx(18_000)
    assert found.a_month == pytest.approx(1_800)


def test_the_evaluation_can_be_counted_in() -> None:
    a, b = costs("a", fixed=60.0, question=0.01), costs("b", question=0.03)
    found = break_even(a, b, YEAR, evaluation=20.0)
    assert (found.questions, found.after_evaluation) == (pytest.approx(3000), pytest.approx(4000))
    assert break_even(a, b, YEAR, evaluation=None).after_evaluation is None


def test_the_rule_of_thumb_holds_for_training_against_reading() -> None:
    # Training 4; the passages are 400 tokens at 10 per million, half of them from the cache: 4 / 0.002.
    card = make_card(make_scores(RAG, [1.0], prompt=500), make_scores(TUNED, [1.0], prompt=100))
    policy = Policy(prices=Prices(prompt=10.0, generated=50.0, training_hour=4.0), traffic=Traffic(prefix_hits=0.5))
    (found,) = break_even_table(card, policy, "tuned")
    assert (found.arm, found.other, found.outcome) == ("tuned", "rag", "from")
    assert found.questions == pytest.approx(2000)
    # Two answers, of 500 + 10 and 100 + 10 tokens, uncached: 0.006 + 0.001.
    assert found.after_evaluation == pytest.approx(4.007 / 0.002)


def test_an_answer_missing_on_one_side_is_not_a_saving() -> None:
    whole = replace(make_scores(BASE, [1.0, 1.0]), prompt_tokens=(100, 900))
    failed = replace(make_scores(RAG, [1.0, None]), prompt_tokens=(100, None), latency_ms=(10.0, None))
    (found,) = break_even_table(make_card(whole, failed), Policy(), "rag")
    assert found.outcome == "equal"


def test_arms_that_share_no_answer_are_not_compared() -> None:
    first = replace(make_scores(BASE, [1.0, None]), latency_ms=(10.0, None))
    second = replace(make_scores(RAG, [None, 1.0]), latency_ms=(None, 10.0))
    (found,) = break_even_table(make_card(first, second), Policy(), "base")
    assert found.outcome == "unknown"


def test_an_unknown_arm_is_named() -> None:
    with pytest.raises(RouterError, match="no arm 'other'"):
        break_even_table(make_card(make_scores(BASE, [1.0])), Policy(), "other")


amounts = st.floats(0, 1e6).map(lambda x: round(x, 6))


@settings(max_examples=30, deadline=None)
@given(fixed=st.tuples(amounts, amounts), question=st.tuples(amounts, amounts), months=st.floats(0.5, 60))
def test_two_arms_break_even_at_the_same_place_seen_from_either_side(
    fixed: tuple[float, float], question: tuple[float, float], months: float
) -> None:
    policy = Policy(traffic=Traffic(months=months))
    a = costs("a", fixed=fixed[0], question=question[0])
    b = costs("b", fixed=fixed[1], question=question[1])
    here, there = break_even(a, b, policy), break_even(b, a, policy)
    mirror = {"from": "until", "until": "from", "never": "at once", "at once": "never", "equal": "equal"}
    assert there.outcome == mirror[here.outcome]
    if here.outcome in ("from", "until"):
        assert here.questions == pytest.approx(there.questions)
        assert here.a_month is not None
        first, second = (arm.total(here.a_month, months=months) for arm in (a, b))
        assert first == pytest.approx(second, rel=1e-6)
