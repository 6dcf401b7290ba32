import json
from dataclasses import asdict, replace

import pytest

from router.answering.arm import Arm
from router.deciding import recommend as recommending
from router.deciding.arm_table import make_table
from router.deciding.decision import Decision, Trade
from router.deciding.policy import Limits, Policy, Prices, Traffic, Utility
from router.deciding.scorecard import ArmScores, Drop, RaceRecord, Scorecard
from router.errors import RouterError


def recommend(scorecard: Scorecard, policy: Policy) -> Decision:
    return recommending.recommend(make_table(scorecard, policy))


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


@pytest.mark.parametrize("num", [2, 10, 30])
def test_a_few_questions_that_both_get_right_are_no_tie(num: int) -> None:
    decision = recommend(card(scores(RAG, [1.0] * num), scores(TUNED, [1.0] * num)), Policy(margin=0.05))
    assert decision.verdict == "undecided"


def test_equivalence_is_corrected_for_the_number_of_arms() -> None:
    # Eight of 300 questions one way, seven the other: p is 0.02 to be at the margin, which is not below 0.05 / 5.
    leader = [1.0] * 9 + [0.0] * 291
    rivals = [[1.0, *[0.0] * 8, *[1.0] * 7, *[0.0] * 284] for _ in range(5)]
    arms = [Arm(f"arm{i}", adapter=f"a@{i}") for i in range(5)]
    alone = recommend(card(scores(RAG, leader), scores(BASE, rivals[0])), Policy(margin=0.03))
    among = recommend(card(scores(RAG, leader), *map(scores, arms, rivals)), Policy(margin=0.03))
    for decision, standing in ((alone, "equivalent"), (among, "open")):
        assert {c.standing for c in decision.comparisons} == {standing}
        assert decision.comparisons[0].difference is not None
        assert 0.01 < decision.comparisons[0].difference.p_equivalent < 0.05
    assert (alone.verdict, among.verdict) == ("tie", "undecided")


def test_a_small_uncertain_lead_is_undecided_and_says_how_many_more() -> None:
    a, b = [1.0, 0.0, 1.0, 0.0, 1.0] * 4, [0.0, 1.0, 1.0, 0.0, 1.0] * 4
    a[1] = 1.0
    decision = recommend(card(scores(RAG, a), scores(TUNED, b)), Policy())
    assert (decision.verdict, decision.arm) == ("undecided", "rag")
    better, equal = decision.to_tell_apart, decision.to_call_equal
    assert better is not None
    assert equal is not None
    assert 20 < better.low < better.high
    assert decision.more_questions == max(better.high, equal.high)
    assert f"{better.low:,} to {better.high:,} more questions would show which is better or" in decision.reason
    assert 0.3 < decision.confidence < 1.0


def test_what_shows_that_two_arms_are_equal_does_not_depend_on_which_is_cheaper() -> None:
    leader, rival = [1.0] * 30 + [0.0] * 70, [0.0] * 9 + [1.0] * 21 + [1.0] * 6 + [0.0] * 64
    ways = [
        recommend(card(scores(RAG, leader, tokens=a), scores(TUNED, rival, tokens=b)), Policy()).to_call_equal
        for a, b in ((400, 40), (40, 400))
    ]
    assert ways[0] is not None
    assert ways[0] == ways[1]


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
    assert "of the arms within 0.05 of rag, tuned is served for a saving of 86%, at an expected loss of 0.03" in (
        nearer.reason
    )
    assert nearer.trade == Trade("rag", pytest.approx(6 / 7), pytest.approx(0.025))


def test_cheaper_by_nothing_does_not_beat_better_by_four_points() -> None:
    # 80 questions: hybrid is right on 26 of them for 273.3 tokens each, tuned_rag on 23 for 272.8.
    hybrid = scores(Arm("hybrid", adapter="b@1", index="docs"), [1.0] * 26 + [0.0] * 54, tokens=2733)
    tuned_rag = scores(Arm("tuned_rag", adapter="a@1", index="docs"), [0.0] * 5 + [1.0] * 23 + [0.0] * 52, tokens=2728)
    decision = recommend(card(hybrid, tuned_rag), Policy())
    assert (decision.verdict, decision.arm, decision.trade) == ("undecided", "hybrid", None)
    keen = recommend(card(hybrid, tuned_rag), Policy(cost_tolerance=0.0))
    assert (keen.arm, keen.trade) == ("tuned_rag", Trade("hybrid", pytest.approx(5 / 2753), pytest.approx(3 / 80)))
    assert "tuned_rag is served for a saving of 0.2%, at an expected loss of 0.04" in keen.reason


def test_a_training_that_is_never_earned_back_does_not_win() -> None:
    # base is right on 55 of 100, tuned on 70; training takes 10 hours at 50, over 1,200 questions.
    base, tuned = scores(BASE, [1.0] * 55 + [0.0] * 45), scores(TUNED, [1.0] * 70 + [0.0] * 30)
    grid = replace(card(base, tuned), training_s={"a@1": 36_000.0})
    policy = Policy(
        prices=Prices(training_hour=50.0), traffic=Traffic(questions=100), utility=Utility(right=1.0, wrong=0.0)
    )
    decision = recommend(grid, policy)
    assert (decision.arm, decision.verdict) == ("base", "winner")
    table = make_table(grid, policy)
    assert table.scale is not None
    found = {row.name: table.scale.to_currency(row.mean) for row in table.rows}
    assert found == {"base": pytest.approx(0.55, abs=1e-4), "tuned": pytest.approx(0.7 - 500 / 1200, abs=1e-4)}
    busy = replace(policy, traffic=Traffic(questions=10_000))
    assert recommend(grid, busy).arm == "tuned"


def test_where_utility_decides_nothing_is_traded() -> None:
    same = [1.0, 0.0] * 100
    grid = card(scores(RAG, same, tokens=400), scores(TUNED, [0.0, *same[1:]], tokens=300))
    decision = recommend(grid, Policy(utility=Utility(right=1.0, wrong=0.0)))
    assert (decision.arm, decision.trade, decision.runner_up) == ("rag", None, "tuned")


def test_the_leader_is_a_rival_of_the_cheaper_arm_that_is_served() -> None:
    leader = [1.0] * 20 + [0.0] * 20
    grid = card(scores(RAG, leader, tokens=400), scores(TUNED, [0.0, *leader[1:]], tokens=40))
    decision = recommend(grid, Policy())
    assert decision.arm == "tuned"
    assert decision.confidence < 0.95


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


def test_a_leader_that_does_not_win_is_called_better_at_the_level_of_all_pairs() -> None:
    # 8 wins to 0 are p = 0.0078. Among three arms there are three pairs, so that it may be said of base: 0.029.
    leader = [1.0] * 20 + [0.0] * 20
    level, behind, far = [0.0, *leader[1:]], [0.0] * 8 + leader[8:], [0.0] * 12 + leader[12:]
    rag, tuned, base = scores(RAG, leader), scores(TUNED, level), scores(BASE, behind)
    three = recommend(card(rag, tuned, base), Policy())
    assert {c.other: (c.standing, c.is_significant) for c in three.comparisons}["base"] == ("beaten", True)
    # Among four there are six, of which five are left after a clearer one: 0.049; among five ten, 0.088.
    arms = [scores(Arm(f"arm{i}", adapter=f"b@{i}"), far) for i in range(2)]
    four, five = (recommend(card(rag, tuned, base, *arms[:num]), Policy()) for num in (1, 2))
    assert {c.other: (c.standing, c.is_significant) for c in four.comparisons}["base"] == ("beaten", True)
    found = {c.other: (c.standing, c.is_significant) for c in five.comparisons}
    assert (found["base"], found["arm0"]) == (("beaten", False), ("beaten", True))
    assert "rag is significantly better than arm0" in five.reason
    assert "rag is ahead of base (+0.20, 95% interval" in five.reason
    # Without the one that is open it is the winner, and significantly better than each.
    winner = recommend(card(rag, base, *arms), Policy())
    assert (winner.verdict, {c.is_significant for c in winner.comparisons}) == ("winner", {True})


def test_a_hard_limit_excludes_by_name_and_number() -> None:
    grid = card(scores(BASE, [0.2] * 20), scores(RAG, [0.9] * 20, latency_ms=900.0))
    decision = recommend(grid, Policy(limits=Limits(latency_ms=500.0)))
    assert decision.arm == "base"
    assert decision.excluded == {"rag": "median latency 900 ms is over the limit of 500 ms"}


def test_an_arm_that_breaks_a_limit_by_chance_is_not_served_but_stays_a_rival() -> None:
    slow = replace(scores(RAG, [1.0] * 20), latency_ms=(100.0,) * 17 + (250.0,) * 3)
    decision = recommend(card(scores(BASE, [0.0] * 20), slow), Policy(limits=Limits(p95_ms=200.0)))
    assert (decision.arm, decision.verdict) == ("base", "undecided")
    assert decision.comparisons[0].other == "rag"
    assert "(as measured; it is not shown, so the arm counts as a rival)" in decision.reason


def test_a_policy_that_nothing_satisfies_names_every_reason() -> None:
    grid = card(scores(BASE, [0.2] * 5), scores(RAG, [None] * 5))
    with pytest.raises(RouterError, match=r"base: median latency 10 ms .*; rag: no question was scored"):
        recommend(grid, Policy(limits=Limits(latency_ms=1.0)))


def part(arm: Arm, values: dict[int, float], *, num: int = 10, tokens: int = 50) -> ArmScores:
    """An arm that was scored on some of the questions only."""
    return scores(arm, [values.get(i) for i in range(num)], tokens=tokens)


def test_arms_that_share_no_scored_question_are_not_equal() -> None:
    # rag has 0.9 on the first five questions, base 0.1 on the others, and base is cheaper.
    grid = card(
        part(RAG, dict.fromkeys(range(5), 0.9), tokens=400), part(BASE, dict.fromkeys(range(5, 10), 0.1), tokens=40)
    )
    decision = recommend(grid, Policy())
    assert (decision.arm, decision.verdict, decision.confidence) == ("rag", "undecided", 0.0)
    assert (decision.runner_up, decision.margin) == (None, 0.0)
    assert (decision.comparisons[0].difference, decision.comparisons[0].standing) == (None, "open")
    assert "rag was never compared with base, for no question was scored for both: about" in decision.reason
    assert "retrieval alone" not in decision.reason
    assert json.loads(json.dumps(asdict(decision)))["comparisons"][0]["difference"] is None


@pytest.mark.parametrize("num_shared", [1, 2, 3])
def test_a_few_shared_questions_make_no_arm_equally_good(num_shared: int) -> None:
    # On the shared questions the two are equal; on its others rag is right and base is wrong.
    shared = dict.fromkeys(range(10, 10 + num_shared), 1.0)
    rag = part(RAG, dict.fromkeys(range(10), 1.0) | shared, num=23, tokens=400)
    base = part(BASE, shared | dict.fromkeys(range(13, 23), 0.0), num=23, tokens=40)
    decision = recommend(card(rag, base), Policy())
    assert (decision.arm, decision.verdict, decision.runner_up) == ("rag", "undecided", "base")


def test_an_arm_that_was_shown_to_be_worse_on_the_few_shared_questions_is_beaten() -> None:
    rag = part(RAG, dict.fromkeys(range(20), 1.0), num=32)
    base = part(BASE, dict.fromkeys(range(12, 32), 0.0), num=32)
    assert recommend(card(rag, base), Policy()).comparisons[0].standing == "beaten"


def test_of_three_arms_the_pair_without_a_shared_question_leaves_it_undecided() -> None:
    right, wrong = dict.fromkeys(range(100), 1.0), dict.fromkeys(range(100), 0.0)
    apart = part(TUNED, dict.fromkeys(range(100, 200), 0.5), num=200, tokens=10)
    grid = card(part(RAG, right, num=200, tokens=400), part(BASE, wrong, num=200), apart)
    # Half of the scores were lost: had they gone against rag, base would not be worse.
    assert {c.standing for c in recommend(grid, Policy()).comparisons} == {"open"}
    grid = replace(grid, undefined=grid.question_ids)
    decision = recommend(grid, Policy())
    assert {c.other: c.standing for c in decision.comparisons} == {"base": "beaten", "tuned": "open"}
    assert (decision.arm, decision.verdict, decision.runner_up) == ("rag", "undecided", "base")
    tied = card(part(RAG, right, num=200, tokens=400), part(BASE, right, num=200), apart)
    tied = replace(tied, undefined=tied.question_ids)
    decision = recommend(tied, Policy())
    assert {c.other: c.standing for c in decision.comparisons} == {"rag": "equivalent", "tuned": "open"}
    assert (decision.arm, decision.verdict) == ("base", "undecided")


def test_arms_of_a_race_that_share_no_scored_question_are_never_settled() -> None:
    rag, tuned = (
        part(RAG, dict.fromkeys(range(20), 0.9), num=40, tokens=400),
        part(TUNED, dict.fromkeys(range(20, 40), 0.1), num=40, tokens=40),
    )
    decision = recommend(raced(rag, tuned, asked={"rag": 40, "tuned": 40}), Policy())
    assert (decision.arm, decision.verdict) == ("rag", "undecided")
    assert decision.comparisons[0].difference is None
    # Shown to be worse than a third arm before, it is beaten, though the leader never met it.
    base = scores(BASE, [0.05] * 40)
    dropped = (Drop("tuned", "base", 40, 0.01),)
    grid = raced(rag, tuned, base, asked={"rag": 40, "tuned": 40, "base": 40}, drops=dropped)
    # It was beaten without the scores that were lost; where there were none to lose, it stays so.
    assert {c.standing for c in recommend(grid, Policy()).comparisons if c.other == "tuned"} == {"open"}
    decision = recommend(replace(grid, undefined=grid.question_ids), Policy())
    found = {c.other: (c.standing, c.beaten_by) for c in decision.comparisons}
    assert found["tuned"] == ("beaten", "base")


def test_the_interval_says_the_level_of_the_error_rate() -> None:
    grid = card(scores(BASE, [0.0] * 40), scores(RAG, [1.0] * 30 + [0.0] * 10))
    assert "90% interval" in recommend(grid, Policy(alpha=0.1)).reason
    assert "95% interval" in recommend(grid, Policy()).reason


def test_more_arms_take_more_questions() -> None:
    leader = [1.0] * 20 + [0.0] * 20
    rivals = [leader[:i] + [0.0] * 6 + leader[i + 6 : 38] + [1.0] * 2 for i in range(5)]
    arms = [Arm(f"arm{i}", adapter=f"a@{i}") for i in range(5)]
    among = recommend(card(scores(RAG, leader), *map(scores, arms, rivals)), Policy())
    alone = recommend(card(scores(RAG, leader), scores(BASE, rivals[0])), Policy())
    assert {c.standing for c in among.comparisons} == {"open"}
    assert among.to_tell_apart is not None
    assert alone.to_tell_apart is not None
    assert alone.to_tell_apart.low < among.to_tell_apart.low < 2 * alone.to_tell_apart.low


def test_looking_again_is_judged_by_evidence_that_may_be_looked_at_for_ever() -> None:
    lead = [1.0] * 10 + [0.0] * 30
    grid = card(scores(RAG, lead), scores(BASE, [0.0] * 40))
    assert recommend(grid, Policy()).verdict == "winner"
    again = recommend(replace(grid, earlier_looks=(20, 30)), Policy())
    assert again.verdict == "undecided"
    difference = again.comparisons[0].difference
    assert difference is not None
    assert difference.test == "anytime e-process"
    assert "some of these questions were decided on before (20, 30)" in again.reason
    clear = card(scores(RAG, [1.0] * 30 + [0.0] * 10), scores(BASE, [0.0] * 40))
    assert recommend(replace(clear, earlier_looks=(20,)), Policy()).verdict == "winner"


def test_missing_scores_are_left_out_in_pairs() -> None:
    grid = card(scores(BASE, [0.0] * 10 + [None] * 10), scores(RAG, [1.0] * 19 + [None]))
    difference = recommend(grid, Policy()).comparisons[0].difference
    assert difference is not None
    assert difference.num_pairs == 10


def test_questions_about_one_document_settle_nothing_and_survive_json() -> None:
    grid = Scorecard(("q1", "q2"), ("d", "d"), "token_f1", (scores(BASE, [0.2, 0.3]), scores(RAG, [0.9, 0.8])))
    decision = recommend(grid, Policy())
    assert decision.verdict == "undecided"
    assert "NaN" not in json.dumps(asdict(decision), allow_nan=False)


def test_the_confidence_in_a_cheaper_arm_is_against_the_leader() -> None:
    rag, tuned = [1.0] * 21 + [0.0] * 19, [0.0] * 20 + [1.0] * 20
    decision = recommend(card(scores(RAG, rag, tokens=400), scores(TUNED, tuned, tokens=40)), Policy(margin=0.05))
    assert decision.arm == "tuned"
    assert decision.confidence < 0.8


def test_given_documents_count_as_a_sample_once_some_will_change() -> None:
    # Three documents, in each of which rag is right on ten questions more.
    base, rag = [0.0] * 60, [1.0, 0.0] * 30
    grid = replace(card(scores(BASE, base), scores(RAG, rag)), clusters=tuple(f"d{i // 20}" for i in range(60)))
    given = replace(grid, documents_given=True)
    changing = Policy(traffic=Traffic(churn=0.2))
    assert recommend(given, Policy()).verdict == "winner"
    assert {recommend(card, policy).verdict for card, policy in ((given, changing), (grid, Policy()))} == {"undecided"}


def test_the_lead_is_measured_on_shared_questions() -> None:
    grid = card(scores(BASE, [0.0, 0.5, 0.5, None]), scores(RAG, [None, 1.0, 1.0, 1.0]))
    decision = recommend(grid, Policy())
    difference = decision.comparisons[0].difference
    assert difference is not None
    assert decision.margin == 0.5 == difference.mean


def test_a_single_arm_wins_without_a_runner_up() -> None:
    decision = recommend(card(scores(BASE, [0.5] * 10)), Policy())
    assert (decision.arm, decision.verdict, decision.runner_up, decision.margin) == ("base", "winner", None, 0.0)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(p95_ms=5.0), "95th percentile of latency 10 ms is over the limit of 5 ms"),
        (Limits(ttft_ms=50.0), "median time to the first token was not measured, which does not keep the limit of 50"),
        (Limits(cost_per_1k=0.001), "cost of 1,000 questions 0.007 is over the limit of 0.001"),
        (Limits(score=0.5), "mean token_f1 0.20 is under the limit of 0.50"),
    ],
)
def test_every_limit_names_itself_and_the_value(limits: Limits, reason: str) -> None:
    with pytest.raises(RouterError, match=reason):
        recommend(card(scores(BASE, [0.2] * 5)), Policy(limits=limits))


def test_training_is_part_of_the_price_at_low_traffic() -> None:
    same = [1.0, 0.0] * 200
    grid = replace(card(scores(RAG, same, tokens=400), scores(TUNED, same, tokens=40)), training_s={"a@1": 3600.0})
    prices = Prices(training_hour=10.0)
    few, many = (Policy(prices=prices, traffic=Traffic(questions=n, months=1)) for n in (100, 1_000_000))
    assert recommend(grid, few).arm == "rag"
    assert recommend(grid, many).arm == "tuned"


def test_values_decide_where_wrong_answers_are_dear() -> None:
    # Both are right on half of the questions; base abstains on the rest, rag is wrong there.
    right = [1.0, 0.0] * 20
    base, rag = scores(BASE, right), scores(RAG, right)
    abstained = tuple(1.0 - value for value in right)
    base = replace(base, scores={**base.scores, "abstained": abstained})
    rag = replace(rag, scores={**rag.scores, "abstained": (0.0,) * 40})
    decision = recommend(card(base, rag), Policy(utility=Utility(right=1.0, wrong=-4.0, abstain=0.0)))
    assert (decision.arm, decision.metric, decision.verdict) == ("base", "utility", "winner")
    assert recommend(card(base, rag), Policy()).metric == "token_f1"


def raced(*arms: ArmScores, asked: dict[str, int], drops: tuple[Drop, ...] = (), held_out: int = 0) -> Scorecard:
    """A race's scorecard: each arm saw its first so many questions, finalists the last `held_out` too."""
    n = len(arms[0].latency_ms)
    shown = []
    for arm in arms:
        is_finalist = asked[arm.arm.name] == n - held_out
        seen = [i < asked[arm.arm.name] or (i >= n - held_out and is_finalist) for i in range(n)]
        column = tuple(v if s else None for v, s in zip(arm.scores["token_f1"], seen, strict=True))
        hidden = tuple(f"q{i}" for i, s in enumerate(seen) if not s)
        shown.append(replace(arm, scores={"token_f1": column}, not_asked=hidden))
    record = RaceRecord(
        ends=(n - held_out,),
        num_raced=n - held_out,
        held_out=tuple(f"q{i}" for i in range(n - held_out, n)),
        drops=drops,
        stopped="one arm left",
        num_answers=sum(n - len(s.not_asked) for s in shown),
        num_possible=n * len(arms),
    )
    return replace(card(*shown), race=record)


def test_a_race_is_decided_by_the_tests_of_a_grid_and_re_estimated_on_untouched_questions() -> None:
    rag, base = [1.0] * 30 + [1.0, 0.0] * 5, [0.0] * 40
    grid = raced(
        scores(BASE, base),
        scores(RAG, rag),
        asked={"base": 30, "rag": 30},
        drops=(Drop("base", "rag", 30, 0.001),),
        held_out=10,
    )
    decision = recommend(grid, Policy())
    assert (decision.arm, decision.verdict, decision.margin) == ("rag", "winner", 1.0)
    difference = decision.comparisons[0].difference
    assert difference is not None
    assert (difference.test, difference.num_pairs) == ("exact McNemar", 30)
    # The held-out questions decided nothing and are less kind: 5 of 10.
    assert decision.held_out is not None
    assert decision.held_out_lead is not None
    assert (decision.held_out.mean, decision.held_out_lead.mean) == (0.5, 0.5)
    assert "80 of 80 answers were needed (100%); it ended with one arm left" in decision.reason


def test_an_arm_that_another_one_beat_early_stays_beaten() -> None:
    # Three questions are too few to beat base by themselves, but tuned was beaten by rag, which says so.
    grid = raced(
        scores(BASE, [0.0] * 30),
        scores(TUNED, [0.0] * 30),
        scores(RAG, [1.0] * 30),
        asked={"base": 30, "tuned": 3, "rag": 30},
        drops=(Drop("tuned", "rag", 3, 0.04), Drop("base", "rag", 30, 0.001)),
    )
    decision = recommend(grid, Policy())
    found = {c.other: (c.standing, c.beaten_by) for c in decision.comparisons}
    assert found["tuned"] == ("beaten", "rag")
    assert found["base"][0] == "beaten"
    # A stricter policy is not content with that evidence.
    assert recommend(grid, Policy(alpha=0.01)).verdict == "undecided"


def test_a_race_that_ran_out_is_undecided_and_says_how_many_more() -> None:
    a, b = [1.0, 1.0, 0.0, 1.0] * 5, [0.0, 1.0, 1.0, 1.0] * 5
    a[2] = 1.0
    decision = recommend(raced(scores(RAG, a), scores(TUNED, b), asked={"rag": 20, "tuned": 20}), Policy())
    assert decision.verdict == "undecided"
    assert decision.more_questions > 20


def test_twins_of_a_race_tie_for_the_cheapest_though_neither_is_beaten() -> None:
    same = [1.0, 0.0] * 150
    grid = raced(scores(RAG, same, tokens=400), scores(TUNED, same, tokens=40), asked={"rag": 300, "tuned": 300})
    decision = recommend(grid, Policy())
    assert (decision.arm, decision.verdict) == ("tuned", "tie")


def test_arms_asked_different_questions_without_a_race_are_refused() -> None:
    partly = replace(scores(RAG, [1.0, None]), not_asked=("q1",))
    with pytest.raises(
        RouterError, match="arm 'rag' was not asked 1 of 2 questions; arms must be evaluated on the same"
    ):
        recommend(card(scores(BASE, [0.0, 0.0]), partly), Policy())


def test_an_arm_that_fails_where_it_would_be_wrong_does_not_win() -> None:
    ids = [f"q{i}" for i in range(100)]
    failing = replace(scores(RAG, [1.0] * 60 + [0.0] * 40), errors=dict.fromkeys(ids[60:], "the engine answered 500"))
    rival = scores(TUNED, [1.0, 1.0, 1.0, 1.0, 0.0] * 20)
    decision = recommend(card(failing, rival), Policy())
    assert (decision.arm, decision.verdict) == ("tuned", "winner")


def test_a_winner_that_unscored_answers_might_overturn_is_undecided() -> None:
    # Right on 60 of the 60 that were scored; the judge failed on 40.
    lucky = scores(RAG, [1.0] * 60 + [None] * 40)
    rival = scores(TUNED, [1.0] * 40 + [0.0] * 20 + [1.0] * 40)
    decision = recommend(card(lucky, rival), Policy())
    assert decision.verdict == "undecided"
    assert "hangs on 40 answers without a score" in decision.reason
    assert decision.more_questions == 0
    # Two of them could not change it.
    decision = recommend(card(scores(RAG, [1.0] * 58 + [None] * 2), scores(TUNED, rival_of(60))), Policy())
    assert (decision.verdict, decision.arm) == ("winner", "rag")


def rival_of(num: int) -> list[float | None]:
    return [1.0] * (num - 20) + [0.0] * 20


def test_a_tie_must_hold_whichever_way_unscored_answers_fall() -> None:
    same: list[float | None] = [1.0, 0.0] * 200
    for gaps in (40, 2):
        few = scores(TUNED, [*same[:-gaps], *[None] * gaps], tokens=40)
        decision = recommend(card(scores(RAG, same, tokens=400), few), Policy())
        assert decision.verdict == ("undecided" if gaps == 40 else "tie")


def test_a_question_that_the_metric_says_nothing_of_overturns_nothing() -> None:
    grid = card(scores(RAG, [1.0] * 60 + [None] * 40), scores(TUNED, [*rival_of(60), *[None] * 40]))
    undefined = replace(grid, undefined=grid.question_ids[60:])
    assert recommend(grid, Policy()).verdict == "undecided"
    assert recommend(undefined, Policy()).verdict == "winner"
