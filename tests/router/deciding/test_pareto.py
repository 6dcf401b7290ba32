from dataclasses import replace

import numpy as np
import pytest
from fakes.priced import BASE, HYBRID, RAG, TUNED, make_card, make_scores
from hypothesis import given, settings
from hypothesis import strategies as st

from router.deciding.arm_table import make_table
from router.deciding.pareto import RESAMPLES, on_front, pareto_front
from router.deciding.policy import Limits, Policy, Prices
from router.deciding.scorecard import ArmScores

POLICY = Policy(prices=Prices(prompt=10.0, generated=0.0))


def members(*arms: ArmScores, policy: Policy = POLICY) -> dict[str, tuple[bool, float | None]]:
    return {m.arm: (m.is_on_front, m.share) for m in pareto_front(make_table(make_card(*arms), policy))}


def test_cheapest_and_best_are_on_the_front_and_the_worse_and_dearer_is_not() -> None:
    found = members(
        make_scores(BASE, [0.0] * 8),
        make_scores(RAG, [0.5] * 8, prompt=500),
        make_scores(TUNED, [0.6] * 8, prompt=400),
        make_scores(HYBRID, [1.0] * 8, prompt=600),
    )
    assert found == {"base": (True, 1.0), "rag": (False, 0.0), "tuned": (True, 1.0), "hybrid": (True, 1.0)}


def test_arms_that_are_the_same_are_both_on_the_front() -> None:
    assert members(make_scores(BASE, [0.5] * 4), make_scores(RAG, [0.5] * 4)) == {
        "base": (True, 1.0),
        "rag": (True, 1.0),
    }


def test_the_share_is_how_often_resampled_documents_keep_an_arm_on_the_front() -> None:
    # rag is better on 1 question of 2: it is as good or worse where a resample draws the other one twice, 1 time in 4.
    first = make_scores(BASE, [0.5, 0.5], prompt=100)
    second = make_scores(RAG, [1.0, 0.5], prompt=200)
    found = members(first, second)
    assert found["base"] == (True, 1.0)
    assert found["rag"][0]
    assert found["rag"][1] == pytest.approx(0.75, abs=4 * (0.75 * 0.25 / RESAMPLES) ** 0.5)


def test_tokens_are_resampled_with_the_questions() -> None:
    # Equally good; the first is cheaper in total, but not on the second document.
    first = replace(make_scores(BASE, [1.0, 1.0]), prompt_tokens=(100, 250))
    found = members(first, make_scores(RAG, [1.0, 1.0], prompt=200))
    assert found["rag"][1] == pytest.approx(0.25, abs=4 * (0.75 * 0.25 / RESAMPLES) ** 0.5)
    assert not found["rag"][0]


def test_latency_is_an_axis_only_under_a_limit() -> None:
    arms = make_scores(BASE, [1.0] * 3, latency_ms=90.0), make_scores(RAG, [0.5] * 3, prompt=200, latency_ms=10.0)
    assert members(*arms)["rag"] == (False, 0.0)
    limited = replace(POLICY, limits=Limits(latency_ms=100.0))
    assert members(*arms, policy=limited)["rag"] == (True, 1.0)
    assert [m.latency_ms for m in pareto_front(make_table(make_card(*arms), limited))] == [90.0, 10.0]


def test_an_arm_over_a_limit_is_no_member() -> None:
    arms = make_scores(BASE, [1.0] * 3, latency_ms=90.0), make_scores(RAG, [0.5] * 3)
    assert list(members(*arms, policy=replace(POLICY, limits=Limits(latency_ms=50.0)))) == ["rag"]


def test_unscored_questions_are_left_out_and_unknown_costs_count_as_the_dearest() -> None:
    patchy = make_scores(RAG, [1.0, None, 1.0, None], prompt=200)
    free = make_scores(TUNED, [0.9] * 4, prompt=None)
    found = members(make_scores(BASE, [0.5] * 4), patchy, free)
    assert found["base"] == (True, 1.0)
    # A resample that draws neither of its questions says nothing about it.
    assert found["rag"] == (True, 1.0)
    assert not found["tuned"][0]
    assert found["tuned"][1] == pytest.approx(1 / 16, abs=0.03)


def test_one_document_says_nothing_about_the_next() -> None:
    card = replace(make_card(make_scores(BASE, [1.0, 0.0])), clusters=("d", "d"))
    (member,) = pareto_front(make_table(card, POLICY))
    assert (member.is_on_front, member.share) == (True, None)


def test_the_front_comes_first_and_is_the_same_at_every_run() -> None:
    card = make_card(make_scores(RAG, [0.2, 0.9, 0.4], prompt=500), make_scores(BASE, [0.4, 0.6, 0.5]))
    assert [m.arm for m in pareto_front(make_table(card, POLICY))] == ["base", "rag"]
    assert pareto_front(make_table(card, POLICY)) == pareto_front(make_table(card, POLICY))


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1, max_size=6),
    st.lists(st.integers(1, 500), min_size=3, max_size=3),
)
def test_shares_lie_in_0_to_1_and_somebody_is_on_every_front(
    rows: list[tuple[float, float, float]], tokens: list[int]
) -> None:
    columns = list(zip(*rows, strict=True))
    arms = [
        make_scores(arm, column, prompt=n) for arm, column, n in zip((BASE, RAG, TUNED), columns, tokens, strict=True)
    ]
    found = members(*arms)
    assert any(is_on_front for is_on_front, _ in found.values())
    shares = [share for _, share in found.values() if share is not None]
    assert all(0 <= share <= 1 for share in shares)
    assert not shares or sum(shares) >= 1 - 1e-9


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6))
def test_an_arm_is_off_the_front_only_if_another_beats_it(points: list[tuple[float, float, float]]) -> None:
    front = on_front(np.array([points]))[0]
    for i, point in enumerate(points):
        beaten = any(all(b <= a for a, b in zip(point, other, strict=True)) and other != point for other in points)
        assert front[i] == (not beaten)
