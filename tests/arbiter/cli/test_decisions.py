import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from arbiter.cli.decisions import list_decisions, promote, rollback
from eval.gates.measure import Measured
from eval.gates.results import keep_measured
from serving.decisions.ledger import Ledger, RecordedDecision
from storage.database import open_database
from storage.errors import ArbiterError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARBITER_HOME", str(tmp_path))
    return tmp_path


def record(home: Path, arm: str, run: str = "demo-1", *, config: str = "c1") -> str:
    with closing(open_database(home)) as database:
        return Ledger(database).record(
            RecordedDecision(
                run_id=run,
                run_directory=home / "runs" / run,
                data="demo",
                base_model="m 1",
                data_version="v1",
                config_fingerprint=config,
                arm=arm,
                verdict="winner",
                confidence=0.97,
                margin=0.2,
                reason="because",
                policy={"margin": 0.05},
                created_at=1_700_000_000,
                evidence={},
            )
        )


def listed(capsys: pytest.CaptureFixture[str]) -> list[Any]:
    capsys.readouterr()
    list_decisions(is_json=True)
    return list(json.loads(capsys.readouterr().out))


def serving_arms(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [row["arm"] for row in listed(capsys) if row["is_auto"]]


def test_no_decisions_say_where_there_are_none_and_how_to_make_one(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARBITER_DATABASE", f"sqlite:///{home}/elsewhere.db")
    list_decisions()
    assert capsys.readouterr().out == f"no decisions in '{home}/elsewhere.db'; make one with: arbiter run CONFIG\n"
    assert listed(capsys) == []


@pytest.mark.slow
def test_of_many_decisions_the_newest_are_shown_in_order(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = [record(home, "rag", f"demo-{number}") for number in range(101)]
    assert [row["id"] for row in listed(capsys)] == ids[1:]


def test_the_newest_serves_until_another_is_promoted_and_rolled_back(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = record(home, "rag", "demo-1"), record(home, "hybrid", "demo-2")
    assert serving_arms(capsys) == ["hybrid"]
    promote(old)
    assert f"auto is rag by decision {old}" in capsys.readouterr().out
    assert serving_arms(capsys) == ["rag"]
    rollback(is_json=True)
    assert json.loads(capsys.readouterr().out)["arm"] == "hybrid"
    assert serving_arms(capsys) == ["hybrid"]
    assert {row["id"] for row in listed(capsys)} == {old, new}


def test_without_a_promotion_each_config_serves_its_newest(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(home, "rag", "demo-1")
    record(home, "hybrid", "demo-2")
    other = record(home, "tuned", "demo-3", config="c2")
    assert sorted(serving_arms(capsys)) == ["hybrid", "tuned"]
    promote(other)
    assert serving_arms(capsys) == ["tuned"]


def test_what_does_not_exist_is_said(home: Path) -> None:
    record(home, "rag")
    with pytest.raises(ArbiterError, match="nothing was promoted yet"):
        rollback()
    with pytest.raises(ArbiterError, match="no decision 'dec_nope'"):
        promote("dec_nope")


def fail_a_gate(home: Path, run: str = "demo-1", arm: str = "tuned") -> None:
    """What a run looks like whose arm has lost half of what the model knew."""
    directory = home / "runs" / run
    directory.mkdir(parents=True)
    harms = (1.0,) * 20 + (0.0,) * 20
    keep_measured(directory, [Measured("forgetting", arm, harms, tuple(f"q{i}" for i in range(40)), num_items=40)])


def test_a_failed_gate_blocks_a_promotion_and_says_why_in_a_line(home: Path) -> None:
    decision = record(home, "tuned")
    fail_a_gate(home)
    with pytest.raises(ArbiterError) as refused:
        promote(decision)
    assert str(refused.value) == (
        f"decision '{decision}' is not promoted: gate forgetting: 50% of what the model answers right without the "
        "adapter is lost (95% interval 34% to 66%; limit 20%); a person may let it pass by name and with a reason: "
        f"arbiter decisions promote {decision} --override-by NAME --reason TEXT"
    )
    with closing(open_database(home)) as database:
        assert Ledger(database).promotions() == []


def test_a_person_lets_it_pass_by_name_with_a_reason_that_the_ledger_keeps(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decision = record(home, "tuned")
    fail_a_gate(home)
    promote(decision, override_by="Ada", reason="it answers one form only", is_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert (shown["overridden_by"], shown["override_reason"]) == ("Ada", "it answers one form only")
    with closing(open_database(home)) as database:
        (kept,) = Ledger(database).promotions()
    assert kept.overridden is not None
    assert kept.overridden[0].startswith("gate forgetting: 50% of what")
    assert kept.gate_warnings is not None


@pytest.mark.parametrize("given", [{"override_by": "Ada"}, {"reason": "x"}, {"override_by": " ", "reason": "x"}])
def test_an_override_needs_both(home: Path, given: dict[str, str]) -> None:
    decision = record(home, "tuned")
    fail_a_gate(home)
    with pytest.raises(ArbiterError, match="give both --override-by and --reason"):
        promote(decision, **given)


def test_an_override_of_nothing_is_not_kept_and_what_is_open_is_said(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    promote(record(home, "tuned"), override_by="Ada", reason="just so")
    assert "warning: not measured: forgetting, refusal" in (said := capsys.readouterr().err.replace("\n", " "))
    assert "run: arbiter gates demo-1 --arm tuned" in said
    with closing(open_database(home)) as database:
        (kept,) = Ledger(database).promotions()
    assert (kept.overridden_by, kept.overridden) == (None, None)


def test_what_was_measured_of_another_arm_blocks_nothing(home: Path) -> None:
    decision = record(home, "rag")
    fail_a_gate(home)
    promote(decision)
