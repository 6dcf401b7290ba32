import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from arbiter.cli.decisions import list_decisions, promote, rollback
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
