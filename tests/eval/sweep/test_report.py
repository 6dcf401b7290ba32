import json

import pytest
import yaml

from eval.sweep.report import SweepReport, TrialResult, compare
from eval.sweep.space import Settings

DEFAULTS = {"arms.rag.top_k": 2, "adapters.raft.learning_rate": 1e-3, "arms.rag.prompt": "answer"}
BEST = {"arms.rag.top_k": 4, "adapters.raft.learning_rate": 1e-5, "arms.rag.prompt": "no"}


def trial(number: int, settings: Settings, scores: list[float | None], outcome: str = "finished") -> TrialResult:
    known = {i: score for i, score in enumerate(scores) if score is not None}
    reason = "the loss became nan" if outcome == "failed" else None
    return TrialResult(number, settings, outcome, known, len(scores), 1.0, reason)  # type: ignore[arg-type]


def report(
    *trials: TrialResult, best: int, num_combinations: int | None = 12, also: Settings | None = None
) -> SweepReport:
    return SweepReport(
        trials=trials,
        best=trials[best],
        defaults=trials[0],
        difference=compare(trials[best], trials[0], tuple("abcdefgh"), margin=0.05),
        num_questions=8,
        num_combinations=num_combinations,
        stopped="trials",
        also=also or {},
    )


NONE = trial(0, DEFAULTS, [0] * 8)
HALF = trial(0, DEFAULTS, [0, 0, 0, 0, 1, 1, 1, 1])
ALL = trial(2, BEST, [1] * 8)
PRUNED = trial(1, {**DEFAULTS, "arms.rag.top_k": 1}, [0, 0], "pruned")
FAILED = trial(3, {**DEFAULTS, "adapters.raft.learning_rate": 0.5}, [], "failed")


def test_the_best_is_compared_with_the_defaults_question_by_question() -> None:
    found = report(HALF, PRUNED, ALL, FAILED, best=2)
    assert found.difference is not None
    assert found.difference.mean == 0.5
    assert found.difference.num_pairs == 8
    # Four wins and no loss: 2 / 2**4 both ways. Two rivals of the defaults were measured.
    assert found.difference.p_value == pytest.approx(0.125)
    assert found.p_corrected() == pytest.approx(0.25)


def test_only_questions_that_both_were_scored_on_are_compared() -> None:
    found = report(HALF, trial(1, BEST, [1, None, 1, None, 1, 1, None, None]), best=1)
    assert found.difference is not None
    assert (found.difference.num_pairs, found.difference.mean) == (4, 0.5)
    assert "0.500 over 8 of 8 questions" in found.to_text()
    assert "1.000 over 8 of 8 questions, 4 unscored" in found.to_text()


def test_the_words_and_the_yaml_say_the_changed_settings_and_what_they_need() -> None:
    found = report(HALF, PRUNED, ALL, best=2, also={"engine.max_lora_rank": 32})
    assert found.words() == [
        "arms.rag.top_k=4",
        "adapters.raft.learning_rate=1.0e-05",
        "arms.rag.prompt='no'",
        "engine.max_lora_rank=32",
    ]
    assert yaml.safe_load(found.to_yaml()) == {
        "arms": {"rag": {"top_k": 4, "prompt": "no"}},
        "adapters": {"raft": {"learning_rate": 1e-5}},
        "engine": {"max_lora_rank": 32},
    }


def test_the_text_counts_what_was_spent_and_warns_of_optimism() -> None:
    found = report(NONE, PRUNED, ALL, FAILED, best=2)
    assert found.is_shown
    text = found.to_text()
    assert "4 trials (1 ended early, 1 failed): the number of trials is used up" in text
    assert "18 evaluations, of 32 if no trial had ended early and 96 for the full grid" in text
    assert "trial 3 failed with arms.rag.top_k=2 adapters.raft.learning_rate=0.5" in text
    assert "the loss became nan" in text
    assert "difference +1.000" in text
    assert "so their lead is optimistic" in text
    assert "full grid" not in report(HALF, ALL, best=1, num_combinations=None).to_text()


def test_a_lead_that_chance_explains_leaves_the_defaults_where_they_are() -> None:
    found = report(HALF, PRUNED, ALL, best=2)
    assert not found.is_shown
    assert not found.to_dict()["is_shown"]
    last = found.to_text().splitlines()[-1]
    assert last.startswith("your settings stay: that these are better is not shown")
    assert last.endswith("arms.rag.top_k=4 adapters.raft.learning_rate=1.0e-05 arms.rag.prompt='no'")


def test_defaults_that_stay_best_are_said_to_be() -> None:
    found = report(HALF, PRUNED, best=0, also={"engine.max_lora_rank": 32})
    assert (found.difference, found.p_corrected(), found.words(), found.to_yaml()) == (None, None, [], "")
    assert "nothing found is better than your settings: 0.500 over 8 of 8 questions" in found.to_text()
    assert "optimistic" not in found.to_text()
    assert not found.is_shown


def test_defaults_that_failed_leave_nothing_to_compare_with() -> None:
    found = report(trial(0, DEFAULTS, [], "failed"), trial(1, BEST, [1] * 8), best=1)
    assert found.difference is None
    assert found.is_shown
    assert "your settings could not be measured, so there is nothing to compare with" in found.to_text()


def test_the_json_form_is_plain_json() -> None:
    row = json.loads(json.dumps(report(HALF, PRUNED, ALL, FAILED, best=2).to_dict(), allow_nan=False))
    assert row["best"]["settings"] == BEST
    assert (row["num_trials"], row["num_pruned"], row["num_failed"], row["num_asked"]) == (4, 1, 1, 18)
    assert [t["outcome"] for t in row["trials"]] == ["finished", "pruned", "finished", "failed"]
    assert row["trials"][3]["mean"] is None
