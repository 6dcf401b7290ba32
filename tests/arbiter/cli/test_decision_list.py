from contextlib import closing
from pathlib import Path

import pytest

from arbiter.cli.decision_list import promote_decision, roll_back, show_decisions
from serving.decisions.ledger import Ledger, RecordedDecision
from storage.database import open_database
from storage.errors import ArbiterError


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


def serving_arms(home: Path) -> list[str]:
    _, rows = show_decisions(home)
    return [row["arm"] for row in rows if row["is_auto"]]


def test_no_decisions_say_where_there_are_none_and_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARBITER_DATABASE", f"sqlite:///{tmp_path}/elsewhere.db")
    text, rows = show_decisions(tmp_path)
    assert text == f"no decisions in '{tmp_path}/elsewhere.db'; make one with: arbiter run CONFIG"
    assert rows == []


@pytest.mark.slow
def test_of_many_decisions_the_newest_are_shown_in_order(tmp_path: Path) -> None:
    ids = [record(tmp_path, "rag", f"demo-{number}") for number in range(101)]
    assert [row["id"] for row in show_decisions(tmp_path)[1]] == ids[1:]


def test_the_newest_serves_until_another_is_promoted_and_rolled_back(tmp_path: Path) -> None:
    old, new = record(tmp_path, "rag", "demo-1"), record(tmp_path, "hybrid", "demo-2")
    assert serving_arms(tmp_path) == ["hybrid"]
    text, row = promote_decision(tmp_path, old)
    assert row["arm"] == "rag"
    assert f"auto is rag by decision {old}" in text
    assert serving_arms(tmp_path) == ["rag"]
    roll_back(tmp_path, None)
    assert serving_arms(tmp_path) == ["hybrid"]
    assert {row["id"] for row in show_decisions(tmp_path)[1]} == {old, new}


def test_without_a_promotion_each_config_serves_its_newest(tmp_path: Path) -> None:
    record(tmp_path, "rag", "demo-1")
    record(tmp_path, "hybrid", "demo-2")
    other = record(tmp_path, "tuned", "demo-3", config="c2")
    assert sorted(serving_arms(tmp_path)) == ["hybrid", "tuned"]
    promote_decision(tmp_path, other)
    assert serving_arms(tmp_path) == ["tuned"]


def test_what_does_not_exist_is_said(tmp_path: Path) -> None:
    record(tmp_path, "rag")
    with pytest.raises(ArbiterError, match="nothing was promoted yet"):
        roll_back(tmp_path, None)
    with pytest.raises(ArbiterError, match="no decision 'dec_nope'"):
        promote_decision(tmp_path, "dec_nope")
