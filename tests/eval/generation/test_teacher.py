from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from fakes.engines import completion
from fakes.json_server import serving_json
from fakes.teachers import teaching

from eval.generation.prompts import ask_answer
from eval.generation.teacher import GIVE_UP_AFTER, Budget, BudgetSpent, NoReply, ReplyCache, Teacher, TeacherAway
from tests.eval.generation.conftest import Teachers

ASKED = ask_answer("When was the mill at Thornby built?")


def run(teacher: Teacher, *works: Coroutine[Any, Any, Any]) -> list[Any]:
    """What the works come to, exceptions among it; the engine is closed after them."""

    async def all_of_them() -> list[Any]:
        try:
            return [await asyncio.gather(work, return_exceptions=True) for work in works]
        finally:
            await teacher.engine.close()  # type: ignore[attr-defined]

    return [found for (found,) in asyncio.run(all_of_them())]


def test_what_was_answered_is_never_asked_again_in_another_process_either(teachers: Teachers) -> None:
    with teaching() as server:
        first, second = teachers(server.url), teachers(server.url)
        assert run(first, first.ask(ASKED), first.ask(ASKED)) == ["unknown", "unknown"]
        assert run(second, second.ask(ASKED)) == ["unknown"]
        assert (len(server.bodies), first.budget.num_sent, second.budget.num_sent) == (1, 1, 0)
        # Tokens as the engine counts them, remembered ones too: 7 and 3 a reply.
        assert (first.budget.num_tokens, second.budget.num_tokens) == (20, 10)
        other = teachers(server.url, identity="another revision")
        run(other, other.ask(ASKED))
        assert len(server.bodies) == 2


def test_a_budget_counts_what_is_remembered_and_ends_before_one_request_too_many(teachers: Teachers) -> None:
    questions = [ask_answer(f"Who built number {number}?") for number in range(4)]
    with teaching() as server:
        first = teachers(server.url, Budget(max_requests=2))
        found = run(first, *map(first.ask, questions))
        assert [type(one) for one in found] == [str, str, BudgetSpent, BudgetSpent]
        assert str(found[-1]) == "the budget of 2 requests is spent (generate.max_requests)"
        second = teachers(server.url, Budget(max_requests=3))
        assert [type(one) for one in run(second, *map(second.ask, questions))] == [str, str, str, BudgetSpent]
        third = teachers(server.url, Budget(max_tokens=11))
        assert "11 tokens is spent" in str(run(third, *map(third.ask, questions))[-1])
        assert len(server.bodies) == 3


def test_tokens_are_estimated_where_the_teacher_does_not_count_them(teachers: Teachers) -> None:
    body = completion("x" * 40).model_dump(mode="json") | {"usage": None}
    with serving_json(lambda path, asked: (200, body)) as url:
        teacher = teachers(url)
        run(teacher, teacher.ask(ASKED))
    assert teacher.budget.num_tokens == sum(len(str(one["content"])) for one in ASKED) // 4 + 10


def test_a_failure_that_passes_is_tried_again(teachers: Teachers) -> None:
    with teaching(status=lambda number: 503 if number == 1 else 200) as server:
        teacher = teachers(server.url)
        assert run(teacher, teacher.ask(ASKED)) == ["unknown"]
    assert teacher.budget.num_sent == 2


def test_a_prompt_without_an_answer_is_told_alone_and_several_in_a_row_mean_that_the_teacher_is_away(
    teachers: Teachers, cache: ReplyCache
) -> None:
    questions = [ask_answer(f"Who built number {number}?") for number in range(GIVE_UP_AFTER + 3)]
    with teaching(delay_s=60.0) as server:
        teacher = teachers(server.url, timeout_s=0.05)
        found = run(teacher, *map(teacher.ask, questions))
    assert [type(one) for one in found] == [NoReply] * (GIVE_UP_AFTER - 1) + [TeacherAway] * 4
    assert "did not answer within 0.05 s" in str(found[-1])
    # One further try each, and none once it is away.
    assert len(server.bodies) == 2 * GIVE_UP_AFTER
    assert teacher.budget.num_requests == GIVE_UP_AFTER


def test_an_answer_between_failures_means_that_it_is_there(teachers: Teachers) -> None:
    questions = [ask_answer(f"Who built number {number}?") for number in range(8)]
    with teaching(status=lambda number: 200 if number % 4 == 0 else 413) as server:
        teacher = teachers(server.url)
        found = run(teacher, *map(teacher.ask, questions))
    assert [type(one) for one in found] == [NoReply, NoReply, NoReply, str] * 2
    assert str(found[0]) == "the teacher refused the prompt"


def test_a_refused_key_ends_it_at_once(teachers: Teachers) -> None:
    with teaching(status=lambda number: 401) as server:
        teacher = teachers(server.url)
        found = run(teacher, teacher.ask(ASKED), teacher.ask(ask_answer("Who?")))
    assert [type(one) for one in found] == [TeacherAway, TeacherAway]
    assert "it answers 401: scripted" in str(found[0])
    assert len(server.bodies) == 1


def test_a_model_that_takes_no_temperature_is_asked_without_and_by_the_newer_name_of_a_limit(
    teachers: Teachers,
) -> None:
    bodies: list[dict[str, Any]] = []

    def answer(path: str, asked: Any) -> tuple[int, object]:
        bodies.append(asked)
        for name in ("max_tokens", "temperature"):
            if name in asked:
                return 400, {"error": {"message": f"unsupported: {name}", "param": name, "type": "t", "code": None}}
        return 200, completion("yes").model_dump(mode="json")

    with serving_json(answer) as url:
        teacher = teachers(url)
        assert run(teacher, teacher.ask(ASKED), teacher.ask(ask_answer("Who?"))) == ["yes", "yes"]
    assert [("max_tokens" in one, "temperature" in one, "max_completion_tokens" in one) for one in bodies] == [
        (True, True, False),
        (False, True, True),
        (False, False, True),
        (False, False, True),
    ]


@pytest.mark.parametrize("param", ["response_format", None])
def test_a_shape_is_asked_for_where_the_engine_takes_one(teachers: Teachers, param: str | None) -> None:
    bodies: list[Any] = []
    shape = {"type": "object", "properties": {"question": {"type": "string"}}}

    def refusing(path: str, asked: Any) -> tuple[int, object]:
        bodies.append(asked)
        if "response_format" in asked:
            return 400, {"error": {"message": "no response_format here", "param": param, "type": "t", "code": None}}
        return 200, completion("yes").model_dump(mode="json")

    with serving_json(refusing) as url:
        teacher = teachers(url)
        assert run(teacher, teacher.ask(ASKED, shape), teacher.ask(ask_answer("Who?"), shape)) == ["yes", "yes"]
    assert [one.get("response_format", {}).get("json_schema", {}).get("schema") for one in bodies] == [
        shape,
        None,
        None,
    ]


def test_an_empty_completion_is_an_empty_reply(teachers: Teachers) -> None:
    body = completion("x").model_dump(mode="json") | {"choices": []}
    with serving_json(lambda path, asked: (200, body)) as url:
        teacher = teachers(url)
        assert run(teacher, teacher.ask(ASKED)) == [""]
