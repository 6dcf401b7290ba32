from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from router.deciding.decision import Comparison, Decision, Trade
from router.deciding.policy import Policy


@pytest.fixture(scope="module")
def made() -> Any:
    """The benchmark's modules, which import one another by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
        names = ("trials", "simulated_scores", "simulated_runs", "simulated_grids")
        yield dict(zip(names, map(importlib.import_module, names), strict=True))


@pytest.mark.parametrize("kind", ["binary", "graded", "clustered", "skewed"])
def test_scores_have_the_means_of_their_arms(made: Any, kind: str) -> None:
    means = (0.05, 0.3, 0.6)

    scores, clusters = made["simulated_scores"].Population(means, kind).draw(np.random.default_rng(0), 20_000)

    assert scores.mean(axis=1) == pytest.approx(means, abs=0.015)
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert len(set(clusters)) == (2_000 if kind == "clustered" else 20_000)


def test_a_race_and_a_grid_decide_the_same_clear_case_and_the_race_asks_less(made: Any) -> None:
    runs = made["simulated_runs"]
    scores = np.array([[0.0] * 60, [1.0] * 60])
    sample = runs.Sample(scores, tuple(map(str, range(60))))

    raced, whole = runs.race(sample, Policy(), runs.RaceSettings()), sample.decide(Policy())

    assert (raced.decision.arm, raced.decision.verdict) == (whole.arm, whole.verdict) == ("1", "winner")
    assert raced.share < 1


def test_what_is_not_asked_is_not_shown_to_a_decision(made: Any) -> None:
    sample = made["simulated_runs"].Sample(np.array([[1.0, np.nan, 1.0], [0.0, 0.0, 0.0]]), ("a", "b", "c"))

    card = sample.card([2, 1], np.array([[True, True, True], [False, True, False]]))

    assert card.question_ids == ("2", "1")
    assert [scores.scores["accuracy"] for scores in card.arms] == [(1.0, None), (None, 0.0)]
    assert [scores.not_asked for scores in card.arms] == [(), ("2",)]


@pytest.mark.parametrize(
    ("means", "arm", "verdict", "false_winner", "false_tie"),
    [
        ((0.5, 0.6), "1", "winner", 0, 0),
        ((0.5, 0.6), "0", "winner", 1, 1),
        ((0.6, 0.6), "1", "winner", 1, 0),
        ((0.55, 0.6), "0", "tie", 0, 1),
        ((0.57, 0.6), "0", "tie", 0, 0),
        ((0.5, 0.6), "0", "undecided", 0, 0),
    ],
)
def test_a_decision_is_judged_by_the_truth(
    made: Any, means: tuple[float, ...], arm: str, verdict: Any, false_winner: int, false_tie: int
) -> None:
    grid = made["simulated_grids"].Grid("", means, 10)

    found = grid.judge(Decision(arm, verdict, 0.9, 0.0, None, ""))

    assert (found["false winner"], found["false tie"]) == (false_winner, false_tie)


def test_a_claim_of_a_pair_is_judged_by_the_truth(made: Any) -> None:
    grid = made["simulated_grids"].Grid("", (0.6, 0.5, 0.6, 0.6), 10)
    beaten = [Comparison(arm, None, 0.01, "beaten") for arm in ("1", "2")]
    unsaid = [replace(beaten[1], is_significant=False), replace(beaten[1], standing="open")]

    def judged(*comparisons: Comparison, trade: Trade | None = None) -> float:
        found = grid.judge(Decision("0", "tie", 0.9, 0.0, None, "", comparisons=comparisons, trade=trade))
        return float(found["false claim"])

    assert (judged(beaten[0], *unsaid), judged(*beaten)) == (0, 1)
    assert judged(beaten[0], trade=Trade("3", 0.1, 0.0)) == 0
    assert judged(beaten[0], trade=Trade("1", 0.1, 0.0)) == 1


def _coin(rng: np.random.Generator) -> dict[str, float | None]:
    heads = float(rng.random() < 0.5)
    return {"heads": heads, "heads, seen": heads or None}


def test_trials_go_on_from_what_a_file_holds_and_give_what_one_go_gives(made: Any, tmp_path: Path) -> None:
    trials, path = made["trials"], tmp_path / "kept.json"
    case = trials.Case("coin", _coin)
    whole = trials.tally(case, seed=0, first=0, last=40)
    trials.keep(path, 0, {"coin": trials.tally(case, seed=0, first=0, last=25)})

    found = trials.add(trials.kept(path, 0)["coin"], trials.tally(case, seed=0, first=25, last=40))

    assert found == whole
    assert whole["trials"].count == 40
    assert whole["heads, seen"].count == whole["heads"].total
    assert trials.kept(path, 1) == {}
    path.write_text(json.dumps({**json.loads(path.read_text()), "rules": "others"}))
    assert trials.kept(path, 0) == {}
