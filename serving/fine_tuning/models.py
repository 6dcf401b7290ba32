"""Adapters that jobs made, as models of the endpoint: `TunedModels(current, engine).serve(adapter, created=now)`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from router.answering.arm import Arm, Sampling
from router.errors import EngineUnavailable
from serving.engine.engine import OpenEngine
from serving.errors import NotFound, ServingError
from serving.fine_tuning.checking import AS_GIVEN
from serving.http.served import CurrentDecision, TunedModel
from tuning.export.adapters import Adapter


@dataclass(eq=False)
class TunedModels:
    """The models are those of `engine`, beside the arms of whatever decision is `current`. `sampling` draws an answer
    where a request does not say how.
    """

    current: CurrentDecision
    engine: OpenEngine
    sampling: Sampling = field(default_factory=Sampling)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False)

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
            return is_new

        return self._on_loop(add())

    def withdraw(self, adapter: Adapter) -> None:
        """No request is answered by it any more, and it leaves the engine. Raises ServingError."""

        async def drop() -> bool:
            self.current.drop(self.name_of(adapter.name))
            return adapter.name in self.current.adapters()

        if not self._on_loop(drop()):
            self.engine.unload(adapter)

    def _on_loop(self, change: Coroutine[Any, Any, bool]) -> bool:
        assert self._loop is not None, "models change after `open`"
        return asyncio.run_coroutine_threadsafe(change, self._loop).result()
