from dataclasses import replace

import numpy as np
import pytest
from fakes.scorecards import make_card

from router.deciding.arm_table import make_table
from router.deciding.policy import Limits, Policy
from router.deciding.racing import Ruling, look

ENDS = tuple(range(20, 401, 20))
RIGHT, WRONG = [1.0] * 60, [0.0] * 60


def ruling(columns: dict[str, list[float]], policy: Policy | None = None, **rest: object) -> Ruling:
    table = make_table(make_card(columns, **rest), policy or Policy())  # type: ignore[arg-type]
    return look(
        table, [name for name, column in columns.items() if len(column) == len(table.decided.question_ids)], ends=ENDS
    )


def test_a_beaten_arm_is_dropped_and_says_by_whom() -> None:
    found = ruling({"base": WRONG, "rag": [1.0, 0.0] * 30, "hybrid": RIGHT})
    assert {drop.arm: (drop.beaten_by, drop.after) for drop in found.drops} == {
        "base": ("hybrid", 60),
        "rag": ("hybrid", 60),
    }
    assert all(drop.p_value <= 0.05 for drop in found.drops)
    assert (found.served, found.ranking) == ("hybrid", ("hybrid", "rag", "base"))


def test_an_early_look_needs_more_than_a_late_one() -> None:
    # Ten wins of ten among so many ties: p = 0.002, over the level of the look after 20 of 400 questions.
    early = [1.0] * 10 + [0.5] * 10
    assert ruling({"base": [0.5] * 20, "rag": early}).drops == ()
    late = [1.0] * 10 + [0.5] * 190
    assert [drop.arm for drop in ruling({"base": [0.5] * 200, "rag": late}, Policy(margin=0.01)).drops] == ["base"]


def test_twins_are_settled_for_the_cheapest_once_there_are_enough_questions() -> None:
    same = [1.0, 0.0] * 150
    assert ruling({"cheap": same, "dear": same}).served == "cheap"
    assert ruling({"cheap": same[:20], "dear": same[:20]}).served is None


def test_a_lead_below_the_margin_drops_nobody_who_is_cheaper() -> None:
    # Shown to be better, by 4 points where 5 matter.
    cheap, dear = [0.0] * 16 + [1.0] * 384, [1.0] * 400
    found = ruling({"cheap": cheap, "dear": dear})
    assert (found.drops, found.served) == ((), None)
    # The other way round nothing is paid for the lead.
    assert [drop.arm for drop in ruling({"cheap": dear, "dear": cheap}).drops] == ["dear"]


def test_one_arm_that_breaks_a_limit_by_chance_is_raced_on() -> None:
    slow = {"rag": [100.0] * 17 + [250.0] * 3}
    policy = Policy(limits=Limits(p95_ms=200.0))
    found = ruling({"base": [1.0, 0.0] * 10, "rag": [1.0] * 20}, policy, latency_ms=slow)
    assert (found.ruled_out, found.served) == ((), None)
    better = ruling({"base": WRONG, "rag": RIGHT}, policy, latency_ms={"rag": [100.0] * 56 + [250.0] * 4})
    # rag may not be served as measured, so that nobody is dropped for it, and it stays a rival.
    assert (better.excluded, better.ruled_out, better.drops, better.served) == (("rag",), (), (), None)


def test_the_best_arm_that_keeps_every_limit_drops_the_others() -> None:
    policy = Policy(limits=Limits(p95_ms=200.0))
    columns = {"base": WRONG, "rag": RIGHT[:50] + WRONG[:10], "hybrid": RIGHT}
    found = ruling(columns, policy, latency_ms={"hybrid": [100.0] * 56 + [250.0] * 4})
    assert [(drop.arm, drop.beaten_by) for drop in found.drops] == [("base", "rag")]


def test_an_arm_that_is_shown_to_break_a_limit_leaves_the_race() -> None:
    policy = Policy(limits=Limits(latency_ms=50.0))
    found = ruling({"base": [0.0] * 20, "rag": [1.0] * 20}, policy, latency_ms={"rag": [100.0] * 20})
    assert (found.ruled_out, found.served) == (("rag",), "base")
    assert found.ranking == ("base", "rag")  # what may be served comes first


def test_when_every_arm_is_ruled_out_a_look_still_says_so() -> None:
    found = ruling({"base": WRONG, "rag": RIGHT}, Policy(limits=Limits(latency_ms=1.0)))
    assert set(found.ruled_out) == {"base", "rag"}
    assert (found.drops, found.served) == ((), None)


def test_arms_that_were_dropped_before_come_last() -> None:
    found = ruling({"base": [1.0] * 20, "rag": [1.0, 0.0] * 30, "hybrid": [0.0, 1.0] * 30})
    assert found.ranking[-1] == "base"


@pytest.mark.slow
def test_racing_twins_keeps_the_error_rate() -> None:
    rng = np.random.default_rng(2)
    wrong = 0
    for _ in range(300):
        columns = {name: list((rng.random(400) < 0.5).astype(float)) for name in ("a", "b")}
        for end in ENDS:
            found = ruling({name: column[:end] for name, column in columns.items()})
            if found.served is not None:
                wrong += bool(found.drops)
                break
    assert wrong <= 23  # 15 expected at most; 23 is two standard errors above


def test_a_level_that_was_not_planned_is_no_level() -> None:
    table = make_table(make_card({"base": [0.0] * 10, "rag": [1.0] * 10}), Policy())
    assert look(table, ["base", "rag"], ends=ENDS).drops == ()
    assert look(replace(table), ["base", "rag"], ends=(10, 20)).drops != ()


@pytest.mark.parametrize(("num_lost", "is_out"), [(3, False), (12, True)])
def test_an_arm_is_out_only_when_more_than_bad_luck_left_it_without_a_score(num_lost: int, is_out: bool) -> None:
    card = make_card({"base": [1.0, 0.0] * 6, "rag": [1.0] * 12})
    card = card.part(range(num_lost))
    card = replace(card, arms=(card.arms[0], replace(card.arms[1], scores={"exact_match": (None,) * num_lost})))
    found = look(make_table(card, Policy()), ["base", "rag"], ends=ENDS)
    assert (found.excluded, found.ruled_out) == (("rag",), ("rag",) if is_out else ())
    assert found.served == ("base" if is_out else None)


def test_questions_of_which_a_metric_says_nothing_rule_no_arm_out() -> None:
    card = make_card({"base": [0.0] * 12, "rag": [0.0] * 12})
    lost = tuple(replace(scores, scores={"exact_match": (None,) * 12}) for scores in card.arms)
    found = look(
        make_table(replace(card, arms=lost, undefined=card.question_ids), Policy()), ["base", "rag"], ends=ENDS
    )
    assert (found.ruled_out, found.served) == ((), None)


def test_after_an_earlier_look_no_arm_drops_out() -> None:
    card = make_card({"base": WRONG, "rag": RIGHT})
    assert look(make_table(card, Policy()), ["base", "rag"], ends=ENDS).served == "rag"
    again = look(make_table(replace(card, earlier_looks=(40,)), Policy()), ["base", "rag"], ends=ENDS)
    assert (again.drops, again.served) == ((), None)


def test_a_drop_says_by_what() -> None:
    assert [drop.metric for drop in ruling({"base": WRONG, "rag": RIGHT}).drops] == ["exact_match"]
