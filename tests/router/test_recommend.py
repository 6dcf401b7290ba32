import json

import pytest

from router.arm import Arm
from router.errors import RouterError
from router.recommend import Policy, recommend
from router.scorecard import ArmScores, Scorecard


def scores(arm: Arm, values: list[float | None], *, tokens: int = 50, latency_ms: float = 10.0) -> ArmScores:
    n = len(values)
    return ArmScores(
        arm=arm,
        scores={"token_f1": tuple(values)},
        latency_ms=(latency_ms,) * n,
        prompt_tokens=(tokens,) * n,
        generated_tokens=(5,) * n,
    )


def card(*arms: ArmScores) -> Scorecard:
    n = len(arms[0].latency_ms)
    return Scorecard(tuple(f"q{i}" for i in range(n)), tuple(f"d{i}" for i in range(n)), "token_f1", arms)


BASE, RAG, TUNED = Arm("base"), Arm("rag", index="docs"), Arm("tuned", adapter="a@1")


def test_a_clear_lead_is_a_winner() -> None:
    decision = recommend(card(scores(BASE, [0.0] * 40), scores(RAG, [1.0] * 30 + [0.0] * 10)), Policy())
    assert (decision.arm, decision.verdict, decision.runner_up) == ("rag", "winner", "base")
    assert decision.margin == 0.75
    assert decision.confidence > 0.999
    assert decision.more_questions == 0
    assert "significantly better than base (+0.75" in decision.reason
    assert "retrieval alone moves base by +0.75" in decision.reason


def test_equivalent_arms_tie_and_the_cheapest_is_served() -> None:
    near = [0.5, 0.505] * 100
    decision = recommend(
        card(scores(RAG, near, tokens=400), scores(TUNED, [0.5] * 200, tokens=40)), Policy(margin=0.03)
    )
    assert (decision.verdict, decision.arm, decision.runner_up) == ("tie", "tuned", "rag")
    assert decision.margin == pytest.approx(-0.0025)
    assert decision.cost_per_1k["tuned"] < decision.cost_per_1k["rag"]


def test_a_small_uncertain_lead_is_undecided_and_says_how_many_more() -> None:
    a, b = [1.0, 0.0, 1.0, 0.0, 1.0] * 4, [0.0, 1.0, 1.0, 0.0, 1.0] * 4
    a[1] = 1.0
    decision = recommend(card(scores(RAG, a), scores(TUNED, b)), Policy())
    assert (decision.verdict, decision.arm) == ("undecided", "rag")
    assert decision.more_questions > 20
    assert f"about {decision.more_questions} more questions" in decision.reason
    assert 0.3 < decision.confidence < 1.0


def test_until_it_is_settled_a_lead_below_the_margin_is_not_paid_for() -> None:
    leader, rival = [1.0] * 20 + [0.0] * 20, [0.0] + [1.0] * 20 + [0.0] * 19
    grid = card(scores(RAG, leader, tokens=400), scores(TUNED, rival, tokens=40), scores(BASE, [0.0] * 40, tokens=40))
    decision = recommend(grid, Policy(margin=0.05))
    assert (decision.verdict, decision.arm, decision.margin) == ("undecided", "tuned", 0.0)
    dearer = recommend(card(scores(RAG, leader), scores(TUNED, [0.0] * 3 + leader[3:], tokens=40)), Policy(margin=0.05))
    assert (dearer.verdict, dearer.arm) == ("undecided", "rag")
    nearer = recommend(
        card(scores(RAG, leader, tokens=400), scores(TUNED, [0.0, *leader[1:]], tokens=40)), Policy(margin=0.05)
    )
    assert (nearer.verdict, nearer.arm, nearer.runner_up) == ("undecided", "tuned", "rag")
    assert "of the arms within 0.05 of rag, the cheapest is served" in nearer.reason


def test_one_open_rival_is_enough_to_be_undecided() -> None:
    leader = [1.0] * 20 + [0.0] * 20
    rival = [1.0] * 19 + [0.0] * 20 + [1.0]
    decision = recommend(card(scores(RAG, leader), scores(TUNED, rival), scores(BASE, [0.0] * 40)), Policy())
    assert decision.verdict == "undecided"
    assert {c.other: c.standing for c in decision.comparisons} == {"tuned": "open", "base": "beaten"}


def test_peers_are_corrected_for_by_holm() -> None:
    # 6 wins to 0 is p = 0.031 alone; among two comparisons of the same strength it is 0.0625.
    leader, other = [1.0] * 6 + [0.0] * 24, [0.0] * 30
    alone = recommend(card(scores(RAG, leader), scores(BASE, other)), Policy())
    among = recommend(card(scores(RAG, leader), scores(BASE, other), scores(TUNED, other)), Policy())
    assert (alone.verdict, among.verdict) == ("winner", "undecided")


def test_a_hard_limit_excludes_by_name_and_number() -> None:
    grid = card(scores(BASE, [0.2] * 20), scores(RAG, [0.9] * 20, latency_ms=900.0))
    decision = recommend(grid, Policy(max_latency_ms=500.0))
    assert decision.arm == "base"
    assert decision.excluded == {"rag": "median latency 900 ms is over the limit of 500 ms"}


def test_a_policy_that_nothing_satisfies_names_every_reason() -> None:
    grid = card(scores(BASE, [0.2] * 5), scores(RAG, [None] * 5))
    with pytest.raises(RouterError, match=r"base: median latency 10 ms .*; rag: no question was scored"):
        recommend(grid, Policy(max_latency_ms=1.0))


def test_arms_that_share_no_scored_question_stay_open() -> None:
    grid = card(scores(BASE, [1.0, 1.0, None, None]), scores(RAG, [None, None, 0.0, 0.0]))
    decision = recommend(grid, Policy())
    assert decision.verdict == "undecided"
    assert decision.confidence == 0.0


def test_missing_scores_are_left_out_in_pairs() -> None:
    grid = card(scores(BASE, [0.0] * 10 + [None] * 10), scores(RAG, [1.0] * 19 + [None]))
    comparison = recommend(grid, Policy()).comparisons[0]
    assert comparison.difference.num_pairs == 10


def test_questions_about_one_document_settle_nothing_and_survive_json() -> None:
    grid = Scorecard(("q1", "q2"), ("d", "d"), "token_f1", (scores(BASE, [0.2, 0.3]), scores(RAG, [0.9, 0.8])))
    decision = recommend(grid, Policy())
    assert decision.verdict == "undecided"
    assert "NaN" not in json.dumps(decision.to_dict(), allow_nan=False)


def test_the_lead_is_measured_on_shared_questions() -> None:
    grid = card(scores(BASE, [0.0, 0.5, 0.5, None]), scores(RAG, [None, 1.0, 1.0, 1.0]))
    decision = recommend(grid, Policy())
    assert decision.margin == 0.5 == decision.comparisons[0].difference.mean


def test_a_single_arm_wins_without_a_runner_up() -> None:
    decision = recommend(card(scores(BASE, [0.5] * 10)), Policy())
    assert (decision.arm, decision.verdict, decision.runner_up, decision.margin) == ("base", "winner", None, 0.0)
