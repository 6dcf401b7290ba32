import asyncio

import pytest

from eval.errors import EvalError
from eval.tasks import first_error, run_all, run_anywhere


async def after(seconds: float, value: int, error: Exception | None = None) -> int:
    await asyncio.sleep(seconds)
    if error is not None:
        raise error
    return value


async def test_results_stand_in_the_order_of_the_works() -> None:
    assert await run_all([after(0.01, 1), after(0, 2)]) == [1, 2]
    assert await run_all([]) == []


async def test_the_first_failure_stops_the_others_and_is_raised_by_itself() -> None:
    done: list[int] = []

    async def slow() -> int:
        await asyncio.sleep(20)
        done.append(1)
        return 1

    with pytest.raises(ZeroDivisionError):
        await run_all([slow(), after(0, 0, ZeroDivisionError())])
    assert not done


def test_what_fails_where_nobody_waits_is_not_printed_beside_the_result(capfd: pytest.CaptureFixture[str]) -> None:
    async def leaves_a_task() -> int:
        task = asyncio.get_running_loop().create_task(after(0, 0, ZeroDivisionError()))
        await asyncio.sleep(0.01)
        assert task.done()
        return 3

    assert run_anywhere(leaves_a_task) == 3
    assert capfd.readouterr().err == ""


def test_of_a_group_a_stop_comes_first_then_an_error_for_the_user() -> None:
    ours, other, stop = EvalError("ours"), ValueError("other"), KeyboardInterrupt()
    assert first_error(other) is other
    assert first_error(ExceptionGroup("", [other, ExceptionGroup("", [ours])])) is ours
    assert first_error(BaseExceptionGroup("", [ours, BaseExceptionGroup("", [stop])])) is stop
    assert first_error(ExceptionGroup("", [other])) is other
