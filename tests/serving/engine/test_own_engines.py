"""When engines of adapters' own start and end, with engines that answer from a function, and with one real process."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest
from fakes.adapters import ADAPTER
from fakes.endpoints import client_of, make_served
from fakes.engines import completion, placed
from fakes.json_server import serving_json

from router.answering.engine import HttpEngine, Place
from router.errors import EngineUnavailable
from serving.engine.own_engines import OwnEngines
from serving.engine.supervisor import Supervisor
from serving.errors import EngineFailed
from tuning.export.adapters import Adapter

FAKE_ENGINE = Path(__file__).parents[1] / "fakes" / "fake_engine.py"
A, B, C = (replace(ADAPTER, name=name, form="merged") for name in ("a@1", "b@1", "c@1"))


class Step:
    """Progress that nobody sees."""

    def update(self, *_: object) -> None:
        """Nothing."""


@dataclass
class World:
    """Engines that note when they start (+) and end (-). One starts when its `gate` is open, and fails by its `fault`.

    `now` is what their clock says more than the real one.
    """

    gates: dict[str, threading.Event] = field(default_factory=dict)
    faults: dict[str, Exception] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    made: dict[str, Fake] = field(default_factory=dict)
    url: str = "http://127.0.0.1:9/v1"
    now: float = 0.0

    def shut(self, adapter: Adapter) -> threading.Event:
        """The gate of its engine, shut."""
        return self.gates.setdefault(adapter.name, threading.Event())

    def engines(self, *adapters: Adapter, most: int = 2, wait_s: float = 10.0) -> OwnEngines:
        engines = OwnEngines(
            self._make, most, wait_s, lambda _: nullcontext(Step()), lambda: time.monotonic() + self.now
        )
        for adapter in adapters:
            engines.expect(adapter)
        return engines

    def _make(self, adapter: Adapter) -> tuple[str, Any]:
        self.made[adapter.name] = Fake(adapter.name, self)
        return "vLLM", self.made[adapter.name]


@dataclass
class Fake:
    """One engine."""

    name: str
    world: World
    state: str = "stopped"

    @property
    def url(self) -> str:
        return self.world.url

    def start(self, progress: Callable[[], object]) -> None:
        self.world.events.append(f"+{self.name}")
        gate = self.world.gates.get(self.name)
        while gate is not None and not gate.wait(0.005):
            progress()
        if (fault := self.world.faults.get(self.name)) is not None:
            raise fault
        self.state = "ready"

    def stop(self) -> None:
        if self.state != "stopped":
            self.world.events.append(f"-{self.name}")
        self.state = "stopped"


@pytest.fixture
def world() -> World:
    return World()


@contextmanager
def stopping(engines: OwnEngines) -> Iterator[OwnEngines]:
    try:
        yield engines
    finally:
        engines.stop()


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not happened():  # noqa: ASYNC110  # what happens in another thread sets no event
            await asyncio.sleep(0.005)


async def ask(engines: OwnEngines, *adapters: Adapter) -> None:
    for adapter in adapters:
        await placed(engines.hold, adapter.name)


async def test_many_first_requests_at_once_start_one_engine_and_all_wait_for_it(world: World) -> None:
    gate = world.shut(A)
    with stopping(world.engines(A)) as engines:
        asking = [asyncio.create_task(placed(engines.hold, A.name)) for _ in range(20)]
        await until(lambda: world.events == ["+a@1"])
        assert not any(task.done() for task in asking)
        gate.set()
        assert await asyncio.gather(*asking) == [Place(world.url)] * 20
        await ask(engines, A)
    assert world.events == ["+a@1", "-a@1"]


async def test_the_event_loop_goes_on_and_others_answer_while_one_starts(world: World) -> None:
    with stopping(world.engines(A, B)) as engines:
        await ask(engines, A)
        gate = world.shut(B)
        waiting = asyncio.create_task(placed(engines.hold, B.name))
        await until(lambda: "+b@1" in world.events)
        async with asyncio.timeout(1):
            await ask(engines, A, A)
        assert not waiting.done()
        gate.set()
        await waiting


async def test_one_more_ends_the_idle_one_that_was_asked_least_recently(world: World) -> None:
    with stopping(world.engines(A, B, C, most=2)) as engines:
        await ask(engines, A, B, A, C)
        assert world.events == ["+a@1", "+b@1", "-b@1", "+c@1"]
        async with engines.hold(A.name):
            await ask(engines, C, B)
        assert world.events[4:] == ["-c@1", "+b@1"]


async def test_a_busy_engine_is_waited_for_and_then_the_request_is_told(world: World) -> None:
    with stopping(world.engines(A, B, most=1, wait_s=0.2)) as engines:
        async with engines.hold(A.name):
            with pytest.raises(EngineUnavailable, match=r"'b@1' .*all 1 that may run are busy.*max_own_engines"):
                await ask(engines, B)
        await ask(engines, B)
    assert world.events == ["+a@1", "-a@1", "+b@1", "-b@1"]


async def test_who_waits_for_a_place_has_it_as_soon_as_one_is_free(world: World) -> None:
    with stopping(world.engines(A, B, most=1)) as engines:
        async with engines.hold(A.name):
            waiting = asyncio.create_task(ask(engines, B))
            await asyncio.sleep(0.05)
            assert world.events == ["+a@1"]
        await waiting
    assert world.events[:3] == ["+a@1", "-a@1", "+b@1"]


async def test_what_is_kept_starts_again_while_others_wait_for_a_place_and_its_own_goes_to_none_of_them(
    world: World,
) -> None:
    with stopping(world.engines(B, C, most=1)) as engines:
        engines.load(A)
        async with engines.hold(B.name):
            waiting = asyncio.create_task(ask(engines, C))
            await asyncio.sleep(0.05)
            world.made[A.name].state = "failed"
            async with asyncio.timeout(5):
                await ask(engines, A)
            assert world.events == ["+a@1", "+b@1", "-a@1", "+a@1"]
            assert not waiting.done()
        await waiting
    assert world.events[4:6] == ["-b@1", "+c@1"]


async def test_that_all_were_busy_is_not_said_when_they_no_longer_are(world: World) -> None:
    with stopping(world.engines(A, B, C, most=1, wait_s=0.2)) as engines:
        async with engines.hold(A.name):
            with pytest.raises(EngineUnavailable, match="are busy"):
                await ask(engines, B)
        gate = world.shut(C)
        starting = asyncio.create_task(ask(engines, C))
        await until(lambda: "+c@1" in world.events)
        with pytest.raises(EngineUnavailable, match=r"'b@1' is not up after 0\.2 s"):
            await ask(engines, B)
        gate.set()
        await asyncio.wait([starting])


async def test_what_is_kept_ends_for_no_other_and_takes_no_place_of_theirs(world: World) -> None:
    with stopping(world.engines(B, C, most=1)) as engines:
        engines.load(A)
        await ask(engines, B, C, B)
        assert world.events == ["+a@1", "+b@1", "-b@1", "+c@1", "-c@1", "+b@1"]
        # Another one is decided: it stays, and what was kept is as all others.
        engines.keep([B.name, "a LoRA"])
        await ask(engines, C)
        assert world.events[6:] == ["-a@1", "+c@1"]
        engines.keep([])
        engines.load(A)
        assert world.events[8:] == ["-b@1", "+a@1"]


def test_what_is_loaded_in_turns_stays_until_its_place_is_needed(world: World) -> None:
    with stopping(world.engines(most=1)) as engines:
        for adapter in (A, B, A, B, C, B, A):
            engines.load(adapter)
            engines.keep([])
    assert world.events[:-2] == ["+a@1", "+b@1", "-a@1", "+c@1", "-c@1", "+a@1"]


async def test_a_start_that_fails_is_one_line_and_is_tried_again_after_a_while(world: World, logged: Any) -> None:
    world.faults[A.name] = EngineFailed("vLLM ended before it was ready\n  command: vllm\n  log: engine.log")
    with stopping(world.engines(A)) as engines:
        told = []
        for _ in range(3):
            with pytest.raises(EngineUnavailable) as caught:
                await ask(engines, A)
            told.append(str(caught.value))
        first = "the engine of 'a@1' did not start: vLLM ended before it was ready; the log says more"
        assert told == [first, *[f"{first}; it is tried again in 1 s"] * 2]
        assert world.events == ["+a@1"]
        assert logged.text.count("log: engine.log") == 1
        # The more often it fails, the longer the wait.
        world.now += 1.1
        with pytest.raises(EngineUnavailable):
            await ask(engines, A)
        with pytest.raises(EngineUnavailable, match="again in 2 s"):
            await ask(engines, A)
        world.faults.clear()
        world.now += 2.1
        await ask(engines, A)
    assert world.events == ["+a@1"] * 3 + ["-a@1"]


async def test_what_does_not_start_when_it_is_loaded_is_told_whole_and_not_kept(world: World, logged: Any) -> None:
    world.faults[A.name] = EngineFailed("vLLM ended\n  log: engine.log")
    with stopping(world.engines(B, C, most=1)) as engines:
        with pytest.raises(EngineFailed, match=r"vLLM ended\n  log: engine.log"):
            engines.load(A)
        assert logged.text == ""
        await ask(engines, B, C)
    assert world.events == ["+a@1", "+b@1", "-b@1", "+c@1", "-c@1"]


async def test_one_that_crashed_in_a_loop_is_replaced_by_the_next_request(world: World) -> None:
    with stopping(world.engines(A)) as engines:
        await ask(engines, A)
        first = world.made[A.name]
        first.state = "failed"
        await ask(engines, A)
        assert (first.state, world.made[A.name].state) == ("stopped", "ready")
    assert world.events == ["+a@1", "-a@1", "+a@1", "-a@1"]


async def test_a_request_waits_no_longer_than_it_may_and_the_next_one_finds_the_engine(world: World) -> None:
    gate = world.shut(A)
    with stopping(world.engines(A, wait_s=0.05)) as engines:
        with pytest.raises(EngineUnavailable, match=r"'a@1' is not up after 0\.05 s; try again"):
            await ask(engines, A)
        gate.set()
        await until(lambda: world.made[A.name].state == "ready")
        await ask(engines, A)
    assert world.events == ["+a@1", "-a@1"]


async def test_a_client_that_leaves_takes_the_engine_from_nobody(world: World) -> None:
    gate = world.shut(A)
    with stopping(world.engines(A)) as engines:
        leaving, staying = (asyncio.create_task(ask(engines, A)) for _ in range(2))
        await until(lambda: world.events == ["+a@1"])
        leaving.cancel()
        await asyncio.wait([leaving])
        gate.set()
        await staying
    assert leaving.cancelled()


async def test_stopping_ends_one_that_is_just_starting_and_what_waits_for_it(world: World) -> None:
    world.shut(B)
    engines = world.engines(A, B, C, most=1)
    await ask(engines, A)
    waiting = [asyncio.create_task(ask(engines, adapter)) for adapter in (B, C)]
    await until(lambda: "+b@1" in world.events)
    async with asyncio.timeout(5):
        await asyncio.to_thread(engines.stop)
    for task in waiting:
        with pytest.raises(EngineUnavailable, match="was stopped before it was ready"):
            await task
    assert world.events == ["+a@1", "-a@1", "+b@1"]
    with pytest.raises(EngineUnavailable, match="'a@1' is not loaded any more"):
        await ask(engines, A)


def test_a_server_that_has_ended_leaves_no_word_of_a_start(world: World, logged: Any) -> None:
    gate, engines = world.shut(A), world.engines(A, wait_s=0.01)
    with pytest.raises(EngineUnavailable):
        asyncio.run(ask(engines, A))
    gate.set()
    engines.stop()
    assert "exception calling callback" not in logged.text


async def test_unloading_waits_for_nothing_that_is_starting(world: World) -> None:
    gate = world.shut(B)
    with stopping(world.engines(A, B, C)) as engines:
        await ask(engines, A)
        waiting = asyncio.create_task(ask(engines, B))
        await until(lambda: "+b@1" in world.events)
        async with asyncio.timeout(5):
            await asyncio.to_thread(engines.unload, A)
        gate.set()
        await waiting
        await until(lambda: "-a@1" in world.events)
        # One that nobody needs any more while it starts.
        world.shut(C)
        waiting = asyncio.create_task(ask(engines, C))
        await until(lambda: "+c@1" in world.events)
        await asyncio.to_thread(engines.unload, C)
        with pytest.raises(EngineUnavailable, match="was stopped"):
            await waiting
    assert [event for event in world.events if event.startswith("+")] == ["+a@1", "+b@1", "+c@1"]


def test_a_stop_during_a_start_leaves_no_process(tmp_path: Path) -> None:
    def make(_adapter: Adapter) -> tuple[str, Supervisor]:
        command = [sys.executable, "-S", str(FAKE_ENGINE), "0", str(tmp_path), "never-ready"]
        return "vLLM", Supervisor("vLLM", lambda _: (command, {"TMPDIR": str(tmp_path)}), tmp_path / "log", 60.0)

    engines = OwnEngines(make, 1, 30.0, lambda _: nullcontext(Step()))
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(engines.load, A)
        deadline = time.monotonic() + 20
        while not (tmp_path / "pids").is_file() or not (tmp_path / "pids").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        engines.stop()
        with pytest.raises(EngineFailed, match="was stopped before it was ready"):
            loading.result(10)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert not [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def test_a_server_answers_503_for_an_engine_that_does_not_start_and_others_meanwhile(world: World) -> None:
    own = replace(A, name="raft@1")
    world.faults[own.name] = EngineFailed("no room for the KV cache\n  log: engine.log")
    asked: Any = [{"role": "user", "content": "When?"}]

    def answer(_path: str, body: Any) -> tuple[int, object]:
        return 200, completion(f"{body['model']} says").model_dump(mode="json")

    with serving_json(answer) as world.url, stopping(world.engines(own)) as engines:
        engine = HttpEngine(
            world.url, hold=lambda model: engines.hold(model) if model in engines else nullcontext(Place(world.url))
        )
        with client_of(make_served(engine, arm="base")) as client:

            def says(arm: str) -> str | None:
                return client.chat.completions.create(model=arm, messages=asked).choices[0].message.content

            with pytest.raises(openai.InternalServerError, match="no room for the KV cache; the log") as told:
                says("hybrid")
            assert (told.value.status_code, told.value.response.headers["retry-after"]) == (503, "2")
            assert "\\n" not in told.value.message
            world.faults.clear()
            world.now += 1.1
            gate = world.shut(own)
            later: list[str | None] = []
            waiting = threading.Thread(target=lambda: later.append(says("hybrid")))
            waiting.start()
            assert says("auto") == "org/base says"
            assert later == []
            gate.set()
            waiting.join(10)
            assert later == ["raft@1 says"]
