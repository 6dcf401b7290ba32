from dataclasses import replace

import pytest
from fakes.priced import BASE, HYBRID, RAG, TUNED, make_card, make_scores

from router.answering.arm import Arm
from router.deciding.arm_table import ArmTable, make_table
from router.deciding.policy import Policy, Prices, Traffic
from router.deciding.saving import Saving, Savings
from router.deciding.scorecard import ArmScores

# 100 prompt tokens at 10 per million: 0.001 a question.
POLICY = Policy(prices=Prices(prompt=10.0, generated=0.0))


def find(table: ArmTable, arm: str, instead_of: str) -> Saving:
    savings = Savings(table.decided.clusters)
    return savings.find(table.row(arm), instead_of=table.row(instead_of), policy=table.policy)


def serve(table: ArmTable, *ranked: str) -> str:
    return Savings(table.decided.clusters).serve([table.row(name) for name in ranked], table.policy).name


def table_of(*arms: ArmScores, policy: Policy = POLICY) -> ArmTable:
    return make_table(make_card(*arms), policy)


def prompts(arm: Arm, tokens: list[int | None]) -> ArmScores:
    return replace(make_scores(arm, [1.0] * len(tokens)), prompt_tokens=tuple(tokens))


@pytest.mark.parametrize(("tokens", "matters"), [(100, False), (96, False), (95, False), (94, True), (120, False)])
def test_a_saving_must_be_more_than_the_tolerance(tokens: int, matters: bool) -> None:
    table = table_of(make_scores(RAG, [1.0] * 4), make_scores(BASE, [1.0] * 4, prompt=tokens))
    assert find(table, "base", "rag") == Saving(pytest.approx(1 - tokens / 100, abs=1e-12), matters)


def test_a_saving_must_be_more_than_the_noise_of_its_measurement() -> None:
    # 20 of 100 tokens saved on average: by 15 to 25 a question it is shown, by -60 to 100 it is not.
    dear = [100] * 10
    sure = table_of(prompts(RAG, dear), prompts(BASE, [85, 75] * 5))
    noisy = table_of(prompts(RAG, dear), prompts(BASE, [160, 0] * 5))
    assert find(sure, "base", "rag") == Saving(pytest.approx(0.2), matters=True)
    assert find(noisy, "base", "rag") == Saving(pytest.approx(0.2), matters=False)
    # What all documents save is no noise, however much the questions differ in length.
    paired = table_of(prompts(RAG, [20, 200] * 5), prompts(BASE, [15, 150] * 5))
    assert find(paired, "base", "rag").matters


def test_the_noise_is_that_of_documents() -> None:
    dear, cheap = prompts(RAG, [100] * 12), prompts(BASE, [140] * 4 + [20] * 8)
    alone = make_card(dear, cheap)
    assert find(make_table(alone, POLICY), "base", "rag").matters
    grouped = replace(alone, clusters=("a",) * 4 + ("b",) * 4 + ("c",) * 4)
    assert not find(make_table(grouped, POLICY), "base", "rag").matters
    one = replace(alone, clusters=("a",) * 12)
    assert not find(make_table(one, POLICY), "base", "rag").matters


def test_an_answer_that_is_missing_on_one_side_is_no_saving() -> None:
    # The long question failed for base, which costs the same as rag on the others.
    table = table_of(prompts(RAG, [100, 100, 1000]), prompts(BASE, [100, 100, None]))
    assert find(table, "base", "rag") == Saving(pytest.approx(0.0), matters=False)


def test_training_counts_at_the_traffic_and_has_no_noise() -> None:
    # tuned saves 0.004 of 0.005 a question; its training is 4 over 10,000 questions, 0.0004 each.
    arms = make_scores(RAG, [1.0] * 4, prompt=500), make_scores(TUNED, [1.0] * 4, prompt=100)
    prices = replace(POLICY.prices, training_hour=4.0)
    many = replace(POLICY, prices=prices, traffic=Traffic(questions=1000, months=10))
    assert find(table_of(*arms, policy=many), "tuned", "rag") == Saving(pytest.approx(0.0036 / 0.005), matters=True)
    few = replace(many, traffic=Traffic(questions=100, months=10))
    assert find(table_of(*arms, policy=few), "tuned", "rag") == Saving(pytest.approx(0.0, abs=1e-12), matters=False)


def test_a_known_cost_is_a_saving_against_an_unknown_one() -> None:
    bought = make_scores(replace(HYBRID, adapter="bought@1"), [1.0] * 4)
    table = table_of(bought, make_scores(RAG, [1.0] * 4), policy=replace(POLICY, prices=Prices(training_hour=1.0)))
    assert find(table, "rag", "hybrid") == Saving(None, matters=True)
    assert find(table, "hybrid", "rag") == Saving(None, matters=False)
    assert serve(table, "hybrid", "rag") == "rag"


def test_where_nothing_costs_anything_the_best_is_served() -> None:
    table = table_of(make_scores(RAG, [1.0] * 4), make_scores(BASE, [1.0] * 4), policy=Policy(prices=Prices(0.0, 0.0)))
    assert find(table, "base", "rag") == Saving(0.0, matters=False)
    assert serve(table, "rag", "base") == "rag"


@pytest.mark.parametrize(
    ("costs", "served"),
    [
        # In the order of their means. Nobody saves enough against the leader.
        ((100, 99, 96, 98), "base"),
        # The cheapest saves 8%, and the second does not save enough.
        ((100, 96, 92, 95), "tuned"),
        # Both save enough and cost the same: the better one.
        ((100, 90, 88, 99), "rag"),
        # A large saving goes to the cheapest, unless one of the same cost is better.
        ((100, 90, 50, 51), "tuned"),
        ((100, 90, 51, 50), "tuned"),
    ],
)
def test_of_those_that_save_enough_the_best_that_costs_no_more_is_served(costs: tuple[int, ...], served: str) -> None:
    arms = (BASE, RAG, TUNED, HYBRID)
    rows = [make_scores(arm, [1.0] * 4, prompt=tokens) for arm, tokens in zip(arms, costs, strict=True)]
    assert serve(table_of(*rows), *(arm.name for arm in arms)) == served
