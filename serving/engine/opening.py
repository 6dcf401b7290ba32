"""Opens the engine that the settings name: a supervised vLLM child, or somebody else's server.

with open_engine(settings, base, adapters, log_path=log, max_num_seqs=32, step=console.step) as engine:
    HttpEngine(engine.url)
    engine.load(adapter)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Protocol

from serving.engine.engine import BaseModel, OpenEngine, refuse_unfit
from serving.engine.remote import RemoteEngine
from serving.engine.settings import EngineSettings
from serving.engine.vllm import VllmServer, VllmSettings
from tuning.export.adapters import Adapter


class Progress(Protocol):
    """Shows that the engine is still starting."""

    def update(self, done: float, total: float | None, note: str = "") -> None: ...


@contextmanager
def open_engine(
    settings: EngineSettings,
    base: BaseModel,
    adapters: Mapping[str, Adapter],
    *,
    log_path: Path,
    max_num_seqs: int,
    step: Callable[[str], AbstractContextManager[Progress]],
) -> Iterator[OpenEngine]:
    """Start (or reach) the engine and load the adapters after their admission; stop what was started.

    `step` shows a start under a title. Raises ServingError listing every adapter that must not be loaded, and
    EngineFailed when there is no engine.
    """
    refuse_unfit(base, adapters, max_rank=settings.max_lora_rank)
    if settings.url is not None:
        with closing(RemoteEngine(settings, base, api_key=os.environ.get(settings.api_key_env, "none"))) as remote:
            yield remote.open(adapters)
        return
    server = VllmServer(
        VllmSettings(
            model_path=base.path,
            served_name=base.name,
            log_path=log_path,
            engine=settings,
            max_num_seqs=max_num_seqs,
        )
    )

    def load(adapter: Adapter) -> None:
        refuse_unfit(base, {adapter.name: adapter}, max_rank=settings.max_lora_rank)
        server.load_adapter(adapter.name, adapter.path)

    try:
        with step(f"starting vLLM with {base.name}") as shown:
            server.start(progress=lambda _line: shown.update(0, None))
            for adapter in adapters.values():
                server.load_adapter(adapter.name, adapter.path)
        yield OpenEngine(
            url=server.url,
            base_model=base.name,
            api_key="none",
            is_ready=server.is_ready,
            load=load,
            unload=lambda adapter: server.unload_adapter(adapter.name),
        )
    finally:
        server.stop()
