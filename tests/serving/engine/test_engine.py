import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from fakes.adapters import ADAPTER
from fakes.engines import placed
from fakes.json_server import serving_json

from router.answering.engine import Place
from serving.engine.engine import (
    LocalEngines,
    OpenEngine,
    engine_identity,
    later_forms,
    open_engine,
    refuse_unfit,
)
from serving.engine.host import EngineHost
from serving.engine.settings import EngineSettings
from serving.engine.vllm import VllmSettings
from serving.errors import EngineFailed, ServingError
from tuning.base import ResolvedModel
from tuning.export.adapters import Adapter
from tuning.export.admission import chat_template_hash
from tuning.recipe import Form


class SomebodyElses:
    """An OpenAI-compatible server with a model list; `loads` says whether it takes adapters."""

    def __init__(self, *models: str, loads: bool = False) -> None:
        self.models = list(models)
        self.loads = loads

    @contextmanager
    def listening(self) -> Iterator[str]:
        def answer(path: str, asked: dict[str, str] | None) -> tuple[int, object]:
            if asked is None:
                return 200, {"data": [{"id": name} for name in self.models]}
            if self.loads and path == "/unload_lora_adapter":
                self.models.remove(asked["lora_name"])
            elif self.loads:
                self.models.append(asked["lora_name"])
            return 200 if self.loads else 404, {}

        with serving_json(answer) as url:
            yield url


@pytest.fixture
def base(tmp_path: Path) -> ResolvedModel:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    return ResolvedModel("org/base", "r1", str(folder))


def adapter(base: ResolvedModel, *, rank: int = 8, name: str = "raft@1", base_name: str = "org/base") -> Adapter:
    template = chat_template_hash(base.path)
    path = Path("/nowhere") / name
    return replace(ADAPTER, name=name, path=path, base_name=base_name, chat_template_hash=template, rank=rank)


def engine_of(
    base: ResolvedModel, url: str, *adapters: Adapter, model: str | None = None
) -> AbstractContextManager[OpenEngine]:
    return open_engine(
        EngineSettings(url=url, model=model),
        base,
        {a.name: a for a in adapters},
        log_path=Path("/nowhere/engine.log"),
        max_num_seqs=16,
        step=lambda title: nullcontext(),  # type: ignore[arg-type]
    )


def opened(base: ResolvedModel, url: str, *adapters: Adapter, model: str | None = None) -> str:
    with engine_of(base, url, *adapters, model=model) as engine:
        assert engine.url == url
        assert engine.is_ready()
        return engine.base_model


def test_somebody_elses_engine_serves_what_it_lists(base: ResolvedModel) -> None:
    with SomebodyElses("org/base", "raft@1").listening() as url:
        assert opened(base, url, adapter(base)) == "org/base"
    with SomebodyElses("llama").listening() as url:
        assert opened(base, url) == "llama"


def test_an_adapter_it_lacks_is_offered_once(base: ResolvedModel) -> None:
    fleet = SomebodyElses("org/base", loads=True)
    with fleet.listening() as url:
        opened(base, url, adapter(base))
    assert fleet.models == ["org/base", "raft@1"]


def test_an_open_engine_takes_further_adapters_in_and_lets_go_of_them(base: ResolvedModel) -> None:
    fleet, theirs, ours = SomebodyElses("org/base", "raft@1", loads=True), adapter(base), adapter(base, name="raft@2")
    with fleet.listening() as url, engine_of(base, url) as engine:
        for _ in range(2):
            engine.load(theirs)
            engine.load(ours)
        assert fleet.models == ["org/base", "raft@1", "raft@2"]
        # What it served before is not ours to take away.
        engine.unload(theirs)
        engine.unload(ours)
        assert fleet.models == ["org/base", "raft@1"]


def test_an_open_engine_refuses_an_unfit_adapter_before_it_is_offered(base: ResolvedModel) -> None:
    fleet = SomebodyElses("org/base", loads=True)
    with fleet.listening() as url, engine_of(base, url) as engine:
        with pytest.raises(ServingError, match="wide@1: rank 64 is over max_lora_rank 16"):
            engine.load(adapter(base, rank=64, name="wide@1"))
        fleet.loads = False
        with pytest.raises(EngineFailed, match=r"does not serve raft@1"):
            engine.load(adapter(base))
    assert fleet.models == ["org/base"]


def test_an_adapter_it_refuses_is_named(base: ResolvedModel) -> None:
    with SomebodyElses("org/base").listening() as url, pytest.raises(EngineFailed, match=r"does not serve raft@1"):
        opened(base, url, adapter(base))


def test_what_no_vllm_computes_is_not_offered(base: ResolvedModel) -> None:
    fleet, beside = (
        SomebodyElses("org/base", loads=True),
        replace(adapter(base, name="prefix@1"), form="beside", rank=0),
    )
    with (
        fleet.listening() as url,
        pytest.raises(EngineFailed, match=r"^prefix@1 cannot be served by .*; leave") as told,
    ):
        opened(base, url, beside)
    assert (fleet.models, len(str(told.value).splitlines())) == (["org/base"], 1)


def test_a_wrong_model_name_lists_the_right_ones(base: ResolvedModel) -> None:
    with SomebodyElses("org/base").listening() as url, pytest.raises(EngineFailed, match="it serves org/base"):
        opened(base, url, model="other")


@pytest.mark.parametrize(("value", "key"), [("", "none"), ("sk-secret\n", "sk-secret")])
def test_a_key_set_to_nothing_is_none_and_its_line_end_is_no_part_of_it(
    base: ResolvedModel, monkeypatch: pytest.MonkeyPatch, value: str, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", value)
    with SomebodyElses("org/base").listening() as url, engine_of(base, url) as engine:
        assert engine.api_key == key


def test_a_silent_url_is_an_engine_failure(base: ResolvedModel) -> None:
    with pytest.raises(EngineFailed, match=r"does not answer as an OpenAI-compatible server"):
        opened(base, "http://127.0.0.1:9/v1")


def test_every_unfit_adapter_is_listed_before_an_engine_starts(base: ResolvedModel) -> None:
    unfit = [adapter(base, rank=64, name="wide@1"), adapter(base, base_name="org/other", name="foreign@1")]
    with pytest.raises(ServingError) as caught:
        refuse_unfit(base, {a.name: a for a in unfit}, max_rank=16)
    message = str(caught.value)
    assert "wide@1: rank 64 is over max_lora_rank 16" in message
    assert "foreign@1: trained on base model 'org/other', not 'org/base'" in message


def test_the_engines_identity_tells_precision_and_place_apart() -> None:
    own = engine_identity(EngineSettings(dtype="float32"))
    assert "float32" in own
    assert own != engine_identity(EngineSettings(dtype="bfloat16"))
    assert engine_identity(EngineSettings(url="http://fleet/v1")) == "http://fleet/v1"


class Scripted:
    """An adapter's own engine that starts, or does not; `made` are all of them."""

    fails = False
    made: ClassVar[list["Scripted"]] = []

    def __init__(self, settings: VllmSettings, _adapter: Adapter | None = None) -> None:
        self.settings, self.state = settings, "stopped"
        self.url = "http://127.0.0.1:0/v1"
        self.made.append(self)

    def start(self, progress: object) -> None:
        if self.fails:
            raise EngineFailed("no room")
        self.state, self.url = "ready", f"http://127.0.0.1:1/{self.settings.log_path.stem}"

    def stop(self) -> None:
        self.state = "stopped"

    def is_ready(self) -> bool:
        return self.state == "ready"


@contextmanager
def local_engines(base: ResolvedModel, titles: list[str] | None = None) -> Iterator[LocalEngines]:
    settings, said = VllmSettings(base.path, base.name, Path("/logs/engine-1.log")), [] if titles is None else titles
    own = Scripted(settings)
    own.start(None)
    engines = LocalEngines(
        own,  # type: ignore[arg-type]
        settings,
        lambda title: said.append(title) or nullcontext(),  # type: ignore[func-returns-value,arg-type]
        most=1,
    )
    yield engines
    engines.stop()
    assert {one.state for one in Scripted.made} == {"stopped"}
    Scripted.made.clear()


async def test_a_merged_adapter_has_an_engine_from_load_to_unload_or_from_its_first_request(
    base: ResolvedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.engine.engine.VllmServer", Scripted)
    merged = replace(adapter(base, name="dora@1"), form="merged", rank=0)
    with local_engines(base) as engines:
        for load in (engines.load, engines.load, engines.expect):
            load(merged)
        assert (await placed(engines.hold, "dora@1")).url.endswith("/engine-1-dora@1")
        _, first = Scripted.made
        assert first.settings.log_path == Path("/logs/engine-1-dora@1.log")
        assert not first.settings.has_adapters

        engines.unload(merged)
        assert first.state == "stopped"
        assert await placed(engines.hold, "dora@1") == await placed(engines.hold, "base") == Place(engines.base.url)
        assert engines.is_ready()

        engines.expect(merged)
        assert len(Scripted.made) == 2
        assert (await placed(engines.hold, "dora@1")).url.endswith("/engine-1-dora@1")
        assert len(Scripted.made) == 3


def test_an_engine_of_its_own_that_does_not_start_is_told_to_who_loads_it_and_leaves_the_base_alone(
    base: ResolvedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.engine.engine.VllmServer", Scripted)
    with local_engines(base) as engines:
        monkeypatch.setattr(Scripted, "fails", True)
        with pytest.raises(EngineFailed, match="no room"):
            engines.load(replace(adapter(base, name="dora@1"), form="merged", rank=0))
        assert engines.is_ready()


async def test_a_beside_adapter_has_an_engine_of_its_own_with_the_base(
    base: ResolvedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.engine.engine.beside_engine", Scripted)
    titles: list[str] = []
    with local_engines(base, titles) as engines:
        engines.load(replace(adapter(base, name="prefix@1"), form="beside", rank=0))
        own = Scripted.made[-1]
        assert titles == ["starting transformers with prefix@1"]
        assert (own.settings.model_path, own.settings.log_path) == (base.path, Path("/logs/engine-1-prefix@1.log"))
        assert (await placed(engines.hold, "prefix@1")).url == own.url != engines.base.url


@pytest.mark.parametrize(
    ("forms", "num_own", "most", "num_engines"),
    [
        ((), 0, None, 1),
        (("lora",), 0, 5, 1),
        ((), 1, None, 2),
        ((), 3, None, 4),
        ((), 9, None, 4),
        (("merged",), 0, 0, 2),
        (("merged",), 0, None, 2),
    ],
)
def test_a_gpu_is_shared_by_as_many_engines_as_may_run_at_a_time(
    base: ResolvedModel,
    monkeypatch: pytest.MonkeyPatch,
    forms: tuple[Form, ...],
    num_own: int,
    most: int | None,
    num_engines: int,
) -> None:
    monkeypatch.setattr("serving.engine.engine.VllmServer", Scripted)
    merged = replace(adapter(base, name="dora@1"), form="merged", rank=0)
    with open_engine(
        EngineSettings(),
        base,
        {f"dora@{number}": replace(merged, name=f"dora@{number}") for number in range(num_own)},
        log_path=Path("/nowhere/engine.log"),
        max_num_seqs=16,
        forms=forms,
        own_engines=most,
        step=lambda title: nullcontext(),  # type: ignore[arg-type]
    ):
        (started,) = Scripted.made
        assert started.settings.num_engines == num_engines
    Scripted.made.clear()


@pytest.mark.parametrize(
    ("is_cpu", "takes_prompts", "num_engines", "forms"),
    [
        (True, False, 1, {"lora", "merged", "beside"}),
        (True, True, 1, {"lora", "merged", "beside", "prompt"}),
        (False, False, 1, {"lora"}),
        (False, False, 2, {"lora", "merged", "beside"}),
    ],
)
def test_what_an_engine_takes_later_follows_from_how_it_was_started(
    is_cpu: bool, takes_prompts: bool, num_engines: int, forms: set[Form]
) -> None:
    host = EngineHost(is_cpu=is_cpu, engine="vllm 1", has_lora_plugin=True, thread_binding="0", preload=())
    settings = VllmSettings("/m", "m", Path("log"), takes_prompts=takes_prompts, num_engines=num_engines)
    assert later_forms(settings, host) == forms
