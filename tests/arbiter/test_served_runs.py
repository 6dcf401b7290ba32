import io
import json
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fakes.adapters import write_adapter
from fakes.decisions import make_decision
from fakes.embedders import WordEmbedder, WordTokens
from fakes.engines import ScriptedEngine
from fakes.topics import write_set
from numpy.typing import NDArray
from pydantic import SecretStr

from arbiter.build import index_home
from arbiter.config.loading import load_config
from arbiter.config.schema import Config
from arbiter.console import Console
from arbiter.data import load_data
from arbiter.served_runs import RunOpener, ServedRuns
from eval.questions import Question
from eval.runs.run import publish_run
from rag.chunking.chunk import ChunkSettings
from rag.documents.document import Document
from rag.home import IndexHome, OpenIndexes
from router.answering.arm import Arm
from router.deciding.scorecard import ArmScores, Scorecard
from router.errors import EngineUnavailable
from serving.decisions.ledger import RecordedDecision
from serving.engine.engine import OpenEngine
from serving.errors import NotPromotable
from storage.errors import ArbiterError
from tuning.base import ResolvedModel
from tuning.export.adapters import Adapter

BASE = ResolvedModel("org/base", "r1", "/models/base")


class LetterEmbedder(WordTokens):
    """A text is the counts of its letters."""

    name = "letters@1"
    dimension = 26

    def embed(self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None) -> NDArray[np.float32]:
        rows = np.array([[1 + text.lower().count(chr(97 + i)) for i in range(26)] for text in texts], dtype=np.float32)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)

    def embed_query(self, query: str) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self.embed([query])[0]
        return vector


class Home:
    """A data directory with one finished run of two arms, and the data it was made from."""

    def __init__(self, root: Path) -> None:
        self.path = root / "home"
        self.data = root / "desk"
        self.data.mkdir()
        self.write("docs.jsonl", {"id": "d1", "text": "The desk opens at nine."})
        self.write("test.jsonl", {"id": "q1", "question": "When does the desk open?", "answers": ["nine"]})
        config_file = root / "desk.yaml"
        config_file.write_text(yaml.safe_dump({"data": str(self.data), "model": "org/base"}))
        self.config = load_config(config_file, [], {})
        self.embedder = LetterEmbedder()
        self.adapter = write_adapter(self.path)
        self.sets: list[str] = []
        self.index = IndexHome(self.path).create("desk", self.embedder, ChunkSettings(20, 0))
        self.sync("The desk opens at nine.")
        self.num_read = 0

    def write(self, name: str, *rows: dict[str, Any]) -> None:
        (self.data / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def sync(self, text: str) -> None:
        self.index.sync([Document(id="d1", title="", text=text)])

    def version(self, config: Config) -> str:
        self.num_read += 1
        return load_data(config.data, trains=False).version

    def decided(self, arm: str = "hybrid") -> RecordedDecision:
        arms = (
            Arm("base", top_k=0),
            Arm("hybrid", adapter=self.adapter, index="desk", top_k=1),
            *(Arm(f"memory-{i}", adapter=name, top_k=0) for i, name in enumerate(self.sets)),
        )
        scorecard = Scorecard(
            question_ids=("q1",),
            clusters=("d1",),
            primary="token_f1",
            arms=tuple(ArmScores(a, {"token_f1": (1.0,)}, (12.0,), (7,), (3,)) for a in arms),
        )
        directory = self.path / "runs" / "desk-1a2b3c-00000001"
        if not directory.exists():
            publish_run(
                directory,
                config_yaml=yaml.safe_dump(self.config.model_dump(mode="json")),
                questions=[Question("q1", "When does the desk open?", ("nine",))],
                records=[],
                scorecard=scorecard,
                manifest={"versions": {"base": {"index": ""}, "hybrid": {"index": self.index.state.version}}},
            )
        return make_decision(arm, run_directory=directory, data_version=self.version(self.config))

    def open_indexes(self, embedder: LetterEmbedder | None = None) -> OpenIndexes:
        return OpenIndexes(index_home(self.config, self.path), embedder or self.embedder)

    def runs(self, **changes: Any) -> ServedRuns:
        parts: dict[str, Any] = {"home": self.path, "open_indexes": self.open_indexes(), "base": BASE}
        return ServedRuns(config=self.config, **{**parts, **changes}, data_version=self.version)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    yield home
    home.index.close()


class Loading:
    """An engine that remembers what it was told to take in, what of it to have up at once, and what to keep up."""

    def __init__(self, *, ready: bool = True, refusal: str | None = None) -> None:
        self.loaded: list[str] = []
        self.started: list[str] = []
        self.kept: list[str] = []
        self.ready = ready
        self.refusal = refusal

    def expect(self, adapter: Adapter) -> None:
        if self.refusal is not None:
            raise ArbiterError(self.refusal)
        self.loaded.append(adapter.name)

    def keep(self, names: Collection[str]) -> None:
        self.kept = sorted(names)

    def engine(self) -> OpenEngine:
        return OpenEngine(
            url="http://engine.test/v1",
            base_model="org/base",
            api_key="none",
            is_ready=lambda: self.ready,
            load=lambda adapter: self.started.append(adapter.name),
            expect=self.expect,
            keep=self.keep,
            unload=lambda adapter: self.loaded.remove(adapter.name),
            forms=frozenset({"lora"}),
            max_rank=16,
        )

    def opener(self, runs: ServedRuns) -> RunOpener:
        return RunOpener(runs, self.engine(), ScriptedEngine(lambda _: "nine"))


def test_a_run_is_opened_with_its_arms_indexes_and_adapters(home: Home) -> None:
    decision, runs, engine = home.decided(), home.runs(), Loading()
    assert runs.stale_reason(decision) is None
    opener = engine.opener(runs)
    served = opener.open(decision)
    assert list(served.arms) == ["base", "hybrid"]
    assert (served.arm("auto").name, served.decision_id) == ("hybrid", decision.id)
    assert engine.loaded == [home.adapter]
    assert served.question == "When does the desk open?"
    measured = served.measured["hybrid"]
    assert (measured["metric"], measured["score"], measured["num_questions"]) == ("token_f1", 1.0, 1)
    assert (measured["cost_per_1k"], measured["median_latency_ms"], measured["num_unscored"]) == (0.1, 12.0, 0)


def test_an_interval_counts_documents_where_they_will_change(home: Home) -> None:
    decision = home.decided()
    directory = decision.run_directory
    stored = json.loads((directory / "scorecard.json").read_text())
    names = [f"q{i}" for i in range(40)]
    scores = {"token_f1": [1.0] * 20 + [0.0] * 20}
    columns = {"latency_ms": [12.0] * 40, "prompt_tokens": [7] * 40, "generated_tokens": [3] * 40}
    stored |= {"question_ids": names, "clusters": ["d1"] * 20 + ["d2"] * 20, "documents_given": True}
    stored["arms"] = [{**arm, "scores": scores, **columns} for arm in stored["arms"]]
    (directory / "scorecard.json").write_text(json.dumps(stored))

    def width(churn: float) -> float:
        own = decision.model_copy(update={"policy": {"traffic": {"churn": churn}}})
        found = Loading().opener(home.runs()).open(own).measured["base"]
        return float(found["high"]) - float(found["low"])  # type: ignore[arg-type]

    assert width(0.1) > 2 * width(0.0)


@pytest.mark.parametrize(("arm", "is_started"), [("hybrid", True), ("base", False)])
def test_what_is_served_first_has_the_engine_of_its_decided_arm_up(
    home: Home, monkeypatch: pytest.MonkeyPatch, arm: str, is_started: bool
) -> None:
    engine = Loading()
    monkeypatch.setattr("arbiter.served_runs.open_engine", lambda *_, **__: nullcontext(engine.engine()))
    with home.runs().served(home.decided(arm), Console(stderr=io.StringIO())) as (_, served, _):
        assert (served.arm("auto").name, list(served.arms)) == (arm, ["base", "hybrid"])
        assert engine.started == [home.adapter] * is_started


def test_the_engine_of_what_is_decided_now_is_kept(home: Home) -> None:
    engine = Loading()
    opener = engine.opener(home.runs())
    served = opener.open(home.decided())
    assert (engine.started, engine.kept) == ([], [])
    opener.keep(served.arms["hybrid"])
    assert engine.kept == [home.adapter]
    opener.keep(served.arms["base"])
    assert engine.kept == []


def test_adapters_that_are_not_needed_are_unloaded(home: Home) -> None:
    engine = Loading()
    opener = engine.opener(home.runs())
    opener.open(home.decided())
    opener.unload_except({home.adapter})
    assert engine.loaded == [home.adapter]
    for _ in range(2):
        opener.unload_except(set())
        assert engine.loaded == []


async def test_a_set_is_served_by_its_members(home: Home) -> None:
    made = write_set(home.path, home.embedder, {"zzz": 3, "qqq": 4}, threshold=0.9)
    home.sets = [made.name]
    engine, decision, runs = Loading(), home.decided("memory-0"), home.runs()
    opener = engine.opener(runs)
    served = opener.open(decision)
    members = [member.name for member in made.members]
    assert engine.loaded == [home.adapter, *members]
    for text, chosen in (("zzzz", members[0]), ("qqqq", members[1]), ("abcdefghijklmnoprstuvwxy", "org/base")):
        prepared = await served.answerer.prepare(served.arm("auto"), [{"role": "user", "content": text}])
        assert (prepared.request.model, prepared.chosen) == (chosen, chosen)
    assert served.arm(f"org/base:{made.name}").condense == "recent"
    opener.unload_except({made.name})
    assert engine.loaded == members
    opener.unload_except(set())
    assert engine.loaded == []
    assert runs.stale_reason(decision) is None
    shutil.rmtree(made.members[0].path)
    assert f"adapter {made.name!r} is gone" in str(runs.stale_reason(decision))


async def test_a_set_of_another_embedder_cannot_be_served(home: Home) -> None:
    home.sets = [write_set(home.path, WordEmbedder(), {"tide": 3, "loan": 4}).name]
    with pytest.raises(NotPromotable, match=r"chooses by embedder 'words@1', and this one is 'letters@1'"):
        home.runs().parts_of(home.decided("memory-0"))


async def test_an_opened_run_answers_through_its_index(home: Home) -> None:
    served = Loading().opener(home.runs()).open(home.decided())
    prepared = await served.answerer.prepare(served.arm("auto"), [{"role": "user", "content": "When?"}])
    assert prepared.passages[0].text == "The desk opens at nine."
    assert prepared.request.model == home.adapter


def test_a_changed_index_makes_stale_but_can_be_served(home: Home) -> None:
    decision, runs = home.decided(), home.runs()
    home.sync("The desk opens at ten.")
    assert "index 'desk' has changed since" in str(runs.stale_reason(decision))
    assert runs.parts_of(decision).arms
    home.sync("The desk opens at nine.")
    assert runs.stale_reason(decision) is None


def test_changed_data_makes_stale_and_is_read_again_only_when_touched(home: Home) -> None:
    decision, runs = home.decided(), home.runs()
    for _ in range(3):
        assert runs.stale_reason(decision) is None
    assert home.num_read == 2
    home.write("test.jsonl", {"id": "q1", "question": "When does the desk close?", "answers": ["five"]})
    assert "the data has changed since" in str(runs.stale_reason(decision))
    (home.data / "test.jsonl").unlink()
    assert "what it was measured on cannot be read" in str(runs.stale_reason(decision))


def test_another_config_of_the_same_data_is_read_as_it_was(home: Home) -> None:
    """A run without the standard arms must not have them when its data is read again."""
    home.config = home.config.model_copy(update={"arms": {"base": home.config.arms["base"]}})
    decision = home.decided()
    seen: list[Config] = []

    def version(config: Config) -> str:
        seen.append(config)
        return home.version(config)

    runs = ServedRuns(
        config=home.config, home=home.path, open_indexes=home.open_indexes(), base=BASE, data_version=version
    )
    assert runs.stale_reason(decision) is None
    assert list(seen[0].arms) == ["base"]


def test_another_config_is_read_with_the_places_of_this_one(home: Home) -> None:
    """A run does not write down the database: its address may hold a password."""
    open_indexes = home.open_indexes()
    mine = replace(home.config.index, database=SecretStr("postgresql://desk:sesame@host/rows"))
    home.config = home.config.model_copy(update={"index": mine})
    decision = home.decided()
    assert "sesame" not in (decision.run_directory / "config.yaml").read_text()
    other = home.config.model_copy(update={"seed": 7})
    seen: list[Config] = []

    def version(config: Config) -> str:
        seen.append(config)
        return home.version(config)

    runs = ServedRuns(config=other, home=home.path, open_indexes=open_indexes, base=BASE, data_version=version)
    assert runs.stale_reason(decision) is None
    assert seen[0].seed == home.config.seed
    assert seen[0].index.database == other.index.database


def without_adapter(home: Home, decision: RecordedDecision) -> RecordedDecision:
    shutil.rmtree(home.path / "adapters" / home.adapter)
    return decision


def without_run(home: Home, decision: RecordedDecision) -> RecordedDecision:
    shutil.rmtree(decision.run_directory)
    return decision


def without_index(home: Home, decision: RecordedDecision) -> RecordedDecision:
    home.index.close()
    for file in home.path.glob("arbiter.db*"):
        file.unlink()
    return decision


def damaged_adapter(home: Home, decision: RecordedDecision) -> RecordedDecision:
    (home.path / "adapters" / home.adapter / "adapter_model.safetensors").write_bytes(b"other")
    return decision


@pytest.mark.parametrize(
    ("change", "reason", "is_stale"),
    [
        (without_adapter, "is gone", True),
        (without_run, "its run is gone", True),
        (without_index, "no index 'desk'", True),
        (damaged_adapter, "is damaged", False),
        (
            lambda _, decision: decision.model_copy(update={"arm": "nosuch"}),
            "has no arm 'nosuch'; it has base, hybrid",
            False,
        ),
        (
            lambda _, decision: decision.model_copy(update={"base_model": "org/other r9"}),
            "measured on 'org/other r9'",
            False,
        ),
    ],
)
def test_what_is_gone_or_does_not_fit_is_named(
    home: Home, change: Callable[[Home, RecordedDecision], RecordedDecision], reason: str, is_stale: bool
) -> None:
    decision = change(home, home.decided())
    runs = home.runs()
    assert (runs.stale_reason(decision) is not None) == is_stale
    with pytest.raises(NotPromotable, match=reason):
        runs.parts_of(decision)


def test_an_engine_that_refuses_an_adapter_or_is_away_leaves_the_reason(home: Home) -> None:
    decision = home.decided()
    with pytest.raises(NotPromotable, match="rank 64 is over"):
        Loading(refusal="rank 64 is over max_lora_rank 16").opener(home.runs()).open(decision)
    with pytest.raises(EngineUnavailable):
        Loading(ready=False).opener(home.runs()).open(decision)
