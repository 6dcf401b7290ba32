"""Things done at once, and from where nothing waits.

results = await run_all(ask(row) for row in rows)    the first that fails ends all
results = run_anywhere(lambda: ask_them(rows))
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from storage.errors import ArbiterError

T = TypeVar("T")
_log = logging.getLogger("arbiter.tasks")


async def run_all(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Every result, in the order of the works. When one fails, the others are stopped and its exception is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as stopped:
        raise first_error(stopped) from None
    return [task.result() for task in tasks]


def run_anywhere(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of asynchronous work, wherever it is asked for: a notebook runs an event loop of its own."""

    async def alone() -> T:
        asyncio.get_running_loop().set_exception_handler(_note)
        return await work()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(alone())
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(alone())).result()


def _note(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What fails where nobody waits for it, such as a connection that is closed twice when a failure stops the work:
    the failure itself is told, and beside it asyncio would print this as a traceback.
    """
    _log.debug("%s", context.get("message"), exc_info=context.get("exception"))


def first_error(error: BaseException) -> BaseException:
    """The exception of a group, however deep, that says most to a person: a stop, else one of ours, else the first."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    found = [first_error(inner) for inner in error.exceptions]
    return min(found, key=lambda inner: (isinstance(inner, Exception), not isinstance(inner, ArbiterError)))
