from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.comparison import Comparison, make_comparison

from arbiter.cli.runs import export_answers, import_folder, show_diff, show_runs
from arbiter.data import load_data
from eval.runs.run import Run, publish_run
from router.deciding.policy import Policy
from storage.errors import ArbiterError, StorageError


@pytest.fixture
def comparison() -> Comparison:
    return make_comparison()


def publish(comparison: Comparison, home: Path, name: str, config: str = "data: x\n", **manifest: object) -> Run:
    return publish_run(
        home / "runs" / name,
        config_yaml=config,
        questions=comparison.questions,
        records=comparison.records,
        scorecard=comparison.scorecard,
        manifest={"command": "arbiter run x.yaml", **manifest},
    )


def test_the_list_shows_decisions_and_faults(comparison: Comparison, tmp_path: Path) -> None:
    publish(comparison, tmp_path, "demo-1").write_views(comparison.decision, {}, {}, "", "")
    (tmp_path / "runs" / "demo-2").mkdir()
    text, rows = show_runs(tmp_path)
    head, first, second = text.splitlines()
    assert head.split() == ["run", "finished", "data", "questions", "metric", "arms", "decision", "fault"]
    assert f"hybrid, {comparison.decision.verdict} (" in first
    assert second.startswith("demo-2")
    assert "torn: no manifest.json" in second
    assert [row["id"] for row in rows] == ["demo-1", "demo-2"]
    json.dumps(rows, allow_nan=False)


def test_an_empty_home_says_how_to_make_a_run(tmp_path: Path) -> None:
    text, rows = show_runs(tmp_path)
    assert text.endswith("make one with: arbiter run CONFIG")
    assert rows == []


def test_the_diff_names_settings_flips_and_differences(comparison: Comparison, tmp_path: Path) -> None:
    publish(comparison, tmp_path, "demo-1", "top_k: 2\n", data_version="d1")
    scorecard = comparison.scorecard
    base = scorecard.by_name("base")
    # base forgets its only right fact and learns two notes.
    better = replace(base, scores={**base.scores, "token_f1": (0.0,) * 12 + (1.0, 1.0) + (0.0,) * 6})
    changed = replace(comparison, scorecard=replace(scorecard, arms=(better, *scorecard.arms[1:])))
    publish(changed, tmp_path, "demo-2", "top_k: 4\n", data_version="d2")
    text, row = show_diff(tmp_path, "demo-1", "demo-2", Policy())
    assert text.startswith("demo-1 -> demo-2: 20 shared questions, compared by token_f1\n")
    assert "config  top_k" in text
    assert "data    data_version  d1" in text
    assert "base: 2 wrong to right: note-0, note-1" in text
    assert "base: 1 right to wrong: fact-0" in text
    base_line = next(line for line in text.splitlines() if line.startswith("base ") and "+0.05" in line)
    assert base_line.split()[1:4] == ["0.05", "0.10", "+0.05"]
    assert row["num_shared"] == 20
    assert row["arms"][0]["lost"] == ("fact-0",)
    json.dumps(row, allow_nan=False)


def test_a_diff_of_equal_runs_says_so(comparison: Comparison, tmp_path: Path) -> None:
    for name in ("demo-1", "demo-2"):
        publish(comparison, tmp_path, name)
    text, _ = show_diff(tmp_path, "demo-1", "demo-2", Policy())
    assert "no setting, data or version differs" in text
    assert "right to wrong:" not in text


def test_an_export_takes_gold_documents_from_the_data_folder(comparison: Comparison, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    rows = [{"id": f"doc-{i}", "text": f"whole {i}"} for i in range(12)]
    (data / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    publish(comparison, tmp_path, "demo-1", f"data: {data}\narms: {{base: {{}}}}\n")
    text, row = export_answers(tmp_path, "demo", tmp_path / "out", format="ragas", arms=["rag"])
    assert text == str(tmp_path / "out" / "rag.jsonl")
    assert row == {"run": "demo-1", "files": [str(tmp_path / "out" / "rag.jsonl")], "notes": []}
    first = json.loads((tmp_path / "out" / "rag.jsonl").read_text().splitlines()[0])
    assert first["reference_contexts"] == ["whole 0"]


@pytest.mark.parametrize("config", ["data: /gone/for/good\n", "seed: 1\n", "- a list\n", "{\n"])
def test_an_export_without_the_data_says_what_is_missing(comparison: Comparison, tmp_path: Path, config: str) -> None:
    publish(comparison, tmp_path, "demo-1", config)
    text, row = export_answers(tmp_path, "demo-1", tmp_path / "out", format="ragas", arms=["base"])
    assert "note: there are no reference contexts: " in text
    assert len(row["notes"]) == 1
    assert "reference_contexts" not in (tmp_path / "out" / "base.jsonl").read_text()


def test_an_imported_folder_can_be_worked_on(tmp_path: Path) -> None:
    rows = [
        {"user_input": f"Question {i}?", "reference": f"gold {i}", "reference_contexts": [f"It is gold {i}."]}
        for i in range(10)
    ]
    (tmp_path / "set.json").write_text(json.dumps(rows))
    text, row = import_folder(tmp_path / "set.json", tmp_path / "data", train_share=0.6)
    assert text.startswith("ragas: 10 documents, 10 questions\n")
    assert (row["format"], row["documents"], row["questions"]) == ("ragas", 10, 10)
    data = load_data(tmp_path / "data")
    assert (len(data.documents), len(data.examples), len(data.questions)) == (10, 6, 4)
    assert data.questions[0].document_ids[0] in {document.id for document in data.documents}
    with pytest.raises(StorageError, match="--force"):
        import_folder(tmp_path / "set.json", tmp_path / "data")
    import_folder(tmp_path / "set.json", tmp_path / "data", is_forced=True)


def test_an_imported_folder_is_one_that_a_run_takes(tmp_path: Path) -> None:
    rows = [{"Frage": f"What is number {i} called?", "Antwort": f"name {i}"} for i in range(10)]
    rows += [{"Frage": "Who?", "Antwort": "Ada"}, {"Frage": "who", "Antwort": "Bo"}]
    (tmp_path / "faq.json").write_text(json.dumps(rows))
    text, row = import_folder(tmp_path / "faq.json", tmp_path / "data")
    assert text.startswith("table: 0 documents, 12 questions\n")
    assert "note: faq.json is a table: question <- Frage, answer <- Antwort" in text
    data = load_data(tmp_path / "data")
    assert (len(data.examples), row["training_rows"]) == (len(data.examples), len(data.examples))
    assert len(data.examples) + len(data.questions) == 12
    assert len(data.examples) >= 8
    # What is called test is asked, all of it.
    (tmp_path / "asked").mkdir()
    (tmp_path / "asked" / "test.json").write_text(json.dumps(rows[:6]))
    text, row = import_folder(tmp_path / "asked", tmp_path / "tested")
    assert "note: no row is for training, for all are called test; --train-share sets a share" in text
    assert (row["training_rows"], len(load_data(tmp_path / "tested").questions)) == (0, 6)
    # One row cannot be split.
    (tmp_path / "one.json").write_text(json.dumps(rows[:1]))
    text, row = import_folder(tmp_path / "one.json", tmp_path / "one", columns="question=Frage,answer=Antwort")
    assert "note: no row is for training: 1 rows cannot be split into 2 parts by document" in text
    assert row["training_rows"] == 0
    with pytest.raises(ArbiterError, match="columns must be like question=Frage,answer=Antwort, not 'Frage'"):
        import_folder(tmp_path / "one.json", tmp_path / "two", columns="Frage")


def test_documents_that_lie_beside_the_rows_are_imported_with_them(tmp_path: Path) -> None:
    (tmp_path / "team" / "docs").mkdir(parents=True)
    (tmp_path / "team" / "docs" / "desk.md").write_text("The desk opens at nine.")
    (tmp_path / "team" / "test.csv").write_text("Frage;Antwort;Doc IDs\nWhen?;nine;desk\n")
    text, _ = import_folder(tmp_path / "team", tmp_path / "data", train_share=0.0)
    assert text.startswith("table: 1 documents, 1 questions\n")
    assert "add the rest" not in text
    data = load_data(tmp_path / "data")
    assert [document.id for document in data.documents] == list(data.questions[0].document_ids) == ["desk"]
