from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from eval.errors import EvalError
from eval.questions import Question
from eval.runs.diff import ArmChange, Change, RunDiff, diff_runs
from eval.runs.run import Run, publish_run
from router.answering.arm import Arm
from router.deciding.policy import Policy, Prices
from router.deciding.scorecard import ArmScores, Scorecard

Columns = Mapping[str, list[float | None]]
QUESTIONS = tuple(Question(f"q{i}", f"question {i}", ("gold",)) for i in range(8))


def published(
    directory: Path,
    columns: Columns,
    *,
    questions: tuple[Question, ...] = QUESTIONS,
    primary: str = "f1",
    arms: Mapping[str, Arm] | None = None,
    config: str = "data: demo\nindex:\n  top_k: 2\n",
    other_metrics: Mapping[str, Columns] | None = None,
    **manifest: object,
) -> Run:
    size = len(questions)
    scorecard = Scorecard(
        question_ids=tuple(question.id for question in questions),
        clusters=tuple(question.cluster for question in questions),
        primary=primary,
        arms=tuple(
            ArmScores(
                (arms or {}).get(name, Arm(name)),
                {primary: tuple(values), **{m: tuple(c[name]) for m, c in (other_metrics or {}).items()}},
                latency_ms=(100.0,) * size,
                prompt_tokens=(1000,) * size,
                generated_tokens=(0,) * size,
            )
            for name, values in columns.items()
        ),
        provenance={"packages": {"torch": "2.13.0"}},
    )
    return publish_run(
        directory,
        config_yaml=config,
        questions=questions,
        records=(),
        scorecard=scorecard,
        manifest={"command": str(directory), "config_fingerprint": "x", "data_version": "d1", **manifest},
    )


def arm_of(diff: RunDiff, name: str) -> ArmChange:
    return next(change for change in diff.arms if change.arm == name)


@pytest.mark.slow
def test_an_arm_is_compared_question_by_question(tmp_path: Path) -> None:
    before = published(tmp_path / "a", {"rag": [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.6, None]})
    after = published(tmp_path / "b", {"rag": [1.0, 0.4, 1.0, 1.0, 1.0, 0.0, 0.5, 1.0]})
    change = arm_of(diff_runs(before, after, Policy()), "rag")
    # Seven pairs: 0, -0.6, 1, 1, 1, 0, -0.1.
    assert change.difference is not None
    assert change.difference.num_pairs == 7
    assert change.difference.mean == pytest.approx(2.3 / 7)
    assert change.difference.low < 2.3 / 7 < change.difference.high
    assert (change.gained, change.lost) == (("q2", "q3", "q4"), ("q1",))
    assert change.mean_before == pytest.approx(2.6 / 7)
    assert change.mean_after == pytest.approx(5.9 / 8)
    assert change.p_holm == change.difference.p_value


def test_p_values_are_corrected_over_the_arms(tmp_path: Path) -> None:
    level: list[float | None] = [0.0] * 8
    before = published(tmp_path / "a", {"base": level, "rag": level})
    after = published(tmp_path / "b", {"base": level, "rag": [1.0] * 8})
    change = arm_of(diff_runs(before, after, Policy()), "rag")
    assert change.difference is not None
    assert change.difference.p_value == pytest.approx(2 / 2**8)
    assert change.p_holm == pytest.approx(2 * 2 / 2**8)


def test_questions_are_the_same_by_id_and_text(tmp_path: Path) -> None:
    reworded = replace(QUESTIONS[1], text="another question")
    regraded = replace(QUESTIONS[2], answers=("other gold",))
    new = Question("q9", "a new one", ("gold",))
    before = published(tmp_path / "a", {"rag": [0.0] * 8})
    after = published(tmp_path / "b", {"rag": [1.0, 1.0, 1.0, 1.0]}, questions=(new, regraded, reworded, QUESTIONS[0]))
    diff = diff_runs(before, after, Policy())
    assert (diff.num_shared, diff.num_regraded) == (2, 1)
    assert (diff.reworded, diff.only_after) == (("q1",), ("q9",))
    assert diff.only_before == ("q3", "q4", "q5", "q6", "q7")
    assert set(diff.arms[0].gained) == {"q0", "q2"}


def test_scores_are_matched_by_question_and_not_by_place(tmp_path: Path) -> None:
    before = published(tmp_path / "a", {"rag": [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]})
    after = published(
        tmp_path / "b", {"rag": [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]}, questions=tuple(reversed(QUESTIONS))
    )
    change = diff_runs(before, after, Policy()).arms[0]
    assert change.difference is not None
    assert change.difference.mean == 0.0
    assert (change.gained, change.lost) == ((), ())


def test_what_differs_is_listed_part_by_part(tmp_path: Path) -> None:
    zero: list[float | None] = [0.0] * 8
    before = published(tmp_path / "a", {"rag": zero, "base": zero}, versions={"rag": {"index": "i1"}})
    after = published(
        tmp_path / "b",
        {"rag": zero, "tuned": zero},
        arms={"rag": Arm("rag", top_k=4)},
        config="data: demo\nindex:\n  top_k: 4\nseed: 7\n",
        data_version="d2",
        versions={"rag": {"index": "i2"}},
    )
    changes = diff_runs(before, after, Policy()).changes
    assert [change for change in changes if change.part != "arms"] == [
        Change("config", "index.top_k", 2, 4),
        Change("config", "seed", "not there", 7),
        Change("data", "data_version", "d1", "d2"),
        Change("versions", "versions.rag.index", "i1", "i2"),
    ]
    arms = {change.key: (change.before, change.after) for change in changes if change.part == "arms"}
    assert arms["rag.top_k"] == (2, 4)
    assert arms["base.condense"] == ("recent", "not there")
    assert arms["tuned.condense"] == ("not there", "recent")
    assert not any(key.startswith("rag.") and key != "rag.top_k" for key in arms)


def test_equal_runs_have_no_changes(tmp_path: Path) -> None:
    runs = [published(tmp_path / name, {"rag": [1.0] * 8}) for name in "ab"]
    diff = diff_runs(*runs, Policy())
    assert diff.changes == ()
    change = diff.arms[0]
    assert change.difference is not None
    assert (change.difference.mean, change.p_holm, change.gained, change.lost) == (0.0, 1.0, (), ())


def test_costs_and_latencies_are_those_of_the_policy_and_the_measurements(tmp_path: Path) -> None:
    runs = [published(tmp_path / name, {"rag": [1.0] * 8}) for name in "ab"]
    change = diff_runs(*runs, Policy(prices=Prices(prompt=2.0, generated=0.0))).arms[0]
    # A thousand questions of a thousand prompt tokens at 2 per million.
    assert change.cost_per_1k == (pytest.approx(2.0), pytest.approx(2.0))
    assert change.latency_ms == (100.0, 100.0)


def test_another_primary_metric_is_flagged_and_the_shared_one_compared(tmp_path: Path) -> None:
    exact: Columns = {"rag": [0.0] * 8}
    before = published(tmp_path / "a", {"rag": [0.5] * 8}, other_metrics={"exact": exact})
    after = published(tmp_path / "b", {"rag": [1.0] * 8}, primary="exact")
    diff = diff_runs(before, after, Policy())
    assert (diff.metric, diff.primaries, diff.is_same_primary) == ("exact", ("f1", "exact"), False)
    assert diff.arms[0].difference is not None
    assert diff.arms[0].difference.mean == 1.0


def test_an_arm_without_scored_pairs_has_no_difference(tmp_path: Path) -> None:
    before = published(tmp_path / "a", {"rag": [None] * 8, "base": [0.0] * 8})
    after = published(tmp_path / "b", {"rag": [1.0] * 8, "base": [0.0] * 8})
    change = arm_of(diff_runs(before, after, Policy()), "rag")
    assert (change.difference, change.p_holm, change.mean_before, change.mean_after) == (None, None, None, 1.0)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"questions": tuple(replace(q, id=f"other-{q.id}") for q in QUESTIONS)}, "share no question"),
        ({"questions": tuple(replace(q, text="?") for q in QUESTIONS)}, "share no question"),
        ({"primary": "exact"}, "decided by 'f1' and 'b' by 'exact'"),
    ],
)
def test_runs_with_nothing_in_common_are_refused(tmp_path: Path, options: dict[str, object], fault: str) -> None:
    before = published(tmp_path / "a", {"rag": [1.0] * 8})
    after = published(tmp_path / "b", {"rag": [1.0] * 8}, **options)  # type: ignore[arg-type]
    with pytest.raises(EvalError, match=fault):
        diff_runs(before, after, Policy())


def test_runs_without_a_common_arm_are_refused(tmp_path: Path) -> None:
    before = published(tmp_path / "a", {"rag": [1.0] * 8})
    after = published(tmp_path / "b", {"tuned": [1.0] * 8})
    with pytest.raises(EvalError, match="no arm of the same name"):
        diff_runs(before, after, Policy())


def test_a_run_of_another_version_is_named(tmp_path: Path) -> None:
    before = published(tmp_path / "a", {"rag": [1.0] * 8})
    (tmp_path / "a" / "scorecard.json").write_text('{"question_ids": []}')
    with pytest.raises(EvalError, match="run 'a' was written by another version"):
        diff_runs(before, before, Policy())


def test_the_difference_is_json(tmp_path: Path) -> None:
    runs = [published(tmp_path / name, {"rag": [1.0] * 8}) for name in "ab"]
    row = asdict(diff_runs(*runs, Policy()))
    assert json.loads(json.dumps(row, allow_nan=False))["is_same_primary"] is True
