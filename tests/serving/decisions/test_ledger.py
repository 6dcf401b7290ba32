import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.comparison import make_comparison
from fakes.decisions import make_decision

from eval.errors import EvalError
from eval.runs.run import Run, publish_run
from serving.decisions.ledger import Ledger, record_run
from serving.errors import NotFound, NotPromotable
from serving.http.pages import Page
from storage.database import Database
from storage.errors import ArbiterError

BASE, RAG, HYBRID = make_decision("base"), make_decision("rag"), make_decision("hybrid")
SCOPE = HYBRID.scope


@pytest.fixture
def ledger(database: Database) -> Ledger:
    ledger = Ledger(database, clock=lambda: 1_700_000_100.9)
    for decision in (BASE, RAG, HYBRID):
        ledger.record(decision)
    return ledger


def current(ledger: Ledger) -> str:
    found = ledger.current(SCOPE)
    assert found is not None
    return found.arm


def test_a_decision_comes_back_as_it_was_recorded(ledger: Ledger) -> None:
    assert ledger.get(RAG.id) == RAG
    assert RAG.id.startswith("dec_")
    with pytest.raises(NotFound, match="no decision 'dec_x'"):
        ledger.get("dec_x")


def test_what_rows_refuse_is_one_line_on_the_command_line_too(ledger: Ledger) -> None:
    with pytest.raises(ArbiterError, match="after names nothing in this list: 'dec_x'"):
        ledger.page(Page(after="dec_x"))


def test_the_same_decision_has_one_row_and_becomes_the_newest(ledger: Ledger) -> None:
    again = BASE.model_copy(update={"created_at": 1_700_000_500, "confidence": 0.5})
    assert ledger.record(again) == BASE.id
    rows = ledger.page(Page(order="desc")).rows
    assert [row.arm for row in rows] == ["base", "hybrid", "rag"]
    assert ledger.get(BASE.id) == again
    # A list does without the evidence, which is long.
    assert rows[0] == again.model_copy(update={"evidence": {}})
    assert current(ledger) == "base"


@pytest.mark.parametrize(
    "changes",
    [{"policy": {"margin": 0.9}}, {"run_id": "desk-1a2b3c-00000002"}, {"data_version": "d2"}, {"arm": "rag"}],
)
def test_another_run_policy_or_arm_is_another_decision(changes: dict[str, object]) -> None:
    assert make_decision(**changes).id != HYBRID.id  # type: ignore[arg-type]


def test_without_a_promotion_auto_is_the_newest_of_the_served_config(ledger: Ledger) -> None:
    other = RAG.model_copy(update={"config_fingerprint": "c2", "run_id": "desk-1a2b3c-00000009"})
    ledger.record(other)
    assert ledger.current(SCOPE) == other
    assert ledger.current(SCOPE, "c1") == HYBRID
    assert ledger.newest("c2") == other
    assert ledger.newest("c3") is None
    assert ledger.current("elsewhere org/base r1") is None


def test_promotions_pin_auto_and_rollbacks_retrace_them(ledger: Ledger) -> None:
    ledger.promote(BASE.id)
    ledger.promote(RAG.id)
    ledger.record(HYBRID.model_copy(update={"created_at": 1_800_000_000}))
    assert current(ledger) == "rag"
    assert ledger.rollback(SCOPE).decision_id == BASE.id
    assert current(ledger) == "base"
    # Before the first promotion auto was the newest decision.
    assert ledger.rollback(SCOPE).decision_id == HYBRID.id
    with pytest.raises(NotPromotable, match="nothing to roll back to"):
        ledger.rollback(SCOPE)
    log = ledger.promotions(SCOPE)
    assert [(entry.action, entry.decision_id) for entry in log] == [
        ("promote", BASE.id),
        ("promote", RAG.id),
        ("rollback", BASE.id),
        ("rollback", HYBRID.id),
    ]
    assert {entry.promoted_at for entry in log} == {1_700_000_100}
    ledger.promote(RAG.id)
    assert ledger.before(SCOPE) == HYBRID.id


def test_promoting_twice_is_promoting_once(ledger: Ledger) -> None:
    assert ledger.promote(RAG.id) == ledger.promote(RAG.id)
    assert len(ledger.promotions()) == 1


def test_a_server_knows_what_it_served_before(ledger: Ledger) -> None:
    ledger.promote(HYBRID.id, previous_id=BASE.id)
    assert ledger.rollback(SCOPE).decision_id == BASE.id


def test_promoting_what_auto_means_already_has_nothing_to_go_back_to(ledger: Ledger) -> None:
    ledger.promote(HYBRID.id)
    with pytest.raises(NotPromotable, match="nothing to roll back to"):
        ledger.before(SCOPE)


def test_a_rollback_that_was_prepared_for_another_decision_is_refused(ledger: Ledger) -> None:
    ledger.promote(RAG.id)
    with pytest.raises(NotPromotable, match="another promotion came in between"):
        ledger.rollback(SCOPE, to=BASE.id)
    assert current(ledger) == "rag"


def test_scopes_are_apart(ledger: Ledger) -> None:
    elsewhere = BASE.model_copy(update={"data": "other-ffffff", "run_id": "other-ffffff-00000001"})
    ledger.record(elsewhere)
    ledger.promote(elsewhere.id)
    assert current(ledger) == "hybrid"
    assert [row.id for row in ledger.page(Page(), scope=elsewhere.scope).rows] == [elsewhere.id]
    assert len(ledger.page(Page()).rows) == 4


def test_everything_outlives_the_process(ledger: Ledger, database_url: str) -> None:
    ledger.promote(RAG.id)
    with closing(Database(database_url)) as database:
        again = Ledger(database)
        assert again.get(BASE.id) == BASE
        assert current(again) == "rag"


PROMOTE_IN_TURN = """
import sys
from serving.decisions.ledger import Ledger
from storage.database import Database

ledger = Ledger(Database(sys.argv[1]))
for _ in range(10):
    for decision_id in sys.argv[2:]:
        ledger.promote(decision_id)
"""


@pytest.mark.slow
def test_processes_that_promote_at_once_leave_one_history(ledger: Ledger, database_url: str) -> None:
    workers = [
        subprocess.Popen([sys.executable, "-c", PROMOTE_IN_TURN, str(database_url), *ids])
        for ids in ([BASE.id, RAG.id], [RAG.id, HYBRID.id])
    ]
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0]
    log = ledger.promotions(SCOPE)
    assert len(log) >= 20
    assert [entry.previous_id for entry in log[1:]] == [entry.decision_id for entry in log[:-1]]


def published(tmp_path: Path) -> Run:
    comparison = make_comparison()
    return publish_run(
        tmp_path / "runs" / "lake-0a0b0c-12345678",
        config_yaml="data: lake\n",
        questions=comparison.questions,
        records=comparison.records,
        scorecard=replace(comparison.scorecard, provenance={"model": "org/base r1"}),
        manifest={"config_fingerprint": "c1", "data_version": "d1", "base_revision": "r1", "versions": {}},
    )


def test_a_runs_decision_is_recorded_with_its_report(tmp_path: Path, ledger: Ledger) -> None:
    decision, run = make_comparison().decision, published(tmp_path)
    with pytest.raises(EvalError, match="has no decision yet"):
        record_run(ledger, run)
    run.write_views(decision, {"margin": 0.03}, {}, "<p>first</p>", "first")
    first = record_run(ledger, run)
    assert (first.arm, first.verdict) == (decision.arm, decision.verdict)
    assert (first.data, first.base_model, first.scope) == ("lake-0a0b0c", "org/base r1", "lake-0a0b0c org/base r1")
    assert first.policy == {"margin": 0.03}
    assert first.evidence["reason"] == first.reason
    assert ledger.get(first.id) == first
    run.write_views(decision, {"margin": 0.9}, {}, "<p>second</p>", "second")
    second = record_run(ledger, run)
    assert second.id != first.id
    assert (first.report.read_text(), second.report.read_text()) == ("<p>first</p>", "<p>second</p>")
