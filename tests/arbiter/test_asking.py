"""Who is loaded when, while the arms of a whole grid are asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
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
from eval.answers import Asked
from eval.evaluate import build_scorecard
from eval.questions import Question
from eval.race import plan_race
from eval.scorer import Scorer
from eval.settings import RaceSettings
from router.answering.arm import Arm
from router.answering.engine import Place
from router.deciding.scorecard import Scorecard
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
SCORER = Scorer(("answered",), lambda _question, record: [float(bool(record.text))])
QUESTIONS = tuple(Question(f"q{i}", f"What is {i}?", (str(i),)) for i in range(3))


@dataclass
class World:
    """An engine that notes what happens; `events` are adapters that come (+) and go (-), and models that are asked."""

    events: list[str] = field(default_factory=list)
    own_engines: int | None = None

    @contextmanager
    def open(
        self, config: Config, base: ResolvedModel, adapters: Mapping[str, Adapter], *, own_engines: int, **_: Any
    ) -> Iterator[Any]:
        self.own_engines = own_engines

        def answer(path: str, asked: Any) -> tuple[int, object]:
            if self.events[-1:] != [asked["model"]]:
                self.events.append(asked["model"])
            return 200, completion(f"{asked['model']} says").model_dump(mode="json")

        is_remote = config.engine.url is not None
        self.events += [f"+{name}" for name, one in adapters.items() if is_remote or not one.has_own_engine]
        with serving_json(answer) as url:
            yield OpenEngine(
                url=url,
                base_model="base-model",
                api_key="none",
                is_ready=lambda: True,
                load=lambda adapter: self.events.append(f"+{adapter.name}"),
                expect=lambda adapter: self.events.append(f"?{adapter.name}"),
                keep=lambda names: self.events.append(f"keep {sorted(names)}"),
                unload=lambda adapter: self.events.append(f"-{adapter.name}"),
                forms=frozenset({"lora"}),
                max_rank=16,
                hold=lambda _: nullcontext(Place(url)),
            )


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(asking, "open_engine", world.open)
    return world


def asker_of(tmp_path: Path, *, probes: int = 0, race: Any = None, **engine: Any) -> Asker:
    given = {"data": "demo", "eval": {"first_token_probes": probes}, "engine": engine, "race": race}
    return Asker(
        config=Config.model_validate(given),
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


def test_a_grid_has_one_engine_of_an_adapter_at_a_time_and_a_race_as_many_as_may_run(
    tmp_path: Path, world: World
) -> None:
    with closing(asker_of(tmp_path, max_own_engines=3)) as asker:
        asker.start()
    assert world.own_engines == 0  # beside the one that is asked
    with closing(asker_of(tmp_path, race={}, max_own_engines=3)) as asker:
        asker.start()
    assert world.own_engines == 2


def test_engines_of_their_own_take_turns_in_each_batch_of_a_race_and_stay_for_the_next(
    tmp_path: Path, world: World
) -> None:
    def score(asked: Asked) -> Scorecard:
        return build_scorecard(ARMS[:4], asked, [SCORER], primary="answered")

    def race() -> Asked:
        with closing(asker_of(tmp_path, race={}, probes=1)) as asker:
            return asker.race(ARMS[:4], plan_race(QUESTIONS, RaceSettings(batch=2)), score)

    raced = race()
    turns = [
        *("base-model", "lora@2"),
        *("+half@1", "half@1", "keep []"),
        *("+prefix@3", "prefix@3", "keep []"),
    ]
    assert world.events == ["+lora@2", *turns[:2], *turns * 2]  # first tokens first
    places = [(record.arm, record.question_id) for record in raced.records]
    batches = plan_race(QUESTIONS, RaceSettings(batch=2)).batches
    assert places == [(arm.name, question.id) for batch in batches for arm in ARMS[:4] for question in batch]
    # What is known is replayed without an engine.
    world.events.clear()
    assert race().records == raced.records
    assert world.events == []


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
        asker.start()
        monkeypatch.setattr(asking, "ask", broken)
        with pytest.raises(KeyboardInterrupt):
            asker.ask_all(ARMS[:1], QUESTIONS)
    assert world.events == ["+lora@2", "+half@1", "-half@1"]


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


def test_likelihoods_are_asked_of_the_adapters_own_engine_once(tmp_path: Path, world: World) -> None:
    texts = [(QUESTIONS[0], "zero"), (QUESTIONS[0], "none")]
    with closing(asker_of(tmp_path)) as asker:
        assert asker.weigh(ARMS[0], texts) == [None, None]  # this engine does not say them
    assert world.events == ["+lora@2", "+half@1", "half@1", "-half@1"]
    with closing(asker_of(tmp_path)) as asker:
        for question, text in texts:
            asker._cache.put_likelihood(ARMS[0], question, text, asker.versions, -1.0)
        assert asker.weigh(ARMS[0], texts) == [-1.0, -1.0]
    assert len(world.events) == 4
