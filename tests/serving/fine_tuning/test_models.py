"""Adapters become models of the endpoint, and leave it."""

import asyncio
from dataclasses import replace

import pytest
from fakes.adapters import ADAPTER
from fakes.endpoints import make_served
from fakes.engines import ScriptedEngine
from fakes.tuning_server import MODEL, LoadingEngine

from router.answering.arm import Sampling
from router.errors import EngineUnavailable
from serving.errors import Conflict, NotFound, ServingError
from serving.fine_tuning.models import TunedModels
from serving.http.served import CurrentDecision

SUPPORT = replace(ADAPTER, name="support@3f9c1a2b")
NAME = f"{MODEL}:support@3f9c1a2b"


def make(loading: LoadingEngine) -> TunedModels:
    current = CurrentDecision(make_served(ScriptedEngine(lambda _: "nine")))  # type: ignore[arg-type]
    models = TunedModels(current, loading.open(), Sampling(temperature=0.5), pause_s=0.01)
    models.open()
    return models


async def withdrawn(models: TunedModels, adapter: str) -> None:
    await asyncio.wrap_future(await asyncio.to_thread(models.withdraw, adapter))


async def test_an_adapter_is_loaded_and_can_be_asked_by_its_models_name() -> None:
    loading = LoadingEngine()
    models = make(loading)
    assert await asyncio.to_thread(models.serve, SUPPORT, created=5)
    assert not await asyncio.to_thread(models.serve, SUPPORT, created=6)
    arm = models.current.served.arm(NAME)
    assert (arm.adapter, arm.index, arm.prompt.system, arm.sampling.temperature) == ("support@3f9c1a2b", None, "", 0.5)
    assert models.current.served.model_card(NAME).created == 5
    assert loading.loaded == ["support@3f9c1a2b"]
    await withdrawn(models, SUPPORT.name)
    assert loading.loaded == []
    with pytest.raises(NotFound):
        models.current.served.arm(NAME)


async def test_an_adapter_that_an_arm_needs_stays_loaded() -> None:
    loading = LoadingEngine()
    models = make(loading)
    shared = replace(ADAPTER, name="raft@1")
    await asyncio.to_thread(models.serve, shared, created=5)
    await withdrawn(models, shared.name)
    assert loading.loaded == ["raft@1"]
    assert models.current.served.arm("hybrid").adapter == "raft@1"


async def test_what_is_in_flight_ends_before_its_adapter_leaves_the_engine() -> None:
    loading, left = LoadingEngine(), list[list[str]]()
    models = make(loading)
    await asyncio.to_thread(models.serve, SUPPORT, created=5)
    with models.current.hold() as held:
        leaving = await asyncio.to_thread(models.withdraw, SUPPORT.name, lambda: left.append([*loading.loaded]))
        with pytest.raises(NotFound):
            models.current.served.arm(NAME)
        await asyncio.sleep(0.05)
        assert held.arm(NAME).adapter == SUPPORT.name
        assert (loading.loaded, left) == ([SUPPORT.name], [])
    await asyncio.wrap_future(leaving)
    assert (loading.loaded, left) == ([], [[]])


async def test_an_engine_that_is_away_is_waited_for_before_an_adapter_is_deleted() -> None:
    loading, left = LoadingEngine(), list[bool]()
    models = make(loading)
    await asyncio.to_thread(models.serve, SUPPORT, created=5)
    loading.is_away, loading.refusal = True, "the engine is away"
    leaving = await asyncio.to_thread(models.withdraw, SUPPORT.name, lambda: left.append(True))
    await asyncio.sleep(0.05)
    assert left == []
    loading.is_away, loading.refusal = False, ""
    await asyncio.wrap_future(leaving)
    assert (loading.loaded, left) == ([], [True])


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("auto", "it stands for the arm that was decided on"),
        (MODEL, "it is the base model"),
        ("rag", "it is an arm of the decision that is served"),
        (f"{MODEL}:raft@1", "arm 'hybrid', which auto means now, answers with its adapter"),
    ],
)
def test_what_no_job_made_is_not_deleted(model: str, said: str) -> None:
    models = TunedModels(CurrentDecision(make_served(ScriptedEngine(lambda _: ""))), LoadingEngine().open())  # type: ignore[arg-type]
    with pytest.raises(Conflict, match=said) as refused:
        models.refuse_fixed(model)
    assert (refused.value.param, refused.value.code) == ("model", "model_in_use")
    models.refuse_fixed(NAME)


async def test_an_engine_that_is_away_is_told_from_one_that_refuses() -> None:
    loading = LoadingEngine(refusal="it has no room")
    models = make(loading)
    with pytest.raises(ServingError, match="it has no room"):
        await asyncio.to_thread(models.serve, SUPPORT, created=5)
    loading.is_away = True
    with pytest.raises(EngineUnavailable, match="starting or restarting"):
        await asyncio.to_thread(models.serve, SUPPORT, created=5)
    assert NAME not in models.current.served.names


def test_what_can_be_tuned_is_the_base_or_what_was_made_of_it() -> None:
    models = TunedModels(CurrentDecision(make_served(ScriptedEngine(lambda _: ""))), LoadingEngine().open())  # type: ignore[arg-type]
    assert models.adapter_of(MODEL) == ""
    assert models.adapter_of(NAME) == "support@3f9c1a2b"
    for other in ("auto", "rag", "org/other", "org/other:support@3f9c1a2b", f"{MODEL}:"):
        with pytest.raises(NotFound, match="cannot be tuned here; use 'org/base'") as refused:
            models.adapter_of(other)
        assert refused.value.param == "model"
