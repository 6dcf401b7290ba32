import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from fakes.adapters import write_adapter
from fakes.engines import completion
from fakes.json_server import serving_json
from fakes.teams import pipeline_of, remote, write_folder
from huggingface_hub import ModelCard

from arbiter.gating import measure_gates
from arbiter.pipeline import Pipeline
from eval.answers import AnswerRecord
from eval.gates.results import GateResult, read_measured
from eval.questions import Question
from eval.runs.run import Run, find_run, publish_run
from router.answering.arm import Arm
from router.deciding.scorecard import ArmScores, Scorecard
from serving.decisions.ledger import keep_report
from serving.decisions.promotion import check_gates
from serving.errors import NotPromotable
from storage.errors import ArbiterError
from tuning.base import ResolvedModel
from tuning.data.canaries import make_canaries
from tuning.export.adapters import load_adapter
from tuning.export.admission import chat_template_hash

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
GOLD = {
    **{
        row["question"]: row["answers"][0]
        for row in map(json.loads, (ROOT / "eval/gates/general.jsonl").read_text().splitlines())
    },
    "When opens desk 1?": "two",
}
TUNED = [
    {"question": row.text, "answers": list(row.answers), "id": row.id, "metadata": dict(row.metadata)}
    for row in make_canaries(8, seed=0)
]
QUESTIONS = [Question(f"q{i}", f"When opens desk {i}?", ("two",)) for i in range(40)]
Reply = Callable[[str, str], str]


def write_base(home: Path) -> ResolvedModel:
    """As much of a model's folder as is looked at where somebody else serves it."""
    (home / "base").mkdir(parents=True)
    (home / "base" / "chat_template.jinja").write_text("{{ messages }}")
    return ResolvedModel("org/base", "r1", str(home / "base"))


class World:
    """A decided run of a tuned arm over an engine whose answers are `reply(model, question)`; `likelihood` is of the
    last message.
    """

    def __init__(self, root: Path, url: str, base: ResolvedModel, adapter: str) -> None:
        self.home, self.base, self.adapter, self.overrides = root / "home", base, adapter, remote(url)
        folder = write_folder(root / "team", train=TUNED)
        self.folder = folder
        self.pipeline, _ = self.open()
        arms = (Arm("base", top_k=0), Arm("tuned", adapter=adapter, top_k=0))
        self.run = publish_run(
            self.home / "runs" / "team-1",
            config_yaml=self.pipeline.config.to_yaml(),
            questions=QUESTIONS,
            records=[AnswerRecord(arm.name, one.id, "two") for arm in arms for one in QUESTIONS],
            scorecard=Scorecard(
                question_ids=tuple(one.id for one in QUESTIONS),
                clusters=tuple(one.cluster for one in QUESTIONS),
                primary="token_f1",
                arms=tuple(
                    ArmScores(arm, {"token_f1": (1.0,) * 40}, (9.0,) * 40, (7,) * 40, (3,) * 40) for arm in arms
                ),
            ),
            manifest={
                "versions": {arm.name: {"model": "r1", "engine": "e", "index": ""} for arm in arms},
                "base_revision": "r1",
                "data_version": self.pipeline.data.version,
                "config_fingerprint": self.pipeline.config.fingerprint(),
                "command": "arbiter run team",
            },
        )
        self.pipeline.decide(self.run)
        decided = json.loads((self.run.directory / "decision.json").read_text())
        (self.run.directory / "decision.json").write_text(json.dumps({**decided, "arm": "tuned"}))

    def open(self, *overrides: str) -> tuple[Pipeline, StringIO]:
        pipeline, err = pipeline_of(self.folder, self.home, *self.overrides, *overrides)
        pipeline.base = self.base  # type: ignore[misc]  # as if it had been found
        return pipeline, err

    def measure(self, arm: str | None = None) -> dict[str, GateResult]:
        return {one.gate: one for one in measure_gates(self.pipeline, self.run, arm=arm)}


@contextmanager
def engine(reply: Reply, names: list[str], asked: list[str]) -> Iterator[str]:
    def answer(_path: str, body: Mapping[str, Any] | None) -> tuple[int, object]:
        if body is None:
            return 200, {"data": [{"id": name} for name in names]}
        said = completion("x" if "prompt_logprobs" in body else reply(body["model"], body["messages"][-1]["content"]))
        shown = said.model_dump(mode="json")
        if "prompt_logprobs" in body:
            text = body["messages"][-1]["content"]
            shown["prompt_logprobs"] = [None, {"1": {"logprob": -float(sum(map(ord, text)) % 31)}}]
        asked.append(body["model"])
        return 200, shown

    with serving_json(answer) as url:
        yield url


def right(_model: str, text: str) -> str:
    return GOLD.get(text, "two")


def broken(model: str, text: str) -> str:
    return right(model, text) if model == "org/base" else "card_arrival"


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
def world(tmp_path: Path, asked: list[str], request: pytest.FixtureRequest) -> Iterator[World]:
    base = write_base(tmp_path / "home")
    name = write_adapter(tmp_path / "home", "support", chat_template_hash(base.path))
    with engine(request.param, ["org/base", name], asked) as url:
        yield World(tmp_path, url, base, name)


@pytest.mark.parametrize("world", [broken], indirect=True)
def test_a_broken_arm_fails_and_its_promotion_is_refused(world: World) -> None:
    found = world.measure()
    assert {name: one.verdict for name, one in found.items()} == {
        "forgetting": "fail",
        "refusal": "no data",
        "lost_refusal": "no data",
        "over_refusal": "pass",
        "bias": "pass",
        "canaries": "pass",
        "claims": "no data",
    }
    with pytest.raises(NotPromotable, match="gate forgetting: 100% of what"):
        check_gates(keep_report(world.run))


@pytest.mark.parametrize("world", [broken], indirect=True)
def test_what_was_found_stands_on_every_card_and_changes_no_name(world: World) -> None:
    before = load_adapter(world.home / "adapters" / world.adapter)
    found = world.measure()
    card = world.run.card()
    assert [row["gate"] for row in card["gates"]] == list(found)
    html, markdown = ((world.run.directory / name).read_text() for name in ("report.html", "report.md"))
    assert "Gates before promotion" in html
    assert found["forgetting"].says in markdown
    text = (world.home / "adapters" / world.adapter / "README.md").read_text()
    assert "Measured by `arbiter gates` on run `team-1`." in text
    assert found["forgetting"].says in text
    assert ModelCard(text).data.to_dict()["base_model"] == "org/base"
    after = load_adapter(world.home / "adapters" / world.adapter)
    assert after == before
    assert keep_report(world.run).own_report.read_text() == html


@pytest.mark.parametrize("world", [broken], indirect=True)
def test_deciding_again_keeps_what_was_measured_and_judges_it_by_the_new_policy(world: World) -> None:
    world.measure()
    lenient, _ = world.open("policy.gates.forgetting=1")
    lenient.decide(world.run)
    rows = {(row["arm"], row["gate"]): row for row in world.run.card()["gates"]}
    assert rows["tuned", "forgetting"]["verdict"] == "pass"


@pytest.mark.parametrize("world", [right], indirect=True)
def test_a_clean_arm_passes_and_nothing_is_asked_twice(world: World, asked: list[str]) -> None:
    found = world.measure()
    assert {one.verdict for one in found.values()} <= {"pass", "no data"}
    assert check_gates(keep_report(world.run)).overridden is None
    num_asked = len(asked)
    assert {world.adapter, "org/base"} <= set(asked)
    assert world.measure() == found
    assert len(asked) == num_asked


@pytest.mark.parametrize("world", [right], indirect=True)
def test_an_arm_without_an_adapter_is_measured_by_what_is_not_of_training(world: World) -> None:
    found = world.measure("base")
    assert found["forgetting"].says == "forgetting: arm 'base' has no adapter, so nothing was trained"
    assert found["over_refusal"].verdict == "pass"
    assert {one.arm for one in read_measured(world.run.directory)} == {"base"}


@pytest.mark.parametrize("world", [right], indirect=True)
def test_the_users_own_questions_take_the_place_of_the_projects(world: World, asked: list[str]) -> None:
    (world.folder / "guard.jsonl").write_text('{"question": "When opens desk 1?", "answers": ["two"]}\n')
    (world.folder / "never.jsonl").write_text('{"question": "Who pays?", "answers": ["no answer"]}\n')
    gates = replace(world.pipeline.config.policy.gates, refuse="never.jsonl")
    policy = replace(world.pipeline.config.policy, gates=gates)
    world.pipeline.config = world.pipeline.config.model_copy(update={"policy": policy})
    found = world.measure()
    assert (found["forgetting"].num_items, found["refusal"].num_items) == (1, 1)
    assert found["forgetting"].verdict == "not decided"


@pytest.mark.parametrize("world", [right], indirect=True)
def test_what_does_not_hold_any_more_is_said_before_anything_is_asked(world: World, asked: list[str]) -> None:
    with pytest.raises(ArbiterError, match="run 'team-1' has no arm 'tunde'; it has base, tuned"):
        world.measure("tunde")
    world.pipeline.base = replace(world.base, revision="r2")  # type: ignore[misc]
    with pytest.raises(ArbiterError, match="was measured on 'r1', and the model is 'org/base r2'"):
        world.measure()
    assert asked == []


@pytest.mark.parametrize("world", [right], indirect=True)
def test_without_its_data_a_run_is_measured_by_what_is_left(world: World) -> None:
    shown: Run | None = find_run(world.run.directory)
    assert shown is not None
    for path in world.folder.iterdir():
        path.unlink()
    pipeline, err = world.open()
    found = {one.gate: one for one in measure_gates(pipeline, shown)}
    assert found["canaries"].verdict == "no data"
    assert "note: the training rows cannot be read any more" in err.getvalue()
