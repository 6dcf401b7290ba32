"""The rows of jobs: what changes together, and what a change that comes late does not touch."""

from typing import Any

import pytest
import sqlalchemy as sa

from serving.errors import NotFound, Overloaded
from serving.fine_tuning.store import DELETED, DELETING, KEPT, LIVE, OPEN, Checkpoint, Event, JobStore, fate_of
from serving.http.pages import Page
from storage.database import Database


class Clock:
    """Time that passes when it is told to."""

    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def make(database: Database, **options: Any) -> tuple[JobStore, list[str]]:
    """A store, and what was submitted with its jobs."""
    return JobStore(database, clock=Clock(), **options), []


def add(store: JobStore, submitted: list[str], **card: Any) -> Any:
    return store.add(card, {"recipe": {}}, place="here", submit=lambda job_id, _: submitted.append(job_id))


def test_a_job_is_added_with_its_first_event_and_its_work(database: Database) -> None:
    store, submitted = make(database)
    job = add(store, submitted, model="org/base")
    assert submitted == [job.id]
    assert (job.status, job.created_at, job.card, job.outcome) == (
        "validating_files",
        1_700_000_000,
        {"model": "org/base"},
        {},
    )
    (event,) = store.events(job.id, Page()).rows
    assert (event.number, event.level, event.type, event.data) == (1, "info", "message", None)
    assert store.get(job.id).id == job.id
    assert store.find(job.id, ("running",)) is None


def test_what_cannot_be_submitted_is_not_added(database: Database) -> None:
    store, _ = make(database)

    def fail(_id: str, _rows: sa.Connection) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.add({}, {}, place="here", submit=fail)
    assert store.page(Page()).rows == []


def test_a_change_is_of_the_right_status_or_of_nothing(database: Database) -> None:
    store, submitted = make(database)
    job = add(store, submitted)
    assert store.change(job.id, LIVE, status="running", estimated_finish=99, step=3)
    assert store.get(job.id).estimated_finish == 99
    assert not store.change(job.id, ("queued",), status="succeeded", events=[Event("done")])
    assert not store.change("ftjob-x", LIVE, status="failed")
    assert len(store.events(job.id, Page()).rows) == 1
    assert store.change(job.id, OPEN, status="cancelled", events=[Event("cancelled", level="warn")])
    ended = store.get(job.id)
    assert (ended.finished_at, ended.estimated_finish, ended.step) == (1_700_000_000, None, 3)
    assert not store.change(job.id, OPEN, events=[Event("late")])


def test_events_are_counted_for_each_job(database: Database) -> None:
    store, submitted = make(database)
    first, second = add(store, submitted), add(store, submitted)
    for job in (first, second, first):
        store.change(job.id, LIVE, events=[Event("a"), Event("b", metrics={"step": 1})])
    rows = store.events(first.id, Page(order="asc")).rows
    assert [row.number for row in rows] == [1, 2, 3, 4, 5]
    assert [row.id for row in rows] == sorted(row.id for row in rows)
    assert [row.type for row in rows] == ["message", "message", "metrics", "message", "metrics"]
    assert rows[-1].data == {"step": 1}
    with pytest.raises(NotFound):
        store.events("ftjob-x", Page())


def test_checkpoints_are_those_that_were_said_last(database: Database) -> None:
    store, submitted = make(database)
    job = add(store, submitted)

    def kept() -> list[tuple[int, str, int]]:
        rows = store.checkpoints(job.id, Page()).rows
        return [(row.step_number, row.model, row.created_at) for row in rows]

    store.change(job.id, LIVE, checkpoints=[Checkpoint(5, "m:step-5", {"step": 5})])
    store.clock.now += 10  # type: ignore[attr-defined]
    store.change(
        job.id, LIVE, checkpoints=[Checkpoint(5, "m:step-5", {"step": 5}), Checkpoint(9, "m:step-9", {"step": 9})]
    )
    assert kept() == [(9, "m:step-9", 1_700_000_010), (5, "m:step-5", 1_700_000_000)]
    store.change(job.id, LIVE, events=[Event("nothing of checkpoints")])
    assert len(kept()) == 2
    store.change(job.id, LIVE, checkpoints=[Checkpoint(9, "m@1", {"step": 9}, is_model=True)])
    assert kept() == [(9, "m@1", 1_700_000_010)]
    store.change(job.id, LIVE, checkpoints=[])
    assert kept() == []


def test_jobs_are_found_by_their_labels(database: Database) -> None:
    store, submitted = make(database)
    desk = add(store, submitted, metadata={"team": "desk", "k\0": "v"})
    bare, none = add(store, submitted, metadata=None), add(store, submitted)
    assert [job.id for job in store.page(Page(), metadata={"team": "desk"}).rows] == [desk.id]
    assert [job.id for job in store.page(Page(), metadata={"k\0": "v"}).rows] == [desk.id]
    assert [job.id for job in store.page(Page(), metadata={}).rows] == [none.id, bare.id]
    assert [job.id for job in store.page(Page(limit=2)).rows] == [none.id, bare.id]


def test_only_so_many_wait_and_what_ended_does_not_count(database: Database) -> None:
    store, submitted = make(database, max_open=2)
    first, second = add(store, submitted), add(store, submitted)
    store.change(second.id, LIVE, status="paused")
    with pytest.raises(Overloaded, match="2 fine-tuning jobs wait already"):
        add(store, submitted)
    store.change(first.id, LIVE, status="failed")
    add(store, submitted)


def test_models_are_those_of_the_place(database: Database) -> None:
    store, submitted = make(database)
    jobs = [add(store, submitted) for _ in range(3)]
    for job in jobs[:2]:
        store.change(job.id, LIVE, status="succeeded", outcome={"adapter": f"a@{job.sequence}"})
    assert [job.id for job in store.made("here")] == [job.id for job in jobs[:2]]
    assert store.made("elsewhere") == []


def test_a_models_fate_is_that_of_all_jobs_that_made_it_with_the_one_before(database: Database) -> None:
    store, submitted = make(database)
    first, again, other = (add(store, submitted) for _ in range(3))
    for job, adapter in ((first, "a@1"), (again, "a@1"), (other, "b@1")):
        kept = [Checkpoint(3, adapter, {"step": 3}, is_model=True)]
        store.change(job.id, LIVE, status="succeeded", outcome={"adapter": adapter}, checkpoints=kept)
    store.set_fate("here", "a@1", KEPT, DELETING, [Event("it was deleted")])
    assert [job.id for job in store.made("here")] == [other.id]
    assert [job.id for job in store.made("here", DELETING)] == [first.id, again.id]
    assert store.events(first.id, Page()).rows[0].message == "it was deleted"
    assert (store.checkpoints(first.id, Page()).rows, len(store.checkpoints(other.id, Page()).rows)) == ([], 1)
    store.set_fate("here", "b@1", DELETING, DELETED)
    assert fate_of(store.get(other.id)) == KEPT
