import json
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from fakes.embedders import WordEmbedder
from fakes.engines import completion
from fakes.json_server import serving_json

from arbiter import build
from arbiter.config.schema import Config
from arbiter.console import Console
from arbiter.pipeline import Pipeline
from arbiter.sweep.trials import run_sweep
from eval.errors import EvalError
from eval.sweep.space import SweepSettings
from rag.errors import RagError
from rag.home import IndexHome
from router.answering.prompts import ANSWER
from storage.errors import ArbiterError
from storage.folders import write_manifest
from storage.hashes import hash_files
from tuning.base import ResolvedModel
from tuning.data.rows import closed_book_rows
from tuning.export.adapters import adapter_hash
from tuning.export.admission import chat_template_hash
from tuning.training.run import recipe_hash

REPOSITORY = Path(__file__).parents[3]
# Each subject has a decoy nearer to the question than its fact, which is found second.
SUBJECTS = ("mill", "pier", "inn", "chapel", "forge", "ferry", "kiln", "tower")
QUESTION = "What does the {0} say of {0} {0} {0} hours?"
DECOY = "{0} {0} {0} {0} hours"
FACT = "{0} {0} opens at {1}"
HOURS = ("one", "two", "three", "four", "five", "six", "seven", "eight")


class Fleet:
    """An OpenAI-compatible server: it finds the hour in the prompt, and the adapters in `knowing` know every hour."""

    def __init__(self) -> None:
        self.models = ["org/base"]
        self.knowing: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.most_loaded = 0
        self.breaks_after: int | None = None

    def answer(self, body: dict[str, Any]) -> str:
        self.asked[body["model"]] += 1
        prompt = body["messages"][-1]["content"]
        subject = prompt.rpartition("does the ")[2].split()[0]
        hour = HOURS[SUBJECTS.index(subject)]
        is_known = FACT.format(subject, hour) in prompt or body["model"] in self.knowing
        return hour if is_known else "nobody knows"

    @contextmanager
    def listening(self) -> Iterator[str]:
        def answer(path: str, asked: dict[str, Any] | None) -> tuple[int, object]:
            if asked is None:
                return 200, {"data": [{"id": name} for name in self.models]}
            if path == "/load_lora_adapter":
                self.models.append(asked["lora_name"])
                self.most_loaded = max(self.most_loaded, len(self.models))
                return 200, {}
            if path == "/unload_lora_adapter":
                self.models.remove(asked["lora_name"])
                return 200, {}
            if self.breaks_after is not None and self.asked.total() >= self.breaks_after:
                return 503, {"error": {"message": "restarting"}}
            return 200, completion(self.answer(asked)).model_dump(mode="json")

        with serving_json(answer) as url:
            yield url


def write_rows(path: Path, rows: Sequence[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight dev questions, one test question and one training row."""
    folder = tmp_path / "library"
    folder.mkdir()
    documents = [
        {"id": f"{subject}-{kind}", "text": text}
        for subject, hour in zip(SUBJECTS, HOURS, strict=True)
        for kind, text in (("decoy", DECOY.format(subject)), ("fact", FACT.format(subject, hour)))
    ]
    write_rows(folder / "docs.jsonl", documents)
    write_rows(
        folder / "dev.jsonl",
        [
            {
                "id": subject,
                "question": QUESTION.format(subject),
                "answers": [hour],
                "doc_ids": [f"{subject}-fact"],
            }
            for subject, hour in zip(SUBJECTS, HOURS, strict=True)
        ],
    )
    write_rows(folder / "test.jsonl", [{"question": "Who keeps the archive keys?", "answers": ["Ada"]}])
    write_rows(folder / "train.jsonl", [{"question": "Which colour has the gate?", "answers": ["green"]}])
    return folder


@pytest.fixture
def base(tmp_path: Path) -> ResolvedModel:
    path = tmp_path / "model"
    path.mkdir()
    (path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    return ResolvedModel("org/base", "r1", str(path))


def open_pipeline(folder: Path, base: ResolvedModel, url: str, console: Console, **values: Any) -> Pipeline:
    config = Config.model_validate(
        {"data": folder, "model": "org/base", "index": {"top_k": 1, "chunk_tokens": 40}, **values}
        | {"engine": {"url": url}, "eval": {"patience_s": 0.1}}
    )
    pipeline = Pipeline(config, home=folder.parent / "home", console=console, needs_dev=True)
    pipeline.base, pipeline.embedder_model = base, ResolvedModel("words", "1", str(folder))
    pipeline.embedder = WordEmbedder()  # type: ignore[assignment]
    return pipeline


def num_answers(home: Path) -> int:
    with closing(sqlite3.connect(home / "answers.db")) as db:
        return int(db.execute("SELECT count(*) FROM answers").fetchone()[0])


def quiet() -> Console:
    return Console(stderr=StringIO(), stdout=StringIO())


RAG = SweepSettings(arm="rag", trials=10, space={"arms.rag.top_k": [1, 2], "index.chunk_tokens": [40, 50]})


@pytest.mark.slow
def test_settings_that_retrieve_the_answer_are_found_on_the_dev_questions(folder: Path, base: ResolvedModel) -> None:
    fleet = Fleet()
    with fleet.listening() as url:
        report = run_sweep(open_pipeline(folder, base, url, quiet()), RAG)
    assert report.defaults.settings == {"arms.rag.top_k": 1, "index.chunk_tokens": 40}
    assert report.best.settings["arms.rag.top_k"] == 2
    assert (report.defaults.mean, report.best.mean, report.num_questions) == (0.0, 1.0, 8)
    assert report.stopped == "space"
    assert report.words()[0] == "arms.rag.top_k=2"
    # Ten trials fit the budget, four exist; only they were asked, of the dev questions alone.
    assert fleet.asked == {"org/base": 4 * 8}


@pytest.mark.slow
def test_a_search_leaves_the_served_index_alone(folder: Path, base: ResolvedModel) -> None:
    with Fleet().listening() as url:
        pipeline = open_pipeline(folder, base, url, quiet())
        pipeline.index()
        name = build.index_name(pipeline.data, "documents")
        before = IndexHome(pipeline.home).open(name, pipeline.embedder)
        generation, version = before.state.generation, before.state.version
        run_sweep(open_pipeline(folder, base, url, quiet()), RAG)
        after = IndexHome(pipeline.home).open(name, pipeline.embedder)
    assert (after.state.generation, after.state.version) == (generation, version)


@pytest.mark.slow
def test_the_same_command_goes_on_after_the_engine_went_away(folder: Path, base: ResolvedModel) -> None:
    fleet = Fleet()
    with fleet.listening() as url:
        fleet.breaks_after = 13
        with pytest.raises(Exception, match="restarting"):
            run_sweep(open_pipeline(folder, base, url, quiet()), RAG)
        # Requests that were given up may still come out of the server's threads.
        time.sleep(0.5)
        fleet.breaks_after = None
        kept = num_answers(folder.parent / "home")
        assert 0 < kept <= fleet.asked.total()
        fleet.asked.clear()
        report = run_sweep(open_pipeline(folder, base, url, quiet()), RAG)
        assert report.best.mean == 1.0
        # No answer that had come was asked for again, and a finished sweep needs no engine.
        assert fleet.asked.total() == 4 * 8 - kept
    again = run_sweep(open_pipeline(folder, base, url, quiet()), RAG)
    assert again.to_dict() == report.to_dict()


@pytest.mark.slow
def test_each_trial_says_its_settings_and_score_and_the_note_names_the_search(
    folder: Path, base: ResolvedModel
) -> None:
    said = StringIO()
    with Fleet().listening() as url:
        sweep = replace(RAG, trials=1)
        run_sweep(open_pipeline(folder, base, url, Console(stderr=said)), sweep)
    assert "trying 2 settings of rag on 8 dev questions" in said.getvalue()
    assert "trial 1 of 1: arms.rag.top_k=1 index.chunk_tokens=40: 0.000 over 8 questions (" in said.getvalue()


@pytest.mark.slow
def test_an_adapter_a_trial_is_loaded_into_the_one_engine_and_unloaded(folder: Path, base: ResolvedModel) -> None:
    fleet = Fleet()
    with fleet.listening() as url:
        pipeline = open_pipeline(folder, base, url, quiet(), adapters={"closed_book": {"rank": 4}})
        narrow, wide = (publish_adapter(pipeline, base, rank=rank) for rank in (4, 32))
        fleet.knowing = {wide}
        sweep = SweepSettings(arm="tuned", space={"adapters.closed_book.rank": [4, 32]})
        # The user's own rank of 4 comes first; the engine is started with room for 32.
        report = run_sweep(pipeline, sweep)
    assert [trial.mean for trial in report.trials] == [0.0, 1.0]
    assert fleet.asked == {narrow: 8, wide: 8}
    assert (fleet.models, fleet.most_loaded) == (["org/base"], 2)
    assert report.words() == ["adapters.closed_book.rank=32"]


def publish_adapter(pipeline: Pipeline, base: ResolvedModel, *, rank: int) -> str:
    """The adapter that training with this rank would give, so that nothing is trained; its name."""
    template = chat_template_hash(base.path)
    adapters = pipeline.home / "adapters"
    draft = adapters / ".draft"
    draft.mkdir(parents=True)
    config = {"r": rank, "rank_pattern": {}, "use_dora": False, "modules_to_save": None, "bias": "none"}
    (draft / "adapter_config.json").write_text(json.dumps(config))
    (draft / "adapter_model.safetensors").write_bytes(b"weights")
    spec = replace(pipeline.config.adapters["closed_book"], rank=rank)
    name = f"closed-book@{adapter_hash(draft)}"
    manifest = {
        "name": name,
        "base_name": base.name,
        "base_revision": base.revision,
        "chat_template_hash": template,
        "recipe_hash": recipe_hash(
            base=base,
            chat_template=template,
            rows=closed_book_rows(pipeline.data.examples, ANSWER.render),
            recipe=spec,
        ),
        "num_rows": 1,
        "num_dropped": 0,
        "num_tokens": 9,
        "training_s": 1.0,
        "final_loss": 0.1,
        "files": hash_files(draft),
    }
    write_manifest(draft, manifest)
    draft.rename(adapters / name)
    return name


@pytest.mark.slow
def test_a_training_that_fails_is_a_failed_trial(folder: Path, base: ResolvedModel) -> None:
    sweep = SweepSettings(arm="tuned", trials=1, space={"adapters.closed_book.rank": [8]})
    pipeline = open_pipeline(folder, base, "http://127.0.0.1:9/v1", quiet())
    with pytest.raises(EvalError, match=r"none of 1 trials could be measured.*cannot read the base model"):
        run_sweep(pipeline, sweep)


def test_a_metric_that_does_not_exist_is_refused_before_anything_is_indexed(folder: Path, base: ResolvedModel) -> None:
    pipeline = open_pipeline(folder, base, "http://127.0.0.1:9/v1", quiet(), policy={"metric": "f2"})
    with pytest.raises(EvalError, match="no metric 'f2'"):
        run_sweep(pipeline, RAG)
    with pytest.raises(RagError, match="no index"):
        IndexHome(pipeline.home).open(build.index_name(pipeline.data, "documents"), pipeline.embedder)


def test_without_dev_questions_nothing_is_searched(folder: Path, base: ResolvedModel) -> None:
    pipeline = open_pipeline(folder, base, "http://127.0.0.1:9/v1", quiet())
    blind = Pipeline(pipeline.config, home=pipeline.home, console=quiet())
    with pytest.raises(ArbiterError, match=r"gave no dev questions; add dev\.jsonl"):
        run_sweep(blind, RAG)


@pytest.mark.model
@pytest.mark.timeout(900)
def test_a_real_engine_is_started_once_for_all_trials(folder: Path, arbiter_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    if (arbiter_home / "models").is_dir():
        (home / "models").symlink_to(arbiter_home / "models")
    lines = (folder / "dev.jsonl").read_text().splitlines()[:6]
    (folder / "dev.jsonl").write_text("\n".join(lines) + "\n")
    settings = {"index": {"top_k": 1}, "policy": {"metric": "contains"}, "sampling": {"max_tokens": 12}}
    config = Config.model_validate({"data": folder, **settings})
    said = StringIO()
    sweep = SweepSettings(arm="rag", trials=2, space={"arms.rag.top_k": [1, 4]})
    console = Console(stderr=said, stdout=StringIO())
    report = run_sweep(Pipeline(config, home=home, console=console, needs_dev=True), sweep)
    assert [trial.num_asked for trial in report.trials] == [6, 6]
    assert all(trial.num_unscored == 0 for trial in report.trials)
    assert len(re.findall(r"^starting vLLM with .*: [\d.]+ s$", said.getvalue(), re.MULTILINE)) == 1
    assert report.best.mean is not None
    assert report.defaults.mean is not None
    assert report.best.mean >= report.defaults.mean
