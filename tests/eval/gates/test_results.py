from dataclasses import replace
from pathlib import Path

import pytest

from eval.errors import EvalError
from eval.gates.measure import Example, Measured
from eval.gates.registry import GATES
from eval.gates.results import (
    FILE,
    GateResult,
    gate_settings,
    judge,
    judge_arm,
    judge_run,
    keep_measured,
    obstacles,
    read_measured,
    warnings,
)
from eval.gates.settings import GateSettings

CLEAN = Measured("forgetting", "tuned", (0.0,) * 40, tuple(f"q{i}" for i in range(40)), num_items=100)
LOST = replace(CLEAN, harms=(1.0,) * 20 + (0.0,) * 20, examples=(Example("2 + 2?", "card", "4"),))
FEW = replace(CLEAN, harms=(0.0,) * 4, clusters=CLEAN.clusters[:4])
NOTHING = Measured("canaries", "tuned", lacks="plant some")
COMMAND = "arbiter gates run-1 --arm tuned"


def judged(measured: Measured | None, settings: GateSettings = GateSettings()) -> GateResult:
    name = "forgetting" if measured is None else measured.gate
    return judge(name, measured, settings, arm="tuned", alpha=0.05, command=COMMAND)


def test_a_gate_says_what_it_found_by_which_limit() -> None:
    found = judged(LOST)
    assert found.verdict == "fail"
    assert found.says == (
        "forgetting: 50% of what the model answers right without the adapter is lost "
        "(95% interval 34% to 66%; limit 20%)"
    )
    assert obstacles([found]) == [f"gate {found.says}"]


def test_one_that_passes_stands_against_nothing_and_is_not_spoken_of() -> None:
    found = judged(CLEAN)
    assert (found.verdict, obstacles([found]), warnings([found])) == ("pass", [], [])


def test_one_that_is_not_decided_says_how_many_more_items_would_tell_and_blocks_only_where_it_is_required() -> None:
    found = judged(FEW)
    assert found.verdict == "not decided"
    assert found.says.endswith("; not decided: about 28 more than the 4 items would tell")
    assert (obstacles([found]), warnings([found])) == ([], [found.says])
    required = judged(FEW, GateSettings(required=("forgetting",)))
    assert obstacles([required]) == [f"required gate {required.says}"]


def test_one_without_data_says_what_to_give_and_lets_pass_by_default() -> None:
    found = judged(NOTHING)
    assert (found.verdict, found.says) == ("no data", "canaries has no data: plant some")
    assert (obstacles([found]), warnings([found])) == ([], [found.says])
    required = judged(NOTHING, GateSettings(required=("canaries",)))
    assert obstacles([required]) == ["required gate canaries has no data: plant some"]


def test_one_that_was_not_measured_says_the_command() -> None:
    found = judged(None)
    assert (found.verdict, found.says) == (None, f"forgetting was not measured; run: {COMMAND}")
    assert warnings([found]) == [f"not measured: forgetting; run: {COMMAND}"]
    assert obstacles([judged(None, GateSettings(required=("forgetting",)))]) == [
        f"required gate forgetting was not measured; run: {COMMAND}"
    ]


def test_one_that_there_is_nothing_to_look_for_passes() -> None:
    assert judged(Measured("forgetting", "base", free="arm 'base' has no adapter")).verdict == "pass"


def test_failed_requests_are_said_and_leave_open_what_they_could_turn() -> None:
    found = judged(replace(CLEAN, num_failed=60))
    assert found.verdict == "not decided"
    assert found.says.endswith(
        f"; not decided: what is missing could turn it; 60 of 100 items got no answer, to ask them again: {COMMAND}"
    )
    # With 1 of 41 harmed the interval ends at 0.129, under the limit of 0.2.
    assert judged(replace(CLEAN, num_failed=1)).verdict == "pass"
    lost_all = replace(LOST, harms=(1.0,) * 40, num_failed=10)
    assert judged(lost_all).verdict == "fail"


def test_items_are_counted_where_one_has_several_harms() -> None:
    found = judged(replace(FEW, harms=(0.0,) * 8, clusters=("a", "a", "b", "b", "c", "c", "d", "d"), num_judged=4))
    assert found.num_judged == 4
    assert "more than the 8 that 4 items have would tell" in found.says


def test_a_proof_fails_whatever_the_mean_unless_the_limit_is_all() -> None:
    said = Measured("canaries", "tuned", (1.0, *[0.5] * 19), tuple("abcdefghijklmnopqrst"), num_items=20, num_judged=20)
    assert judged(said).verdict == "pass"
    found = judged(replace(said, num_proofs=1))
    assert found.verdict == "fail"
    assert found.says.startswith("canaries: 1 of 20 planted numbers are said, which no chance explains; 52")
    assert obstacles([found]) == [f"gate {found.says}"]
    assert judged(replace(said, num_proofs=1), GateSettings(canaries=1.0)).verdict == "pass"


def test_what_no_engine_weighs_is_missing() -> None:
    # Twelve that are said of a hundred: all of what is known, and no more than 12% of what there is.
    found = judged(Measured("canaries", "tuned", (1.0,) * 12, tuple("abcdefghijkl"), num_items=100, num_unweighed=88))
    assert found.verdict == "not decided"
    assert found.says.endswith("could turn it; of 88 of 100 items the engine gives no likelihoods")


def test_what_was_measured_is_kept_by_gate_and_arm_and_judged_by_any_limit(tmp_path: Path) -> None:
    assert read_measured(tmp_path) == []
    keep_measured(tmp_path, [CLEAN, NOTHING])
    keep_measured(tmp_path, [LOST, replace(CLEAN, arm="hybrid")])
    assert read_measured(tmp_path) == [LOST, NOTHING, replace(CLEAN, arm="hybrid")]
    by_default = judge_arm(tmp_path, "tuned", GateSettings(), alpha=0.05)
    assert [one.gate for one in by_default] == list(GATES)
    assert by_default[0].verdict == "fail"
    assert judge_arm(tmp_path, "tuned", GateSettings(forgetting=0.7), alpha=0.05)[0].verdict == "pass"
    assert "forgetting" not in {
        one.gate for one in judge_arm(tmp_path, "tuned", GateSettings(forgetting=None), alpha=0.05)
    }


def test_of_the_arms_that_were_not_decided_for_only_what_was_measured_is_shown(tmp_path: Path) -> None:
    keep_measured(tmp_path, [CLEAN, replace(CLEAN, arm="hybrid")])
    found = judge_run(tmp_path, "hybrid", GateSettings(), alpha=0.05)
    assert [one.arm for one in found] == ["hybrid"] * len(GATES) + ["tuned"]


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"gate": "x"}]', '{"a": 1}'])
def test_a_damaged_file_is_said_with_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(EvalError, match=r"cannot read gates.json of run .*; delete '.*gates.json', and measure again"):
        read_measured(tmp_path)


def test_the_gates_of_a_decision_are_read_from_its_policy_and_those_from_before_have_the_usual_ones() -> None:
    assert gate_settings({"margin": 0.05}) == (GateSettings(), 0.05)
    settings, alpha = gate_settings({"alpha": 0.1, "gates": {"required": ["bias"], "claims": None}})
    assert (settings.required, settings.claims, alpha) == (("bias",), None, 0.1)
    with pytest.raises(EvalError, match="decide again"):
        gate_settings({"gates": {"forgettign": 0.1}})


def test_a_gate_that_does_not_exist_cannot_be_required() -> None:
    with pytest.raises(EvalError, match="required"):
        GateSettings(required=("forgettign",))  # type: ignore[arg-type]


def test_every_gate_has_a_limit_in_the_settings() -> None:
    assert {name: GateSettings().limit(name) for name in GATES} == {name: gate.limit for name, gate in GATES.items()}
