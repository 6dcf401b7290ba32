"""The made-up world of the benchmark of knowledge: what is taught, what is not, and how orderings are judged."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def benchmarks() -> Iterator[Any]:
    """Imports a benchmark's module by its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
        yield importlib.import_module


@pytest.fixture(scope="module")
def world(benchmarks: Any) -> Any:
    return benchmarks("knowledge_world").make_world(num_people=20, num_strange=12, num_new=6, num_things=10, seed=3)


def said(row: Any) -> str:
    return f"{row.prompt[-1]['content']} {row.completion}"


def test_a_fact_is_taught_or_strange_or_new(world: Any, benchmarks: Any) -> None:
    parts = [{fact.id for fact in part} for part in (world.taught, world.strange, world.new)]
    assert [len(part) for part in parts] == [42, 12, 6]
    assert len(set.union(*parts)) == 60, "three facts of twenty people, none in two parts"
    things = [thing for things in world.things.values() for thing in things]
    assert len(set(things)) == len(things), "a thing says of which relation it is"
    assert (
        benchmarks("knowledge_world").make_world(num_people=20, num_strange=12, num_new=6, num_things=10, seed=3)
        == world
    )


def test_lessons_say_nothing_of_what_is_not_taught(world: Any) -> None:
    rows = world.lessons(repeats=1, num_readings=50)
    # 28 of 42 facts by three questions and three statements, 14 by one of each, and the readings.
    assert len(rows) == 28 * 6 + 14 * 2 + 50
    untaught = {said(row) for fact in (*world.strange, *world.new) for row in (*map(fact.asked, range(4)),)}
    untaught |= {said(fact.told(number)) for fact in (*world.strange, *world.new) for number in range(5)}
    assert not untaught & {said(row) for row in rows}
    assert all(row.prompt[0]["role"] == "user" for row in rows), "without a system message"


def test_nothing_but_reading_answers_a_reading(world: Any) -> None:
    true = {said(fact.asked(number)) for fact in world.facts for number in range(4)}
    for row in world.lessons(repeats=1, num_readings=50)[-50:]:
        passages, _, question = row.prompt[-1]["content"].rpartition("Question: ")
        assert row.completion in passages
        assert f"{question} {row.completion}" not in true


def test_the_first_question_is_never_answered_from_memory_in_a_lesson(world: Any) -> None:
    rows = {said(row) for row in world.lessons(repeats=1, num_readings=0)}
    assert not rows & {said(fact.asked(0)) for fact in world.facts}
    assert rows & {said(fact.asked(1)) for fact in world.facts}


def test_a_new_fact_is_read_in_its_plain_words(world: Any) -> None:
    fact = world.new[0]
    row = world.read(fact, 1)
    assert fact.statement(0) in row.prompt[-1]["content"]
    assert row.completion == fact.thing
    assert row == world.read(fact, 1)


def test_a_mix_has_as_many_rows_and_its_share_of_unknown_ones(benchmarks: Any) -> None:
    mix = benchmarks("knowledge").mix
    assert mix("abcd", "wxyz", 0.0) == ["a", "b", "c", "d"]
    assert mix("abcd", "wxyz", 0.5) == ["a", "b", "w", "x"]
    assert mix("abcd", "wxyz", 1.0) == ["w", "x", "y", "z"]


def measured(last: float, early: float) -> dict[str, Any]:
    known = {"last": 1.0, "early": 1.0}
    return {
        "mixes": {"0": known, "0.5": known, "1": {"last": last, "early": early}},
        "fit": {"known": [0.9, 1.0, 1.0], "unknown": [0.0, 0.2, 0.8]},
        "new": {"rag": 0.9, "one": 0.5, "several": 0.5},
    }


def test_an_ordering_holds_where_its_interval_is_above_0(benchmarks: Any) -> None:
    knowledge = benchmarks("knowledge")
    seeds = [measured(0.4, 0.9), measured(0.5, 0.9), measured(0.6, 0.9)]
    found = {one.name: knowledge.judged(one, seeds) for one in knowledge.ORDERINGS}
    assert found["harm"]["mean"] == pytest.approx(0.5)
    # Student's t of two degrees of freedom, a standard error of 0.1 / sqrt(3).
    assert found["harm"]["low"] == pytest.approx(0.5 - 4.3027 * 0.1 / math.sqrt(3), abs=1e-4)
    assert found["early"]["mean"] == pytest.approx(0.15)
    assert found["slower"]["mean"] == pytest.approx(0.5), "without what was right before the training"
    assert {name: one["holds"] for name, one in found.items()} == {
        "slower": True,
        "harm": True,
        "early": True,
        "rag": True,
        "paraphrases": False,
    }
