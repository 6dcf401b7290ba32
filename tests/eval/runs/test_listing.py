from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest
from fakes.comparison import Comparison

from eval.errors import EvalError
from eval.runs.listing import list_runs, open_run
from eval.runs.run import Run, publish_run


def publish(comparison: Comparison, directory: Path) -> Run:
    return publish_run(
        directory,
        config_yaml="data: my/folder\n",
        questions=comparison.questions,
        records=comparison.records,
        scorecard=comparison.scorecard,
        manifest={"command": "arbiter run x.yaml", "data": "my/folder"},
    )


def test_runs_are_listed_with_what_they_decided_the_newest_first(comparison: Comparison, tmp_path: Path) -> None:
    publish(comparison, tmp_path / "demo-1")
    decided = publish(comparison, tmp_path / "demo-0")
    decided.write_views(comparison.decision, {}, {}, "", "")
    newest, oldest = list_runs(tmp_path)
    assert (newest.id, oldest.id) == ("demo-0", "demo-1")
    assert (newest.data, newest.primary, newest.num_questions) == ("my/folder", "token_f1", 20)
    assert newest.arms == ("base", "fewshot", "rag", "tuned", "tuned_rag", "hybrid")
    assert (newest.arm, newest.verdict) == ("hybrid", comparison.decision.verdict)
    assert newest.confidence == pytest.approx(comparison.decision.confidence)
    assert (oldest.arm, oldest.verdict, oldest.confidence, oldest.fault) == (None, None, None, None)
    assert json.loads(json.dumps(asdict(newest)))["id"] == "demo-0"


def test_a_list_reads_no_scorecard(comparison: Comparison, tmp_path: Path) -> None:
    card = publish(comparison, tmp_path / "demo-1").directory / "scorecard.json"
    card.write_bytes(b"x" * card.stat().st_size)
    (row,) = list_runs(tmp_path)
    assert (row.primary, row.num_questions, row.fault) == ("token_f1", 20, None)
    with pytest.raises(EvalError, match=r"cannot read scorecard\.json of run 'demo-1'"):
        Run(tmp_path / "demo-1", {}).scorecard()


def test_no_runs_are_an_empty_list(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "runs") == ()


def test_faulty_runs_are_named_last_and_not_hidden(comparison: Comparison, tmp_path: Path) -> None:
    for name in ("torn", "old", "cut", "undecided", "sound"):
        publish(comparison, tmp_path / name)
    (tmp_path / "torn" / "manifest.json").unlink()
    manifest = json.loads((tmp_path / "old" / "manifest.json").read_text())
    del manifest["summary"]
    (tmp_path / "old" / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "cut" / "scorecard.json").write_text('{"arms": [')
    (tmp_path / "undecided" / "decision.json").write_text("{")
    (tmp_path / ".gone.tmp-1-0123abcd").mkdir()
    (tmp_path / "a file").write_text("")
    found = {row.id: row.fault for row in list_runs(tmp_path)}
    assert found.pop("sound") is None
    assert found == {
        "torn": "torn: no manifest.json that can be read; delete it and run again",
        "old": "run 'old' was written by another version; delete it and run again",
        "cut": "scorecard.json of run 'cut' is torn; delete the run and run again",
        "undecided": "its decision cannot be read; make it again with: arbiter decide CONFIG",
        ".gone.tmp-1-0123abcd": "being written, or left by a command that was killed",
    }
    assert [row.id for row in list_runs(tmp_path)][-2:] == [".gone.tmp-1-0123abcd", "torn"]


def test_a_run_is_opened_by_id_prefix_or_path(
    comparison: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("demo-1a", "demo-1b", "demo-1"):
        publish(comparison, tmp_path / "runs" / name)
    runs = tmp_path / "runs"
    assert open_run(runs, "demo-1").id == "demo-1"
    assert open_run(runs, "demo-1a").id == "demo-1a"
    assert open_run(runs, str(runs / "demo-1b")).id == "demo-1b"
    monkeypatch.chdir(tmp_path)
    assert open_run(runs, os.path.join("runs", "demo-1b")).id == "demo-1b"  # noqa: PTH118
    (runs / "demo-1").rename(runs / "other")
    assert open_run(runs, "o").id == "other"


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("demo-", r"'demo-' is the beginning of 2 runs: demo-1b, demo-1a"),
        ("nine", r"no run 'nine'; there are demo-1b, demo-1a, torn"),
        ("", r"no run ''"),
        ("torn", r"run 'torn' cannot be used: torn: no manifest\.json"),
    ],
)
def test_a_run_that_cannot_be_opened_is_explained(
    comparison: Comparison, tmp_path: Path, name: str, fault: str
) -> None:
    publish(comparison, tmp_path / "demo-1a")
    publish(comparison, tmp_path / "demo-1b")
    (tmp_path / "torn").mkdir()
    with pytest.raises(EvalError, match=fault):
        open_run(tmp_path, name)


def test_without_any_runs_the_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match=r"no run 'demo'; .* holds none"):
        open_run(tmp_path / "runs", "demo")
