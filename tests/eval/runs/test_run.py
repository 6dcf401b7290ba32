from dataclasses import replace
from pathlib import Path

import pytest
from fakes.comparison import Comparison

from eval.errors import EvalError
from eval.runs.run import Run, find_run, newest_run, publish_run


def publish(comparison: Comparison, directory: Path, config: str = "c1") -> Run:
    return publish_run(
        directory,
        config_yaml="data: x\n",
        questions=comparison.questions,
        records=comparison.records,
        scorecard=comparison.scorecard,
        manifest={"config_fingerprint": config, "command": "arbiter run x.yaml"},
    )


def test_a_run_comes_back_as_it_was(comparison: Comparison, tmp_path: Path) -> None:
    publish(comparison, tmp_path / "runs" / "r1")
    run = find_run(tmp_path / "runs" / "r1")
    assert run is not None
    assert run.id == "r1"
    assert run.scorecard() == comparison.scorecard
    assert tuple(run.questions()) == comparison.questions
    assert tuple(run.records()) == comparison.records


def test_scores_are_a_table_of_one_row_a_score(comparison: Comparison, tmp_path: Path) -> None:
    import pyarrow.parquet

    run = publish(comparison, tmp_path / "r1")
    rows = pyarrow.parquet.read_table(run.directory / "scores.parquet").to_pylist()
    metrics = len(comparison.scorecard.arms[0].scores)
    assert len(rows) == 6 * 20 * metrics
    assert {"arm": "hybrid", "question_id": "fact-0", "metric": "token_f1", "score": 0.0} in rows


def test_the_decision_is_a_view_that_can_be_made_again(comparison: Comparison, tmp_path: Path) -> None:
    run = publish(comparison, tmp_path / "r1")
    with pytest.raises(EvalError, match="has no decision yet; make it with: arbiter decide"):
        run.decision()
    for margin in (0.03, 0.9):
        run.write_views(comparison.decision, {"margin": margin}, {"arm": "hybrid"}, "<p>page</p>", "text")
        found = run.decision()
        assert run.card() == {"arm": "hybrid"}
        assert (found["arm"], found["policy"]) == ("hybrid", {"margin": margin})
    assert (run.directory / "report.html").read_text() == "<p>page</p>"


def test_the_newest_run_of_a_config_is_found(comparison: Comparison, tmp_path: Path) -> None:
    assert newest_run(tmp_path, "c1") is None
    publish(comparison, tmp_path / "b")
    publish(comparison, tmp_path / "a")
    publish(comparison, tmp_path / "c", config="c2")
    newest = newest_run(tmp_path, "c1")
    assert newest is not None
    assert newest.id == "a"


def test_a_torn_run_is_no_run(comparison: Comparison, tmp_path: Path) -> None:
    publish(comparison, tmp_path / "r1")
    (tmp_path / "r1" / "manifest.json").unlink()
    assert find_run(tmp_path / "r1") is None
    assert newest_run(tmp_path, "c1") is None


def test_line_separators_in_an_answer_are_no_ends_of_rows(comparison: Comparison, tmp_path: Path) -> None:
    first, *others = comparison.records
    odd = replace(comparison, records=(replace(first, text="nine\u2028o'clock\x85"), *others))
    assert publish(odd, tmp_path / "r1").records()[0].text == "nine\u2028o'clock\x85"


def test_what_cannot_be_read_says_whether_it_is_torn_or_another_versions(
    comparison: Comparison, tmp_path: Path
) -> None:
    run = publish(comparison, tmp_path / "r1")
    (run.directory / "answers.jsonl").write_text('{"arm": "rag", "question": "q1"}\n')
    with pytest.raises(EvalError, match="'r1' was written by another version; delete it and run again"):
        run.records()
    (run.directory / "scorecard.json").write_text('{"arms": [')
    with pytest.raises(EvalError, match=r"cannot read scorecard\.json of run 'r1': .*; delete the run and run again"):
        run.scorecard()
