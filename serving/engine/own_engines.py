"""The engines of adapters that have one of their own: each is started when it is first asked, and a few run at a time.

engines = OwnEngines(make, most=2, wait_s=120.0, step=console.step)
engines.expect(adapter)
async with engines.hold(adapter.name) as place:    it is up, and stays so while the block lasts
    ...
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from router.answering.engine import Place
from router.errors import EngineUnavailable
from serving.engine.supervisor import RESTART_DELAYS_S, Supervisor
from serving.engine.vllm import VllmServer
from serving.errors import EngineFailed
from tuning.export.adapters import Adapter

Server = VllmServer | Supervisor
_log = logging.getLogger("arbiter.engine")


@dataclass(eq=False, slots=True)
class _Own:
    """An adapter and its engine: `server` while there is one, `start` the newest one, under way or over, which has a
    place by `deadline` or fails; `trouble` says what keeps it from being up.
    """

    adapter: Adapter
    server: Server | None = None
    start: Future[str] | None = None
    deadline: float = 0.0
    num_held: int = 0
    last_asked: int = 0
    num_failures: int = 0
    retry_at: float = 0.0
    trouble: str = ""


@dataclass(eq=False)
class OwnEngines:
    """At most `most` run at a time, and one more while something is kept; for a further one the idle one ends that was
    asked least recently.

    One thread starts and ends them, one after the other: vLLM refuses a GPU whose free memory changes while it starts.
    What waits for a place keeps nothing from starting that has one, and the place of what is kept is free for it alone.
    A request waits for its engine up to `wait_s`, on the event loop. `make` gives the name of an adapter's program, and
    its engine, not started; `step` shows a start under a title.
    """

    make: Callable[[Adapter], tuple[str, Server]]
    most: int
    wait_s: float
    step: Callable[[str], AbstractContextManager[Any]]
    clock: Callable[[], float] = time.monotonic
    _expected: dict[str, _Own] = field(default_factory=dict, init=False)
    _kept: set[str] = field(default_factory=set, init=False)
    _wanted: list[_Own] = field(default_factory=list, init=False)
    _leaving: list[Server] = field(default_factory=list, init=False)
    _num_starts: int = field(default=0, init=False)
    _order: Iterator[int] = field(default_factory=itertools.count, init=False)
    # Guards all of the above, for moments only: the event loop takes it, too.
    _changed: threading.Condition = field(default_factory=threading.Condition, init=False)
    _worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "own-engines"), init=False)

    def __contains__(self, name: str) -> bool:
        """Whether an adapter of this name can be asked."""
        return name in self._expected

    def expect(self, adapter: Adapter) -> None:
        """From now on it can be asked."""
        with self._changed:
            self._expected.setdefault(adapter.name, _Own(adapter))

    def load(self, adapter: Adapter) -> None:
        """Start its engine now, if it is not up, and keep it. Raises EngineFailed, EngineUnavailable where there is no
        place for it, and what else a start raises.
        """
        self.expect(adapter)
        try:
            with self._changed:
                self._kept.add(adapter.name)
                start = self._begin(self._expected[adapter.name])
            start.result()
        except BaseException:
            with self._changed:
                self._kept.discard(adapter.name)
            raise

    def keep(self, names: Collection[str]) -> None:
        """From now on the engines of these adapters are ended for no other's, and those of all others may be."""
        with self._changed:
            self._kept = {name for name in names if name in self._expected}
            self._changed.notify_all()

    def unload(self, adapter: Adapter) -> None:
        """It cannot be asked any more, and its engine ends; not waited for where another one is just starting."""
        with self._changed:
            self._forget(adapter.name)
            is_waited_for = not self._num_starts
        ended = self._worker.submit(self._end_leaving)
        if is_waited_for:
            ended.result()

    def stop(self) -> None:
        """End all, also one that is just starting. Nothing can be asked after it."""
        with self._changed:
            for name in list(self._expected):
                self._forget(name)
        self._worker.submit(self._end_leaving)
        self._worker.shutdown()

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[Place]:
        """Where an adapter is asked; its engine is started if it is not up, and stays up while the block lasts.

        Raises EngineUnavailable.
        """
        with self._changed:
            if (own := self._expected.get(name)) is None:
                raise EngineUnavailable(f"adapter {name!r} is not loaded any more")
            start = self._begin(own)
            own.num_held += 1
        try:
            yield Place(await self._started(own, start))
        finally:
            with self._changed:
                own.num_held -= 1
                self._changed.notify_all()

    async def _started(self, own: _Own, start: Future[str]) -> str:
        """The address, once it is up. Raises EngineUnavailable."""
        try:
            if not start.done():
                await asyncio.wait_for(asyncio.wrap_future(start), self.wait_s)
            return start.result()
        except EngineUnavailable:
            raise
        except TimeoutError as error:
            late = f"the engine of {own.adapter.name!r} is not up after {self.wait_s:g} s; try again"
            raise EngineUnavailable(own.trouble or late) from error
        except Exception as error:
            raise EngineUnavailable(_trouble(own, error)) from error

    def _begin(self, own: _Own) -> Future[str]:
        """Its start, which may be over; a new one if it is not up. Raises EngineUnavailable soon after a failed one."""
        own.last_asked = next(self._order)
        if own.server is not None and own.server.state == "failed":
            self._let_go(own)
        if own.start is None or (own.start.done() and own.server is None):
            if (delay_s := own.retry_at - self.clock()) > 0:
                raise EngineUnavailable(f"{own.trouble}; it is tried again in {math.ceil(delay_s)} s")
            # Under way from the first: else who waits no longer would cancel it for all.
            own.start = Future()
            own.start.set_running_or_notify_cancel()
            own.deadline, own.trouble = self.clock() + self.wait_s, ""
            self._wanted.append(own)
            self._num_starts += 1
            self._changed.notify_all()
            self._worker.submit(self._work)
        return own.start

    def _work(self) -> None:
        """Start what is wanted, each as soon as there is a place for it."""
        while True:
            self._end_leaving()
            with self._changed:
                if not self._wanted:
                    return
                if self._leaving:
                    continue
                if (own := self._take_wanted()) is None:
                    if not self._leaving:
                        self._changed.wait(min(one.deadline for one in self._wanted) - self.clock())
                    continue
            self._start(own)

    def _take_wanted(self) -> _Own | None:
        """The first that has a place or gets none any more, what is kept before others; None where none has."""
        for own in sorted(self._wanted, key=lambda one: not self._is_kept(one)):
            if self._expected.get(own.adapter.name) is not own or self._has_place(own) or self._is_late(own):
                self._wanted.remove(own)
                return own
            if self._leaving:
                return None
        return None

    def _has_place(self, own: _Own) -> bool:
        """Whether there is a place for one more. Where not, an idle one is to end, or `trouble` says that none is."""
        own.trouble = ""
        others = [one for one in self._expected.values() if one is not own and (one.server or self._is_kept(one))]
        if len(others) < self.most + bool(self._kept):
            return True
        idle = [one for one in others if not one.num_held and not self._is_kept(one)]
        if idle:
            self._let_go(min(idle, key=lambda one: one.last_asked))
        else:
            own.trouble = (
                f"adapter {own.adapter.name!r} needs an engine of its own, and all {len(others)} that may run are "
                "busy; try again, or raise engine.max_own_engines"
            )
        return False

    def _is_kept(self, own: _Own) -> bool:
        return own.adapter.name in self._kept

    def _is_late(self, own: _Own) -> bool:
        return bool(own.trouble) and own.deadline <= self.clock()

    def _start(self, own: _Own) -> None:
        start = own.start
        assert start is not None, "it is wanted"
        try:
            self._require_expected(own)
            if own.trouble:
                raise EngineUnavailable(own.trouble)
            url = self._bring_up(own)
            settle = partial(start.set_result, url)
        except BaseException as error:
            if not isinstance(error, EngineUnavailable):
                self._note_failure(own, error)
            settle = partial(start.set_exception, error)
        with self._changed:
            self._num_starts -= 1
        settle()

    def _bring_up(self, own: _Own) -> str:
        """Its address, when it answers."""
        program, server = self.make(own.adapter)
        try:
            with self.step(f"starting {program} with {own.adapter.name}") as shown:

                def go_on() -> None:
                    self._require_expected(own)
                    shown.update(0, None)

                server.start(progress=go_on)
            with self._changed:
                self._require_expected(own)
                own.server, own.num_failures = server, 0
        except BaseException:
            server.stop()
            raise
        return server.url

    def _note_failure(self, own: _Own, error: BaseException) -> None:
        with self._changed:
            own.trouble = _trouble(own, error)
            own.retry_at = self.clock() + RESTART_DELAYS_S[min(own.num_failures, len(RESTART_DELAYS_S) - 1)]
            own.num_failures += 1
            name = own.adapter.name
            # Who loads it is told all of it, who asks has one line.
            is_logged = self._expected.get(name) is own and (own.num_held > 0 or name not in self._kept)
        if is_logged:
            _log.warning("own engine failed adapter=%s: %s", name, error)

    def _require_expected(self, own: _Own) -> None:
        if self._expected.get(own.adapter.name) is not own:
            raise EngineFailed(f"the engine of {own.adapter.name!r} was stopped before it was ready")

    def _forget(self, name: str) -> None:
        self._kept.discard(name)
        if (own := self._expected.pop(name, None)) is not None:
            self._let_go(own)
        self._changed.notify_all()

    def _let_go(self, own: _Own) -> None:
        """Its engine is to end; the next one who asks begins another."""
        if own.server is not None:
            self._leaving.append(own.server)
            own.server = own.start = None

    def _end_leaving(self) -> None:
        while self._leaving:
            self._leaving.pop(0).stop()


def _trouble(own: _Own, error: BaseException) -> str:
    """Why it is not up, in one line."""
    reason = str(error).partition("\n")[0] or type(error).__name__
    return f"the engine of {own.adapter.name!r} did not start: {reason}; the log says more"
