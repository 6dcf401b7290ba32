from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from fakes.comparison import Comparison

from eval.errors import EvalError
from eval.runs.run import Run, earlier_looks, find_run, list_runs, newest_run, open_run, publish_run
from router.deciding.scorecard import Scorecard


def publish(
    comparison: Comparison, directory: Path, config: str = "c1", raced_by: str = "", version: str = "d1"
) -> Run:
    return publish_run(
        directory,
        config_yaml="data: my/folder\n",
        questions=comparison.questions,
        records=comparison.records,
        scorecard=comparison.scorecard,
        manifest={
            "config_fingerprint": config,
            "raced_by": raced_by,
            "command": "arbiter run x.yaml",
            "data": "my/folder",
            "data_name": "folder",
            "data_version": version,
        },
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


def test_a_run_that_this_policy_raced_comes_before_newer_ones(comparison: Comparison, tmp_path: Path) -> None:
    for name, policy in (("b", "strict"), ("a", "lax"), ("c", "other")):
        publish(comparison, tmp_path / name, raced_by=policy)
    policies = ("strict", "lax", "none")
    assert [(run := newest_run(tmp_path, "c1", policy)) and run.id for policy in policies] == ["b", "a", "c"]
    publish(comparison, tmp_path / "d", raced_by="lax", version="d2")
    # What the data was before does not come before what it is.
    assert [(run := newest_run(tmp_path, "c1", policy)) and run.id for policy in policies] == ["d", "d", "d"]


def test_decided_runs_of_other_choices_of_the_same_questions_are_earlier_looks(
    comparison: Comparison, tmp_path: Path
) -> None:
    whole = comparison.scorecard
    few = replace(comparison, questions=comparison.questions[:6], scorecard=whole.part(range(6)))
    apart = replace(comparison, questions=comparison.questions[10:], scorecard=whole.part(range(10, 20)))
    for name, made in (("few", few), ("again", comparison), ("apart", apart), ("open", few)):
        run = publish(made, tmp_path / name)
        if name != "open":
            run.write_views(comparison.decision, {}, {}, "", "")

    def looks(card: Scorecard, data: str = "folder", folder: Path = tmp_path, **own: str) -> tuple[int, ...]:
        identity = {"data_name": data, "data_version": "d1", "config_fingerprint": "c2", **own}
        names = [scores.arm.name for scores in card.arms]
        return earlier_looks(folder, card.question_ids, names, card.primary, identity)

    assert looks(whole) == (6, 10)
    assert looks(few.scorecard) == (20,)
    assert looks(whole, "another") == ()
    assert looks(replace(whole, arms=whole.arms[1:])) == ()
    assert looks(whole, folder=tmp_path / "nowhere") == ()
    # Races of one config over one data look after the same questions, and share one error rate.
    raced = publish(few, tmp_path / "raced", raced_by="strict")
    raced.write_views(comparison.decision, {}, {}, "", "")
    assert looks(whole) == (6, 6, 10)
    assert looks(whole, config_fingerprint="c1") == (6, 10)
    assert looks(whole, config_fingerprint="c1", data_version="d2") == (6, 6, 10)


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
    for name in ("torn", "old", "cut", "undecided", "sound", "undated"):
        publish(comparison, tmp_path / name)
    (tmp_path / "torn" / "manifest.json").unlink()
    manifest = json.loads((tmp_path / "old" / "manifest.json").read_text())
    del manifest["summary"]
    (tmp_path / "old" / "manifest.json").write_text(json.dumps(manifest))
    manifest = json.loads((tmp_path / "undated" / "manifest.json").read_text())
    (tmp_path / "undated" / "manifest.json").write_text(json.dumps({**manifest, "finished_at": "yesterday"}))
    (tmp_path / "cut" / "scorecard.json").write_text('{"arms": [')
    (tmp_path / "undecided" / "decision.json").write_text("{")
    (tmp_path / ".gone.tmp-1-0123abcd").mkdir()
    (tmp_path / "a file").write_text("")
    found = {row.id: row.fault for row in list_runs(tmp_path)}
    assert found.pop("sound") is None
    assert found.pop("undated") is None
    assert found == {
        "torn": "torn: no manifest.json that can be read; delete it and run again",
        "old": "run 'old' was written by another version; delete it and run again",
        "cut": "scorecard.json of run 'cut' is torn; delete the run and run again",
        "undecided": "its decision cannot be read; make it again with: arbiter decide CONFIG",
        ".gone.tmp-1-0123abcd": "being written, or left by a command that was killed",
    }
    assert [row.id for row in list_runs(tmp_path)][-3:] == [".gone.tmp-1-0123abcd", "torn", "undated"]
    assert open_run(tmp_path, "soun").id == "sound"
    assert newest_run(tmp_path, "c1") == find_run(tmp_path / "sound")


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
