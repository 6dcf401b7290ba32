import contextlib
import io
import json
from pathlib import Path

import pytest
from fakes.embedders import WordEmbedder

from arbiter.cli.index import evaluate
from arbiter.cli.quality import config_lines, evaluate_index
from arbiter.console import Console, Output
from arbiter.index_commands import IndexCommands
from eval.errors import EvalError
from eval.questions import load_judged
from rag.home import IndexHome
from rag.search.settings import SearchSettings
from storage.errors import ArbiterError

HYBRID = SearchSettings(mode="hybrid")


@pytest.fixture
def commands(tmp_path: Path) -> IndexCommands:
    index_home = IndexHome(tmp_path / "home", retrieval=HYBRID)
    commands = IndexCommands(index_home, Console(stderr=io.StringIO()), make_embedder=WordEmbedder)
    rows = [{"id": f"d{i}", "text": f"The bell of tower{i} rings at hour{i}."} for i in range(12)]
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    commands.add("towers", [tmp_path / "docs.jsonl"])
    return commands


def ask(tmp_path: Path, *rows: object) -> Path:
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def measured(commands: IndexCommands, questions: Path) -> Output:
    with contextlib.closing(commands.searchable("towers")) as index:
        return evaluate_index(index, load_judged(questions), HYBRID, console=Console(stderr=io.StringIO()))


def test_every_way_to_search_is_measured_and_the_recommended_one_is_given_as_config(
    commands: IndexCommands, tmp_path: Path
) -> None:
    questions = ask(
        tmp_path,
        *({"question": f"When does the bell of tower{i} ring?", "doc_ids": [f"d{i}"]} for i in range(12)),
        {"question": "Who rings it?"},
    )
    text, row = measured(commands, questions)
    assert isinstance(row, dict)
    assert (row["index"], row["num_questions"], row["num_without_gold"]) == ("towers", 12, 1)
    assert list(row["scores"]) == ["dense", "bm25", "hybrid minmax", "hybrid rrf"]
    assert row["means"]["bm25"]["recall@1"] == 1.0
    assert (row["default"], row["recommended"]) == ("hybrid minmax", "hybrid minmax")
    assert row["config"] == config_lines(HYBRID)
    assert text.splitlines()[-7:-4] == ["In the config:", "index:", "  retrieval:"]
    json.dumps(row, allow_nan=False)


def test_questions_about_documents_that_are_not_there_are_refused(commands: IndexCommands, tmp_path: Path) -> None:
    questions = ask(tmp_path, {"question": "When?", "doc_ids": ["elsewhere"]})
    with pytest.raises(EvalError, match=r"holds none of the documents .* 'elsewhere'"):
        measured(commands, questions)


@pytest.mark.parametrize(
    ("settings", "keys"),
    [
        (SearchSettings(mode="bm25"), {"mode": "bm25"}),
        (
            SearchSettings(mode="hybrid", fusion="rrf", dense_weight=0.3, candidates=40),
            {"mode": "hybrid", "fusion": "rrf", "dense_weight": 0.3, "candidates": 40},
        ),
        (
            SearchSettings(mode="dense", reranker="org/x", candidates=30),
            {"mode": "dense", "reranker": "org/x", "candidates": 30},
        ),
    ],
)
def test_the_config_holds_what_the_settings_use(settings: SearchSettings, keys: dict[str, object]) -> None:
    assert config_lines(settings) == {f"index.retrieval.{key}": value for key, value in keys.items()}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    data = tmp_path / "data"
    data.mkdir()
    rows = {
        "docs": [{"id": f"d{i}", "text": f"The bell of tower{i} rings at hour{i}."} for i in range(12)],
        "train": [{"id": "t", "question": "Who built tower0?", "answers": ["x"], "doc_ids": ["d0"]}],
        "dev": [{"id": "v", "question": "When does tower1 ring?", "answers": ["hour1"], "doc_ids": ["d1"]}],
        "test": [{"id": "q", "question": "When does tower2 ring?", "answers": ["hour2"], "doc_ids": ["d2"]}],
    }
    for name, part in rows.items():
        (data / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    file = tmp_path / "x.yaml"
    embedding = "embedding: {langchain: {factory: 'fakes.teams:WordEmbeddings'}}\n"
    file.write_text(f"data: data\nindex: {{retrieval: {{mode: bm25}}}}\n{embedding}")
    monkeypatch.setenv("ARBITER_HOME", str(tmp_path / "home"))
    return str(file)


def test_a_config_is_measured_on_its_dev_questions_against_its_own_settings(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(config, is_json=True)
    row = json.loads(capsys.readouterr().out)
    assert row["question_ids"] == ["v"]
    assert (row["default"], row["recommended"]) == ("bm25", "bm25")


def test_a_config_is_measured_on_other_questions_when_they_are_given(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = ask(tmp_path, {"id": "own", "question": "When does tower3 ring?", "doc_ids": ["d3"]})
    evaluate(config, questions=questions, is_json=True)
    assert json.loads(capsys.readouterr().out)["question_ids"] == ["own"]


def test_a_config_without_an_arm_that_retrieves_documents_has_nothing_to_measure(config: str) -> None:
    with pytest.raises(ArbiterError, match="no arm of this config retrieves from documents"):
        evaluate(config, ["arms.rag=null", "arms.tuned_rag=null", "arms.hybrid=null"])
