"""Adapters that jobs made, as models of the endpoint: `TunedModels(current, engine).serve(adapter, created=now)`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from router.answering.arm import Arm, Sampling
from router.errors import EngineUnavailable
from serving.engine.engine import OpenEngine
from serving.errors import Conflict, NotFound, ServingError
from serving.fine_tuning.checking import AS_GIVEN
from serving.http.served import AUTO, CurrentDecision, TunedModel
from storage.errors import ArbiterError
from tuning.export.adapters import Adapter

T = TypeVar("T")

_log = logging.getLogger("arbiter.fine_tuning")


@dataclass(eq=False)
class TunedModels:
    """The models are those of `engine`, beside the arms of whatever decision is `current`. `sampling` draws an answer
    where a request does not say how.
    """

    current: CurrentDecision
    engine: OpenEngine
    sampling: Sampling = field(default_factory=Sampling)
    pause_s: float = 1.0
    """How soon an engine that is away is asked again."""
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False)
    _served: dict[str, Adapter] = field(default_factory=dict, init=False)

    def open(self) -> None:
        """From now on models can be added, on this event loop."""
        self._loop = asyncio.get_running_loop()

    def name_of(self, adapter: str) -> str:
        """What a request calls the model of an adapter."""
        return f"{self.engine.base_model}:{adapter}"

    def adapter_of(self, model: str) -> str:
        """The adapter that a model is trained further from, "" for the base. Raises NotFound for a model of neither."""
        base, _, adapter = model.rpartition(":")
        if model == self.engine.base_model:
            return ""
        if base == self.engine.base_model and adapter:
            return adapter
        raise NotFound(
            f"model: {model!r:.200} cannot be tuned here; use {self.engine.base_model!r}, or a model made of it",
            param="model",
            code="model_not_found",
        )

    def serve(self, adapter: Adapter, *, created: int) -> bool:
        """Load an adapter, after its admission, and answer requests by its model's name from now on; False where that
        was so before. An engine of its own is started by the first request. Not called on the event loop.

        Raises EngineUnavailable while the engine is away, ServingError for an adapter that it does not take.
        """
        if not self.engine.is_ready():
            raise EngineUnavailable("the engine is starting or restarting")
        try:
            self.engine.expect(adapter)
        except ServingError as error:
            if not self.engine.is_ready():
                raise EngineUnavailable(str(error)) from error
            raise
        name = self.name_of(adapter.name)
        arm = Arm(name, adapter=adapter.name, prompt=AS_GIVEN, top_k=0, sampling=self.sampling, condense="last")

        async def add() -> bool:
            is_new = name not in self.current.served.tuned
            if is_new:
                self.current.add(TunedModel(arm, created))
                self._served[name] = adapter
            return is_new

        return self._on_loop(add())

    def refuse_fixed(self, model: str) -> None:
        """Raise Conflict for what is served whatever jobs make: `auto`, the base, arms and their adapters."""
        served = self.current.served
        users = [arm.name for arm in served.arms.values() if arm.adapter and self.name_of(arm.adapter) == model]
        if model == AUTO:
            why = "it stands for the arm that was decided on; promote another decision"
        elif model == self.engine.base_model:
            why = "it is the base model"
        elif model in served.arms:
            why = "it is an arm of the decision that is served"
        elif users:
            why = f"arm {users[0]!r} answers with its adapter; serve a run without this arm first"
            if served.decided_arm in users:
                why = f"arm {served.decided_arm!r}, which {AUTO} means now, answers with its adapter; promote another"
        else:
            return
        raise Conflict(f"model {model!r} cannot be deleted: {why}", param="model", code="model_in_use")

    def withdraw(self, adapter: str, then: Callable[[], None] = lambda: None) -> Future[None]:
        """No new request is answered by it. In the background it leaves the engine, when the last of those in flight
        has ended, and `then` is called in a thread; the future is done after that. Not called on the event loop.
        """
        name = self.name_of(adapter)

        async def drop() -> list[asyncio.Event]:
            return self.current.drop(name)

        in_flight = self._on_loop(drop())
        loaded = self._served.pop(name, None)

        async def leave() -> None:
            for ended in in_flight:
                await ended.wait()
            if loaded is not None and adapter not in self.current.adapters():
                await self._unload(loaded)
            await asyncio.to_thread(then)

        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(leave(), self._loop)

    async def _unload(self, adapter: Adapter) -> None:
        while True:
            try:
                await asyncio.to_thread(self.engine.unload, adapter)
            except ArbiterError as error:
                if not self.engine.is_ready():
                    # Starting again it would load the adapter again, from a folder that may be gone.
                    await asyncio.sleep(self.pause_s)
                    continue
                _log.warning("adapter=%s is not unloaded: %s", adapter.name, error)
            return

    def _on_loop(self, change: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None, "models change after `open`"
        return asyncio.run_coroutine_threadsafe(change, self._loop).result()
