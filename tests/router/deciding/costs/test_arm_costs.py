from dataclasses import replace

import pytest
from fakes.priced import BASE, FEW, HYBRID, RAG, TUNED, make_card, make_scores
from hypothesis import given, settings
from hypothesis import strategies as st

from router.answering.arm import Arm
from router.deciding.costs.arm_costs import (
    cost_per_1k,
    evaluation_cost,
    measure,
    price,
    question_costs,
)
from router.deciding.policy import Policy, Prices, Traffic

# 100 prompt tokens at 10 and 10 generated ones at 50 per million: 0.001 + 0.0005 a question.
TOKENS = Prices(prompt=10.0, generated=50.0)
# An hour of training is 4, an hour of indexing 20: TUNED 4, HYBRID 8 + 2, RAG 2, FEW 0.2.
MACHINES = replace(TOKENS, training_hour=4.0, indexing_hour=20.0)
CARD = make_card(*(make_scores(arm, [1.0] * 4) for arm in (BASE, FEW, RAG, TUNED, HYBRID)))


def test_1000_questions_cost_their_mean_tokens() -> None:
    assert cost_per_1k(make_scores(BASE, [1.0]), Policy(prices=TOKENS)) == pytest.approx(1.5)


def test_a_failed_answer_does_not_make_the_others_cheaper() -> None:
    whole = make_scores(BASE, [1.0, 1.0])
    failed = replace(whole, prompt_tokens=(100, None), generated_tokens=(10, None))
    assert cost_per_1k(failed, Policy(prices=TOKENS)) == pytest.approx(1.5)
    assert question_costs(failed, Policy(prices=TOKENS)) == (pytest.approx(0.0015), None)


def test_the_prefix_cache_takes_its_share_off_the_prompt_tokens() -> None:
    policy = Policy(prices=TOKENS, traffic=Traffic(prefix_hits=0.75))
    base, rag = make_scores(BASE, [1.0], prompt=100), make_scores(RAG, [1.0], prompt=500)
    assert cost_per_1k(base, policy) == pytest.approx(0.25 + 0.5)
    # The passages are 400 tokens: 400 x 10 / 1e6 x 1000 x (1 - 0.75).
    difference = (cost_per_1k(rag, policy) or 0) - (cost_per_1k(base, policy) or 0)
    assert difference == pytest.approx(1.0)


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
    # 5 arms x 4 questions x 0.0015; the prefix cache of production has not answered then.
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
