"""The learning curve of an arm whose adapters know as much as they have rows; nothing is trained."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from fakes.adapters import ADAPTER
from fakes.embedders import WordEmbedder
from fakes.engines import completion
from fakes.json_server import serving_json

from arbiter import training
from arbiter.config.schema import Config
from arbiter.console import Console
from arbiter.curve import measure_curve
from arbiter.pipeline import Pipeline
from storage.errors import ArbiterError
from tuning.base import ResolvedModel
from tuning.export.adapters import Adapter
from tuning.export.admission import chat_template_hash

NUM_DEV = 40


@dataclass
class World:
    """An engine and a trainer: an adapter answers the first questions, as many as its rows are worth."""

    worth: Mapping[int, int]
    known: dict[str, int] = field(default_factory=dict)
    rows: list[list[str]] = field(default_factory=list)
    models: list[str] = field(default_factory=lambda: ["org/base"])
    num_asked: int = 0

    def train(self, **given: Any) -> Adapter:
        num_rows = len(given["rows"])
        self.rows.append([row.completion for row in given["rows"]])
        name = f"{given['name']}@{num_rows:08d}"
        self.known[name] = self.worth[num_rows]
        base = given["base"]
        template = chat_template_hash(base.path)
        described = {"base_name": base.name, "base_revision": base.revision, "chat_template_hash": template}
        return replace(ADAPTER, name=name, path=Path(name), num_rows=num_rows, **described)

    @contextmanager
    def listening(self) -> Iterator[str]:
        def answer(path: str, asked: dict[str, Any] | None) -> tuple[int, object]:
            if asked is None:
                return 200, {"data": [{"id": name} for name in self.models]}
            if path == "/load_lora_adapter":
                self.models.append(asked["lora_name"])
                return 200, {}
            if path == "/unload_lora_adapter":
                self.models.remove(asked["lora_name"])
                return 200, {}
            self.num_asked += 1
            prompt = str(asked["messages"][-1]["content"])
            asked_for = prompt.rpartition("What is number ")
            if not asked_for[1]:  # the test question, which documents answer
                said = "Ada" if "is answered by" in prompt else "nobody knows"
                return 200, completion(said).model_dump(mode="json")
            number = int(asked_for[2].split("?")[0])
            is_known = number < self.known.get(asked["model"], 0) or (number % 2 == 0 and "is answered by" in prompt)
            return 200, completion(f"answer {number}" if is_known else "nobody knows").model_dump(mode="json")

        with serving_json(answer) as url:
            yield url


def folder_of(tmp_path: Path, *, num_rows: int) -> Path:
    folder = tmp_path / "library"
    folder.mkdir()

    def write(name: str, rows: list[dict[str, object]]) -> None:
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    write("docs.jsonl", [{"id": f"d{i}", "text": f"number {i} is answered by {i}"} for i in range(NUM_DEV)])
    asked = {"answers": ["Ada"], "question": "Who keeps the archive keys?"}
    write("test.jsonl", [asked])
    write("dev.jsonl", [{"question": f"What is number {i}?", "answers": [f"answer {i}"]} for i in range(NUM_DEV)])
    write(
        "train.jsonl",
        [{"question": f"Which row has place {i} of all?", "answers": [f"row {i}"]} for i in range(num_rows)],
    )
    return folder


def measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: World, *, num_rows: int = 80, **values: Any
) -> tuple[Any, str]:
    monkeypatch.setattr(training, "train_adapter", world.train)
    folder_of(tmp_path, num_rows=num_rows)
    said = StringIO()
    with world.listening() as url:
        return measure_curve(pipeline_of(tmp_path, url, said, needs_dev=True, **values)), said.getvalue()


def pipeline_of(
    tmp_path: Path, url: str, said: StringIO | None = None, *, needs_dev: bool = False, **values: Any
) -> Pipeline:
    """The pipeline over the library, with base, rag and tuned."""
    path = tmp_path / "model"
    path.mkdir(exist_ok=True)
    (path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    usual: dict[str, Any] = {
        "data": tmp_path / "library",
        "model": "org/base",
        "engine": {"url": url},
        "index": {"top_k": 1},
        "eval": {"patience_s": 1},
        "policy": {"metric": "exact_match"},
        "arms": {"fewshot": None, "tuned_rag": None, "hybrid": None},
    }
    config = Config.model_validate(usual | values)
    console = Console(stderr=said or StringIO(), stdout=StringIO())
    pipeline = Pipeline(config, home=tmp_path / "home", console=console, needs_dev=needs_dev, command="arbiter run it")
    pipeline.base, pipeline.embedder_model = ResolvedModel("org/base", "r1", str(path)), ResolvedModel("w", "1", "w")
    pipeline.embedder = WordEmbedder()  # type: ignore[assignment]  # it has what is used of one
    return pipeline


@pytest.mark.slow  # 240 answers over HTTP
def test_the_curve_says_how_many_more_examples_reach_the_retrieval_arm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1, 4, 8, 14 of 40: a rising curve below the half that `rag` answers.
    world = World({10: 1, 20: 4, 40: 8, 80: 14})
    report, said = measured(tmp_path, monkeypatch, world, curve={"example_price": 2.0})
    assert report.curve.sizes == (10, 20, 40, 80)
    assert [interval.mean for interval in report.curve.intervals] == [0.025, 0.1, 0.2, 0.35]
    assert {name: interval.mean for name, interval in report.rivals.items()} == {"base": 0.0, "rag": 0.5}
    needed = report.needed["rag"]
    assert 90 < needed.expected < 300
    text = report.to_text()
    assert "tuned by exact_match on 40 dev questions:" in text
    assert f"about {needed.expected - 80:,} more examples until tuned is as good (90%: " in text
    assert f"at a cost of {2 * (needed.expected - 80):,}" in text
    assert "base: 0.00" in text
    assert "training tuned on 10, 20, 40, 80 rows, 40 dev questions each" in said
    shown = json.loads(json.dumps(report.to_dict()))
    assert [row["num_examples"] for row in shown["measured"]] == [10, 20, 40, 80]
    assert [row["num_examples"] for row in shown["forecast"]] == [160, 320]
    assert shown["forecast"][0]["mean"] > 0.35
    # Nested samples in their order, and one adapter loaded at a time.
    ten, twenty, *_ = world.rows
    assert set(ten) < set(twenty)
    assert ten == sorted(ten, key=lambda row: int(row.split()[1]))
    assert world.models == ["org/base"]


@pytest.mark.slow  # 240 answers over HTTP
def test_rows_that_are_mixed_in_keep_their_share_at_every_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "old"
    old.mkdir()
    rows = [{"question": f"Which old row has place {i} of all?", "answers": [f"old {i}"]} for i in range(40)]
    (old / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    # A fifth of all: 2 beside 10, 20 beside 80.
    world = World({12: 1, 25: 4, 50: 8, 100: 14})
    measured(tmp_path, monkeypatch, world, mix={"closed_book": {str(old): 0.2}})
    shares = [sum(row.startswith("old") for row in learned) for learned in world.rows]
    assert shares == [2, 5, 10, 20]
    assert [len(learned) for learned in world.rows] == [12, 25, 50, 100]


@pytest.mark.slow  # 240 answers over HTTP
def test_a_flat_curve_is_not_worth_asking_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report, _ = measured(tmp_path, monkeypatch, World({10: 4, 20: 4, 40: 4, 80: 4}), curve={"most": 500})
    assert report.needed["rag"].expected is None
    assert "more than 500 more examples until tuned is as good" in report.to_text()
    assert "not worth asking for" in report.to_text()


@pytest.mark.slow  # 240 answers over HTTP
def test_an_arm_that_is_ahead_needs_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report, _ = measured(tmp_path, monkeypatch, World({10: 8, 20: 18, 40: 30, 80: 38}))
    assert report.needed["rag"].expected <= 40
    assert "tuned is as good with" in report.to_text()


@pytest.mark.slow  # 240 answers over HTTP, and runs
def test_a_curve_is_kept_and_shown_on_the_cards_of_its_config_and_data_and_on_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World({10: 1, 20: 4, 40: 8, 80: 14, 81: 14})
    monkeypatch.setattr(training, "train_adapter", world.train)
    folder = folder_of(tmp_path, num_rows=80)
    unmeasured = (
        "No curve was measured of how far more than the {} examples would take the arms that are trained: "
        "arbiter tune --curve it"
    )

    def said(**values: Any) -> list[str]:
        pipeline = pipeline_of(tmp_path, url, **values)
        run = pipeline.evaluate()
        pipeline.decide(run)
        card = run.card()
        page = (run.directory / "report.html").read_text()
        assert ("More examples for tuned" in page) == bool(card["curves"])
        lines: list[str] = card["summary"]["examples"]
        return lines

    with world.listening() as url:
        assert said() == [unmeasured.format(80)]
        report = measure_curve(pipeline_of(tmp_path, url, needs_dev=True))
        more = report.needed["rag"].expected - 80
        (line,) = said()
        assert line.startswith(f"About {more} more examples until tuned is as good as ")
        # What has no part in the curve: the race, the number of test questions, the policy besides the metric.
        policy = {"metric": "exact_match", "prices": {"training_hour": 1e6}}
        priced = said(race=None, limits={"questions": 1}, policy=policy, curve={"example_price": 3})
        assert f"at a cost of {3 * more}" in priced[0]
        assert " and costs " in priced[0]
        assert said(policy={"metric": "token_f1"}) == [unmeasured.format(80)]
        with (folder / "train.jsonl").open("a") as file:
            file.write(json.dumps({"question": "Which row came later?", "answers": ["this"]}) + "\n")
        assert said() == [unmeasured.format(81)]


@pytest.mark.slow  # 240 answers over HTTP
def test_a_run_whose_data_has_changed_says_nothing_of_more_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World({10: 1, 20: 4, 40: 8, 80: 14})
    monkeypatch.setattr(training, "train_adapter", world.train)
    folder = folder_of(tmp_path, num_rows=80)
    with world.listening() as url:
        run = pipeline_of(tmp_path, url).evaluate()
        with (folder / "train.jsonl").open("a") as file:
            file.write(json.dumps({"question": "Which row came later?", "answers": ["this"]}) + "\n")
        pipeline_of(tmp_path, url).decide(run)
    assert run.card()["summary"]["examples"] == []


@pytest.mark.slow  # 240 answers over HTTP
def test_a_curve_that_was_stopped_asks_no_question_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World({10: 1, 20: 4, 40: 8, 80: 14})

    def stops(**given: Any) -> Adapter:
        if len(given["rows"]) == 40:
            raise KeyboardInterrupt
        return world.train(**given)

    monkeypatch.setattr(training, "train_adapter", stops)
    folder_of(tmp_path, num_rows=80)
    with world.listening() as url:
        with pytest.raises(KeyboardInterrupt):
            measure_curve(pipeline_of(tmp_path, url, needs_dev=True))
        assert not (tmp_path / "home" / "curves").exists()
        assert world.num_asked == 2 * NUM_DEV
        monkeypatch.setattr(training, "train_adapter", world.train)
        measure_curve(pipeline_of(tmp_path, url, needs_dev=True))
        assert world.num_asked == 6 * NUM_DEV
    assert len(list((tmp_path / "home" / "curves").glob("library-*-tuned-*.json"))) == 1


@pytest.mark.parametrize(
    ("num_rows", "values", "fault"),
    [
        (30, {}, "a curve needs at least 40 training rows, for three sizes of 10 and more; there are 30"),
        (
            80,
            {"curve": {"arm": "rag"}},
            "arm 'rag' is not trained on examples, so it has no curve; set curve.arm to one of tuned",
        ),
        (80, {"policy": {"metric": "nothing"}}, "nothing"),
    ],
)
def test_what_gives_no_curve_is_refused_before_anything_is_trained(
    num_rows: int, values: dict[str, Any], fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World({})
    with pytest.raises(ArbiterError, match=fault):
        measured(tmp_path, monkeypatch, world, num_rows=num_rows, **values)
    assert world.rows == []
