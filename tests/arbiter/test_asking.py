"""Who is loaded when, while the arms of a whole grid are asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from fakes.adapters import ADAPTER
from fakes.engines import completion
from fakes.json_server import serving_json

from arbiter import asking
from arbiter.asking import Asker
from arbiter.config.schema import Config
from arbiter.console import Console
from eval.questions import Question
from router.answering.arm import Arm
from router.answering.engine import Place
from serving.engine.engine import OpenEngine
from tuning.base import ResolvedModel
from tuning.export.adapters import Adapter

ADAPTERS = {
    name: replace(ADAPTER, name=name, form=form)
    for name, form in {"half@1": "merged", "lora@2": "lora", "prefix@3": "beside"}.items()
}
ARMS = [
    Arm("whole", adapter="half@1"),
    Arm("base"),
    Arm("tuned", adapter="lora@2"),
    Arm("beside", adapter="prefix@3"),
    Arm("whole_again", adapter="half@1", top_k=3),
]
QUESTIONS = tuple(Question(f"q{i}", f"What is {i}?", (str(i),)) for i in range(3))


@dataclass
class World:
    """An engine that notes what happens; `events` are adapters that come (+) and go (-), and models that are asked."""

    events: list[str] = field(default_factory=list)

    @contextmanager
    def open(self, config: Config, base: ResolvedModel, adapters: Mapping[str, Adapter], **_: Any) -> Iterator[Any]:
        def answer(path: str, asked: Any) -> tuple[int, object]:
            if self.events[-1:] != [asked["model"]]:
                self.events.append(asked["model"])
            return 200, completion(f"{asked['model']} says").model_dump(mode="json")

        self.events += [f"+{name}" for name in adapters]
        with serving_json(answer) as url:
            yield OpenEngine(
                url=url,
                base_model="base-model",
                api_key="none",
                is_ready=lambda: True,
                load=lambda adapter: self.events.append(f"+{adapter.name}"),
                unload=lambda adapter: self.events.append(f"-{adapter.name}"),
                place_of=lambda _: Place(url),
            )


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(asking, "open_engine", world.open)
    return world


def asker_of(tmp_path: Path, *, probes: int = 0, **engine: Any) -> Asker:
    return Asker(
        config=Config.model_validate({"data": "demo", "eval": {"first_token_probes": probes}, "engine": engine}),
        base=ResolvedModel("base-model", "r1", str(tmp_path)),
        home=tmp_path,
        console=Console(stderr=StringIO()),
        adapters=ADAPTERS,
        indexes={},
        versions={arm.name: {"model": "r1"} for arm in ARMS},
    )


def test_engines_of_their_own_take_turns_and_the_answers_keep_their_order(tmp_path: Path, world: World) -> None:
    with closing(asker_of(tmp_path)) as asker:
        asked = asker.ask_all(ARMS, QUESTIONS)
    assert world.events == [
        *("+lora@2", "base-model", "lora@2"),
        *("+half@1", "half@1", "-half@1"),
        *("+prefix@3", "prefix@3", "-prefix@3"),
    ]
    assert [(record.arm, record.question_id) for record in asked.records] == [
        (arm.name, question.id) for arm in ARMS for question in QUESTIONS
    ]
    assert {record.text for record in asked.records if record.arm == "whole_again"} == {"half@1 says"}


def test_only_what_is_not_known_is_started(tmp_path: Path, world: World) -> None:
    with closing(asker_of(tmp_path)) as asker:
        asker.ask_all(ARMS[:3], QUESTIONS)
    world.events.clear()
    with closing(asker_of(tmp_path)) as asker:
        asked = asker.ask_all(ARMS[:4], QUESTIONS)
    assert world.events == ["+lora@2", "+prefix@3", "prefix@3", "-prefix@3"]
    assert len(asked.records) == 4 * len(QUESTIONS)
    world.events.clear()
    with closing(asker_of(tmp_path)) as asker:
        asker.ask_all(ARMS[:4], QUESTIONS)
    assert world.events == []


def test_an_engine_of_its_own_goes_also_when_its_turn_ends_early(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with closing(asker_of(tmp_path)) as asker:
        asker.start({})
        monkeypatch.setattr(asking, "ask", broken)
        with pytest.raises(KeyboardInterrupt):
            asker.ask_all(ARMS[:1], QUESTIONS)
    assert world.events == ["+half@1", "-half@1"]


def test_somebody_elses_engine_has_all_adapters_at_once(tmp_path: Path, world: World) -> None:
    with closing(asker_of(tmp_path, url="http://127.0.0.1:9/v1")) as asker:
        asker.ask_all(ARMS[:3], QUESTIONS[:1])
    assert world.events == ["+half@1", "+lora@2", "+prefix@3", "half@1", "base-model", "lora@2"]


def test_first_tokens_are_timed_of_what_is_loaded_alone_and_of_known_answers_too(tmp_path: Path, world: World) -> None:
    with closing(asker_of(tmp_path)) as asker:
        asker.ask_all(ARMS[:3], QUESTIONS)
    world.events.clear()
    with closing(asker_of(tmp_path, probes=2)) as asker:
        asker.ask_all(ARMS[:4], QUESTIONS)
    # Known answers, and times that are not: each adapter is asked while it is there.
    assert world.events == [
        *("+lora@2", "base-model", "lora@2"),
        *("+half@1", "half@1", "-half@1"),
        *("+prefix@3", "prefix@3", "-prefix@3"),
    ]
