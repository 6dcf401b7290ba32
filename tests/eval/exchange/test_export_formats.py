from __future__ import annotations

import hashlib
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.comparison import Comparison

from eval.errors import EvalError
from eval.exchange.export_formats import export_run
from eval.exchange.import_formats import import_dataset
from eval.runs.run import Run, publish_run
from storage.errors import StorageError

DOCUMENTS = {f"doc-{i}": f"The whole text of doc-{i}." for i in range(12)}


@pytest.fixture
def run(comparison: Comparison, tmp_path: Path) -> Run:
    return publish_run(
        tmp_path / "runs" / "lake-library-3f9c81aa",
        config_yaml="data: x\n",
        questions=comparison.questions,
        records=comparison.records,
        scorecard=comparison.scorecard,
        manifest={"command": "arbiter run x.yaml", "data_version": "d1", "base_revision": "r1"},
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_ragas_loads_every_arm(run: Run, tmp_path: Path) -> None:
    from ragas import EvaluationDataset

    paths, notes = export_run(run, tmp_path / "out", format="ragas", documents=DOCUMENTS)
    assert [path.name for path in paths] == [
        "base.jsonl",
        "fewshot.jsonl",
        "rag.jsonl",
        "tuned.jsonl",
        "tuned_rag.jsonl",
        "hybrid.jsonl",
    ]
    assert notes == ["failed answers of hybrid, left out: 1"]
    sizes = {path.stem: len(EvaluationDataset.from_jsonl(path)) for path in paths}
    assert sizes == {"base": 20, "fewshot": 20, "rag": 20, "tuned": 20, "tuned_rag": 20, "hybrid": 19}
    fact = EvaluationDataset.from_jsonl(tmp_path / "out" / "rag.jsonl")[1]
    assert fact.to_dict() == {
        "user_input": "What is fact number 1 of the lake library?",
        "response": "nine o'clock",
        "reference": "nine o'clock",
        "retrieved_contexts": ["The text of doc-1.", "The text of doc-2."],
        "retrieved_context_ids": ["doc-1", "doc-2"],
        "reference_contexts": ["The whole text of doc-1."],
        "reference_context_ids": ["doc-1"],
    }


def test_arms_that_see_no_documents_have_no_contexts(run: Run, tmp_path: Path) -> None:
    export_run(run, tmp_path / "out", format="ragas", arms=["base", "fewshot"])
    for name in ("base", "fewshot"):
        rows = lines(tmp_path / "out" / f"{name}.jsonl")
        assert not any("retrieved_contexts" in row or "reference_contexts" in row for row in rows)
    assert rows[0]["reference_context_ids"] == ["doc-0"]


def test_ragas_rows_come_back_as_the_same_questions(comparison: Comparison, run: Run, tmp_path: Path) -> None:
    export_run(run, tmp_path / "out", format="ragas", arms=["rag"], documents=DOCUMENTS)
    found = import_dataset(tmp_path / "out" / "rag.jsonl")
    texts = {document.id: document.text for document in found.documents}
    answers = {record.question_id: record for record in comparison.records if record.arm == "rag"}
    for question, original in zip(found.questions, comparison.questions, strict=True):
        assert (question.id, question.text, question.answers) == (original.id, original.text, original.answers)
        assert question.metadata["kind"] == original.metadata["kind"]
        imported = question.metadata["imported"]
        assert isinstance(imported, dict)
        assert imported["response"] == answers[question.id].text
        # A passage and its whole document share an id and not their text, so one of them has a longer name.
        assert tuple(texts[name] for name in imported["retrieved_documents"]) == answers[question.id].passages
        assert [texts[name] for name in question.document_ids] == [DOCUMENTS[n] for n in original.document_ids]


def test_ragchecker_rows_come_back_as_the_same_questions(comparison: Comparison, run: Run, tmp_path: Path) -> None:
    export_run(run, tmp_path / "out", format="ragchecker", arms=["rag"])
    rows = json.loads((tmp_path / "out" / "rag.json").read_text())["results"]
    assert rows[1] == {
        "query_id": "fact-1",
        "query": "What is fact number 1 of the lake library?",
        "gt_answer": "nine o'clock",
        "response": "nine o'clock",
        "retrieved_context": [
            {"doc_id": "doc-1", "text": "The text of doc-1."},
            {"doc_id": "doc-2", "text": "The text of doc-2."},
        ],
    }
    found = import_dataset(tmp_path / "out" / "rag.json")
    assert found.format == "ragchecker"
    assert [(q.id, q.text, q.answers) for q in found.questions] == [
        (q.id, q.text, q.answers) for q in comparison.questions
    ]
    assert {document.id: document.text for document in found.documents} == {
        name: f"The text of {name}."
        for record in comparison.records
        if record.arm == "rag"
        for name in record.passage_documents
    }


def test_several_golds_survive_both_ways(comparison: Comparison, tmp_path: Path) -> None:
    questions = tuple(replace(question, answers=(*question.answers, "or this")) for question in comparison.questions)
    run = publish_run(
        tmp_path / "r1",
        config_yaml="",
        questions=questions,
        records=comparison.records,
        scorecard=comparison.scorecard,
        manifest={},
    )
    for format, name in (("ragas", "base.jsonl"), ("ragchecker", "base.json")):
        export_run(run, tmp_path / format, format=format, arms=["base"])  # type: ignore[arg-type]
        found = import_dataset(tmp_path / format / name)
        assert [question.answers for question in found.questions] == [question.answers for question in questions]


def test_lm_eval_samples_have_its_layout(run: Run, tmp_path: Path) -> None:
    paths, _ = export_run(run, tmp_path / "out", format="lm-eval", arms=["hybrid"])
    samples, results = sorted(paths, key=lambda path: path.name, reverse=True)
    assert samples.parent == results.parent == tmp_path / "out" / "hybrid"
    date = results.stem.removeprefix("results_")
    assert ":" not in date
    assert samples.name == f"samples_lake_library_{date}.jsonl"
    rows = lines(samples)
    assert len(rows) == 19
    row = rows[1]
    assert (row["doc_id"], row["doc"]["id"], row["target"]) == (1, "fact-1", "nine o'clock")
    assert (row["resps"], row["filtered_resps"], row["filter"]) == ([["nine o'clock"]], ["nine o'clock"], "none")
    assert {"exact_match", "token_f1", "contains", "context_recall"} <= set(row["metrics"])
    assert {row[name] for name in row["metrics"]} == {1.0}
    prompt, options = (row["arguments"]["gen_args_0"][key] for key in ("arg_0", "arg_1"))
    assert json.loads(prompt)[-1] == {"role": "user", "content": "What is fact number 1 of the lake library?"}
    assert options["temperature"] == 0.0
    assert row["prompt_hash"] == hashlib.sha256(prompt.encode()).hexdigest()
    assert row["target_hash"] == hashlib.sha256(b"nine o'clock").hexdigest()
    assert row["doc_hash"] == hashlib.sha256(json.dumps(row["doc"], indent=2, ensure_ascii=False).encode()).hexdigest()
    # A note has no gold document, so its recall is unscored: left out, and not 0.
    note = next(row for row in rows if row["doc"]["id"] == "note-0")
    assert "context_recall" not in note
    assert "context_recall" not in note["metrics"]


def test_lm_eval_results_repeat_the_scorecard(comparison: Comparison, run: Run, tmp_path: Path) -> None:
    paths, _ = export_run(run, tmp_path / "out", format="lm-eval", arms=["hybrid", "fewshot"])
    results = {path.parent.name: json.loads(path.read_text()) for path in paths if path.name.startswith("results_")}
    hybrid = results["hybrid"]
    means = hybrid["results"]["lake_library"]
    known = [s for s in comparison.scorecard.by_name("hybrid").scores["token_f1"] if s is not None]
    assert means["alias"] == "lake_library"
    assert means["token_f1,none"] == pytest.approx(15.5 / 20)
    assert means["token_f1_stderr,none"] == pytest.approx(statistics.stdev(known) / 20**0.5)
    assert hybrid["n-samples"] == {"lake_library": {"original": 20, "effective": 19}}
    assert hybrid["higher_is_better"]["lake_library"]["token_f1"] is True
    assert hybrid["versions"] == {"lake_library": "d1"}
    assert hybrid["configs"]["lake_library"]["metadata"]["arm"]["adapter"] == "raft@81aa"
    assert (hybrid["model_name"], hybrid["model_name_sanitized"]) == ("hybrid", "hybrid")
    assert (hybrid["n-shot"], results["fewshot"]["n-shot"]) == ({"lake_library": 0}, {"lake_library": 4})
    rows = lines(next(path for path in paths if path.parent.name == "hybrid" and "samples" in path.name))
    hashes = "".join(row["doc_hash"] + row["prompt_hash"] + row["target_hash"] for row in rows)
    assert hybrid["task_hashes"] == {"lake_library": hashlib.sha256(hashes.encode()).hexdigest()}


def test_lm_eval_samples_load_as_one_table(run: Run, tmp_path: Path) -> None:
    import datasets

    paths, _ = export_run(run, tmp_path / "out", format="lm-eval", arms=["rag"])
    samples = next(path for path in paths if path.name.startswith("samples_"))
    table = datasets.load_dataset("json", data_files=str(samples), split="train", cache_dir=str(tmp_path / "cache"))
    assert table.num_rows == 20
    assert {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "token_f1"} <= set(table.column_names)


def test_nothing_is_overwritten_unless_told_to(run: Run, tmp_path: Path) -> None:
    export_run(run, tmp_path / "out", format="ragas", arms=["base"])
    with pytest.raises(StorageError, match=r"has base\.jsonl already"):
        export_run(run, tmp_path / "out", format="ragas")
    assert len(list((tmp_path / "out").iterdir())) == 1
    export_run(run, tmp_path / "out", format="ragas", is_forced=True)
    assert len(list((tmp_path / "out").iterdir())) == 6


def test_an_unknown_arm_is_named(run: Run, tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="has no arm 'oracle'; it has base, fewshot"):
        export_run(run, tmp_path / "out", format="ragas", arms=["oracle"])
    assert not (tmp_path / "out").exists()
