from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from fakes.scorecards import make_card

from eval.answers import AnswerRecord, Asked
from eval.errors import EvalError
from eval.questions import Question
from eval.race import Look, RacePlan, plan_race, run_race
from eval.settings import RaceSettings
from router.answering.arm import Arm
from router.deciding.arm_table import make_table
from router.deciding.policy import Limits, Policy
from router.deciding.racing import Ruling, look
from router.deciding.scorecard import Drop


def make_questions(n: int, *, a_document: int = 1) -> list[Question]:
    return [Question(f"q{i}", f"question {i}?", ("gold",), (f"d{i // a_document}",)) for i in range(n)]


class Arms:
    """Arms whose score on a question is a function of its number; counts what was asked."""

    def __init__(self, **right_until: int) -> None:
        self.right_until, self.plan, self.policy = right_until, None, Policy()
        self.asked: list[tuple[str, str]] = []

    @property
    def arms(self) -> list[Arm]:
        return [Arm(name) for name in self.right_until]

    def ask(self, arms: Sequence[Arm], questions: Sequence[Question]) -> list[AnswerRecord]:
        self.asked += [(arm.name, q.id) for arm in arms for q in questions]
        return [
            AnswerRecord(arm.name, q.id, "", prompt_tokens=9, generated_tokens=1) for arm in arms for q in questions
        ]

    def look(self, seen: Asked, active: Sequence[str]) -> Look:
        asked = {(record.arm, record.question_id) for record in seen.records}
        columns = {
            name: [float(int(q.id[1:]) % 10 < limit) for q in seen.questions if (name, q.id) in asked]
            for name, limit in self.right_until.items()
        }
        table = make_table(make_card(columns, clusters=[q.cluster for q in seen.questions]), self.policy)
        assert self.plan is not None
        return Look(look(table, active, ends=self.plan.ends), cost=0.01 * len(seen.records))

    def race(self, plan: RacePlan) -> Asked:
        self.plan = plan
        return run_race(self.arms, plan, self.ask, self.look, clock=lambda: 0.0)


def test_bad_arms_drop_out_and_only_finalists_see_the_held_out_questions() -> None:
    arms = Arms(base=0, rag=4, hybrid=9)
    plan = plan_race(make_questions(200), RaceSettings(batch=10, held_out=0.25))
    raced = arms.race(plan)
    assert raced.race.stopped == "one arm left"
    assert {drop.arm for drop in raced.race.drops} == {"base", "rag"}
    assert raced.race.num_answers == len(arms.asked) == len(raced.records)
    assert raced.race.num_possible == 600
    assert raced.race.num_answers < 0.5 * 600
    assert len(raced.race.held_out) == 50
    held = set(raced.race.held_out)
    assert {name for name, question in arms.asked if question in held} == {"hybrid", "rag"}
    assert [q.id for q in raced.questions[raced.race.num_raced :]] == list(raced.race.held_out)
    assert len({q.id for q in raced.questions}) == len(raced.questions)


def test_twins_spend_all_questions_and_stay_undecided() -> None:
    raced = Arms(a=5, b=5).race(plan_race(make_questions(40), RaceSettings(batch=10)))
    assert (raced.race.stopped, raced.race.drops) == ("questions spent", ())
    assert raced.race.num_raced == 40


def test_the_order_follows_from_the_questions_and_not_from_the_file() -> None:
    questions = make_questions(50)
    first, again = plan_race(questions, RaceSettings()), plan_race(questions[::-1], RaceSettings())
    assert first == again
    assert first.batches[0] != tuple(questions[:5])
    other = [replace(questions[0], text="something else?"), *questions[1:]]
    assert [q.id for q in plan_race(other, RaceSettings()).batches[0]] != [q.id for q in first.batches[0]]


@pytest.mark.parametrize(("num", "size"), [(30, 2), (148, 2), (150, 5), (300, 10), (600, 20), (5000, 20)])
def test_a_batch_is_a_thirtieth_of_the_questions_within_bounds(num: int, size: int) -> None:
    plan = plan_race(make_questions(num), RaceSettings())
    assert {len(batch) for batch in plan.batches} == {size}
    assert plan.held_out == ()


def test_when_every_arm_breaks_a_limit_the_race_ends() -> None:
    arms = Arms(a=5, b=5)
    arms.policy = Policy(limits=Limits(latency_ms=1.0))
    raced = arms.race(plan_race(make_questions(200), RaceSettings()))
    assert raced.race.stopped == "no arm left"
    assert raced.race.num_raced < 50


OUT = Drop("base", "hybrid", 3, 0.01)


def scripted(*rulings: Ruling, **caps: Any) -> tuple[Asked, Arms, list[list[str]]]:
    """A race of three arms over 12 questions whose looks say what is given, then nothing; and who was active."""
    arms, said, active = Arms(base=0, rag=0, hybrid=0), iter(rulings), list[list[str]]()
    plan = plan_race(make_questions(12), RaceSettings(**caps))

    def look(seen: Asked, names: Sequence[str]) -> Look:
        active.append(list(names))
        return Look(replace(next(said, Ruling()), ranking=("hybrid", "rag", "base")), 0.0)

    return run_race(arms.arms, plan, arms.ask, look, clock=lambda: 0.0), arms, active


def test_what_was_beaten_by_an_arm_that_is_shown_to_break_a_limit_is_asked_what_it_missed() -> None:
    raced, arms, active = scripted(Ruling(drops=(OUT,)), Ruling(excluded=("hybrid",), ruled_out=("hybrid",)))

    assert active == [["base", "rag", "hybrid"], ["rag", "hybrid"], *[["base", "rag"]] * 5]
    assert raced.race.drops == ()
    assert raced.race.num_answers == len(set(arms.asked)) == len(arms.asked) == 2 * 12 + 4


def test_one_beaten_by_an_arm_that_may_not_be_served_comes_back_only_at_the_end() -> None:
    unfit = Ruling(excluded=("hybrid",))
    raced, arms, active = scripted(Ruling(drops=(OUT,)), *[unfit] * 5)

    assert active == [["base", "rag", "hybrid"], *[["rag", "hybrid"]] * 5, ["base", "rag", "hybrid"]]
    assert (raced.race.drops, raced.race.stopped) == ((), "questions spent")
    assert raced.race.num_answers == len(set(arms.asked)) == len(arms.asked) == 3 * 12


def test_a_budget_without_room_for_what_was_missed_is_not_exceeded() -> None:
    # 6 answers of the first batch and 4 of the second, and base would be asked 2 more.
    given = (Ruling(drops=(OUT,)), Ruling(ruled_out=("hybrid",)))
    raced, _, _ = scripted(*given, max_tokens=10 * 11)

    assert (raced.race.stopped, raced.race.budget, raced.race.num_answers) == ("budget spent", "tokens", 10)
    assert raced.race.drops == (OUT,)


@pytest.mark.parametrize("most", range(9, 40))
def test_no_budget_is_exceeded_by_arms_that_come_back_or_by_what_is_held_out(most: int) -> None:
    given = (Ruling(drops=(OUT,)), Ruling(ruled_out=("hybrid",)))
    raced, arms, _ = scripted(*given, held_out=0.4, max_tokens=10 * most)

    assert raced.race.num_answers == len(arms.asked) <= most
    # What was not held out in the end is not said to be.
    assert set(raced.race.held_out) <= {question for _, question in arms.asked}
    assert [question.id for question in raced.questions[raced.race.num_raced :]] == list(raced.race.held_out)


def test_no_document_is_in_two_places() -> None:
    plan = plan_race(make_questions(90, a_document=4), RaceSettings(batch=10, held_out=0.3))
    places: dict[str, set[int]] = {}
    for place, questions in enumerate([*plan.batches, plan.held_out]):
        for question in questions:
            places.setdefault(question.cluster, set()).add(place)
    assert all(len(found) == 1 for found in places.values())
    assert plan.num_questions == 90
    assert plan.largest == 4
    assert 0 < len(plan.held_out) <= 27


@pytest.mark.parametrize("n", [1, 2])
def test_a_handful_of_questions_is_one_batch_with_nothing_held_out(n: int) -> None:
    plan = plan_race(make_questions(n), RaceSettings(batch=20))
    assert (len(plan.batches), plan.held_out) == (1, ())
    assert Arms(a=9, b=0).race(plan).race.num_answers == 2 * n


def test_a_budget_below_one_batch_is_refused() -> None:
    with pytest.raises(EvalError, match=r"race.max_questions \(1\) is smaller than one batch of 2; raise it"):
        plan_race(make_questions(100), RaceSettings(batch=20, max_questions=1))


def test_a_document_larger_than_the_budget_is_refused() -> None:
    with pytest.raises(EvalError, match="no document's questions fit"):
        plan_race(make_questions(100, a_document=100), RaceSettings(batch=20, max_questions=30))


def test_a_budget_of_questions_counts_the_held_out_ones() -> None:
    plan = plan_race(make_questions(200), RaceSettings(batch=10, max_questions=40))
    assert plan.num_questions == 40
    assert len({q.id for q in Arms(a=5, b=5).race(plan).questions}) <= 40


@pytest.mark.parametrize(("caps", "name"), [({"max_tokens": 1200}, "tokens"), ({"max_cost": 1.2}, "cost")])
def test_a_budget_is_never_exceeded_and_is_named(caps: dict[str, Any], name: str) -> None:
    # An answer is 10 tokens and 0.01: 120 answers fit, held-out ones included.
    raced = Arms(a=5, b=5).race(plan_race(make_questions(200), RaceSettings(batch=10, held_out=0.1, **caps)))
    assert (raced.race.stopped, raced.race.budget) == ("budget spent", name)
    assert 80 <= raced.race.num_answers <= 120


def test_minutes_run_out() -> None:
    ticks = iter(range(0, 10_000, 30))
    arms = Arms(a=5, b=5)
    plan = plan_race(make_questions(200), RaceSettings(batch=10, held_out=0.1, max_minutes=4))
    arms.plan = plan
    raced = run_race(arms.arms, plan, arms.ask, arms.look, clock=lambda: float(next(ticks)))
    assert raced.race.budget == "minutes"
    assert raced.race.num_raced < 100
