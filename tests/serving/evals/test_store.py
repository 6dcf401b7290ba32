from typing import Any

import pytest
import sqlalchemy as sa

from serving.errors import NotFound
from serving.evals.store import EvalStore, Run
from serving.http.pages import Page
from storage.database import Database
from storage.errors import StorageError

RUN: Any = {"name": None, "data_source": {"type": "jsonl"}}
WORK: Any = {"arm": None, "rows": None}


@pytest.fixture
def store(database: Database) -> EvalStore:
    return EvalStore(database, clock=lambda: 1_700_000_000.5)


def add_run(store: EvalStore) -> Run:
    return store.add_run(store.add_eval({"name": None})["id"], RUN, work=WORK, submit=lambda *_: None)


def add_item(store: EvalStore, run: Run, position: int, **changes: Any) -> None:
    store.add_item(run, position, {"status": "pass", "results": [], "sample": {}, **changes})


def result(name: str, *, passed: bool, score: float | None) -> dict[str, Any]:
    return {"name": name, "passed": passed, "score": score}


def test_what_is_stored_comes_back(store: EvalStore) -> None:
    run = add_run(store)
    assert (run.card["name"], run.status, run.card["created_at"]) == (run.id, "queued", 1_700_000_000)
    assert store.get_run(run.eval_id, run.id) == run
    assert [found.card for found in store.evals(Page()).rows] == [store.get_eval(run.eval_id)]
    assert [found.card for found in store.runs(run.eval_id, Page()).rows] == [run.card]


def test_a_run_that_has_ended_stays_ended(store: EvalStore) -> None:
    run = add_run(store)
    assert store.set_status(run.id, "in_progress")
    assert store.set_status(run.id, "canceled")
    assert not store.set_status(run.id, "completed")
    assert store.get_run(run.eval_id, run.id).status == "canceled"


def test_an_outcome_is_kept_once_and_only_of_a_live_run(store: EvalStore) -> None:
    run = add_run(store)
    add_item(store, run, 1)
    add_item(store, run, 1, status="fail")
    assert store.done_positions(run.id) == {1}
    assert store.items(run.eval_id, run.id, Page()).rows[0].status == "pass"
    store.set_status(run.id, "canceled")
    add_item(store, run, 0)
    assert store.done_positions(run.id) == {1}
    store.delete_run(run.eval_id, run.id)
    add_item(store, run, 0)
    assert store.done_positions(run.id) == set()


def test_a_deleted_eval_takes_its_runs_and_items_with_it(store: EvalStore) -> None:
    run = add_run(store)
    add_item(store, run, 0)
    assert store.delete_eval(run.eval_id) == [run.id]
    assert store.done_positions(run.id) == set()
    with pytest.raises(NotFound, match="no run"):
        store.get_run(run.eval_id, run.id)


def test_what_could_not_be_graded_counts_as_neither(store: EvalStore) -> None:
    run = add_run(store)
    tokens = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, "cached_tokens": 2}
    generated = {"usage": tokens, "arbiter": {"arm": "rag"}}
    add_item(store, run, 0, results=[result("a", passed=True, score=1.0)], sample=generated)
    add_item(store, run, 1, status="fail", results=[result("a", passed=False, score=0.0)], sample=generated)
    add_item(store, run, 2, status="error", results=[result("a", passed=False, score=None)])
    assert store.counts(run, ["a", "b"]) == {
        "result_counts": {"passed": 1, "failed": 1, "errored": 1, "total": 3},
        "per_testing_criteria_results": [
            {"testing_criteria": "a", "passed": 1, "failed": 1},
            {"testing_criteria": "b", "passed": 0, "failed": 0},
        ],
        "per_model_usage": [
            {
                "model_name": "rag",
                "invocation_count": 2,
                "prompt_tokens": 14,
                "completion_tokens": 6,
                "total_tokens": 20,
                "cached_tokens": 4,
            }
        ],
    }


def test_a_list_reads_the_items_of_an_ended_run_once(store: EvalStore) -> None:
    run = add_run(store)
    assert store.counts(run, [])["result_counts"]["total"] == 0
    add_item(store, run, 0)
    assert store.counts(run, [])["result_counts"]["total"] == 1
    store.set_status(run.id, "completed")
    ended = store.get_run(run.eval_id, run.id)
    counted = store.counts(ended, [])
    store.delete_run(run.eval_id, run.id)
    assert store.counts(ended, []) is counted


def test_a_run_is_live_until_it_ends_or_goes(store: EvalStore) -> None:
    queued, begun, ended, gone = (add_run(store) for _ in range(4))
    store.set_status(begun.id, "in_progress")
    store.set_status(ended.id, "completed")
    store.delete_run(gone.eval_id, gone.id)
    found = [store.find_live_run(run.id) for run in (queued, begun, ended, gone)]
    assert [run.status if run else None for run in found] == ["queued", "in_progress", None, None]


def test_a_run_and_its_job_are_kept_together_or_not_at_all(store: EvalStore) -> None:
    run = add_run(store)

    def refuse(run_id: str, rows: sa.Connection) -> None:
        raise StorageError("the disk is full")

    with pytest.raises(StorageError):
        store.add_run(run.eval_id, RUN, work=WORK, submit=refuse)
    assert [one.id for one in store.runs(run.eval_id, Page()).rows] == [run.id]
