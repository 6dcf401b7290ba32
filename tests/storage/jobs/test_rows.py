"""What the rows of jobs promise: one owner at a time, and nothing lost when that one is gone."""

import os
import subprocess
import sys

import pytest
import sqlalchemy as sa

from storage.database import Database
from storage.jobs.rows import EVENTS, KEPT_S, LEASE_S, JobRows, is_here, is_running, job_id, process_name

ME = process_name(os.getpid())
OTHER = process_name(os.getppid())
GONE = ME.rsplit(":", 1)[0] + ":0.00"
ELSEWHERE = "another-machine:7:1.00"


class Clock:
    """Time that passes when it is told to."""

    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def rows_of(database: Database, clock: Clock, owner: str = ME) -> JobRows:
    return JobRows(database, owner=owner, clock=clock)


def events_of(database: Database, name: str) -> list[tuple[str, object]]:
    query = sa.select(EVENTS.c.message, EVENTS.c.data).where(EVENTS.c.job_id == name).order_by(EVENTS.c.sequence)
    with database.read() as rows:
        return [(event.message, event.data) for event in rows.execute(query)]


def test_a_job_goes_from_queued_to_its_end_and_every_step_is_an_event(database: Database, clock: Clock) -> None:
    rows = rows_of(database, clock)
    name = rows.submit("index", "vs_1")
    assert name == job_id("index", "vs_1")
    clock.now += 5
    job = rows.claim("index")
    assert job is not None
    assert (job.state, job.started_at) == ("running", clock.now)
    assert rows.claim("index") is None
    assert rows.progress(name, {"done": 3, "of": 7})
    rows.end(name, "failed", "the disk is full")
    ended = rows.get(name)
    assert ended is not None
    assert (ended.state, ended.error, ended.owner, ended.progress) == (
        "failed",
        "the disk is full",
        None,
        {"done": 3, "of": 7},
    )
    assert events_of(database, name) == [
        ("queued", {}),
        ("started", {"process": ME}),
        ("failed", {"error": "the disk is full"}),
    ]


def test_jobs_are_claimed_in_the_order_they_came_and_by_kind(database: Database, clock: Clock) -> None:
    rows = rows_of(database, clock)
    for key in ("b", "a", "c"):
        rows.submit("index", key)
    rows.submit("eval", "z")
    claimed = [rows.claim("index") for _ in range(4)]
    assert [job.key if job else None for job in claimed] == ["b", "a", "c", None]


def test_what_is_submitted_while_it_runs_runs_once_more(database: Database, clock: Clock) -> None:
    rows = rows_of(database, clock)
    name = rows.submit("index", "vs_1")
    rows.submit("index", "vs_1")
    rows.claim("index")
    rows.submit("index", "vs_1")
    rows.submit("index", "vs_1")
    assert rows.claim("index") is None
    rows.end(name, "succeeded")
    assert rows.claim("index") is not None
    rows.end(name, "succeeded")
    assert rows.claim("index") is None
    rows.submit("index", "vs_1")
    assert [message for message, _ in events_of(database, name)] == ["queued"]


def test_what_is_submitted_after_it_was_cancelled_runs_once_more(database: Database, clock: Clock) -> None:
    rows = rows_of(database, clock)
    name = rows.submit("index", "vs_1")
    rows.claim("index")
    assert rows.cancel(name)
    rows.submit("index", "vs_1")
    rows.end(name, "cancelled")
    again = rows.claim("index")
    assert again is not None
    assert not again.is_cancelling
    rows.end(name, "succeeded")


def test_another_process_sees_a_job_and_leaves_it_to_its_owner(database: Database, clock: Clock) -> None:
    mine, other = rows_of(database, clock), rows_of(database, clock, OTHER)
    name = mine.submit("index", "vs_1")
    other.submit("index", "vs_1")
    assert (other.claim("index"), other.adopt("index")) == (None, [])
    mine.claim("index")
    seen = other.get(name)
    assert seen is not None
    assert (seen.state, seen.owner) == ("running", ME)
    other.end(name, "succeeded")
    assert not other.progress(name, {"done": 1})
    assert [job.state for job in other.live(kind="index")] == ["running"]


def test_the_jobs_of_a_process_that_ended_are_taken_up_once(database: Database, clock: Clock) -> None:
    gone = rows_of(database, clock, GONE)
    gone.submit("index", "ran")
    gone.claim("index")
    gone.progress(job_id("index", "ran"), {"files": ["file-1"]})
    gone.submit("index", "waited")
    mine, other = rows_of(database, clock), rows_of(database, clock, OTHER)
    assert sorted(job.key for job in mine.adopt("index")) == ["ran", "waited"]
    assert other.adopt("index") == []
    job = mine.claim("index")
    assert job is not None
    # Its progress says what was in hand when its owner ended.
    assert (job.key, job.progress) == ("ran", {"files": ["file-1"]})
    assert [message for message, _ in events_of(database, job.id)] == ["queued", "started", "taken over", "started"]


def test_a_job_that_is_submitted_again_after_its_owner_ended_changes_hands(database: Database, clock: Clock) -> None:
    gone = rows_of(database, clock, GONE)
    name = gone.submit("index", "vs_1")
    gone.claim("index")
    mine = rows_of(database, clock)
    mine.submit("index", "vs_1")
    job = mine.claim("index")
    assert job is not None
    gone.end(name, "failed", "too late")
    mine.end(name, "succeeded")
    ended = mine.get(name)
    assert ended is not None
    assert ended.state == "succeeded"


def test_a_process_of_another_machine_keeps_its_jobs_while_it_is_heard_of(database: Database, clock: Clock) -> None:
    there, here = rows_of(database, clock, ELSEWHERE), rows_of(database, clock)
    there.submit("index", "vs_1")
    there.claim("index")
    clock.now += LEASE_S - 1
    there.beat()
    clock.now += LEASE_S - 1
    assert here.adopt("index") == []
    clock.now += 2
    assert [job.key for job in here.adopt("index")] == ["vs_1"]


def test_what_waits_is_cancelled_at_once_and_what_runs_by_its_owner(database: Database, clock: Clock) -> None:
    mine, other = rows_of(database, clock), rows_of(database, clock, OTHER)
    runs = mine.submit("index", "runs")
    mine.claim("index")
    waits = mine.submit("index", "waits")
    assert other.cancel(runs)
    assert other.cancel(waits)
    states = {job.key: (job.state, job.is_cancelling) for job in (mine.get(runs), mine.get(waits)) if job}
    assert states == {"runs": ("running", True), "waits": ("cancelled", False)}
    mine.end(runs, "cancelled")
    assert not other.cancel(runs)
    assert not other.cancel("index/none")


def test_a_job_that_was_to_be_cancelled_when_its_owner_ended_is_cancelled(database: Database, clock: Clock) -> None:
    gone, mine = rows_of(database, clock, GONE), rows_of(database, clock)
    name = gone.submit("index", "vs_1")
    gone.claim("index")
    gone.cancel(name)
    assert mine.adopt("index") == []
    job = mine.get(name)
    assert job is not None
    assert job.state == "cancelled"


def test_what_a_process_gives_up_is_free_at_once(database: Database, clock: Clock) -> None:
    mine, other = rows_of(database, clock), rows_of(database, clock, OTHER)
    kept = mine.submit("index", "kept")
    mine.claim("index")
    mine.submit("index", "free")
    mine.release("index", but=[kept])
    assert [job.key for job in other.adopt("index")] == ["free"]


def test_what_ended_long_ago_is_forgotten(database: Database, clock: Clock) -> None:
    rows = rows_of(database, clock)
    name = rows.submit("index", "vs_1")
    rows.claim("index")
    rows.end(name, "succeeded")
    clock.now += KEPT_S - 1
    rows.beat()
    assert rows.get(name) is not None
    clock.now += 2
    rows.beat()
    assert rows.get(name) is None
    assert events_of(database, name) == []


def test_a_process_is_known_by_its_id_and_start() -> None:
    mine = process_name(os.getpid())
    assert is_running(mine)
    assert not is_running(mine.rpartition(":")[0] + ":1.00")
    assert not is_running("no process")
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = process_name(other.pid)
    assert is_running(name)
    other.kill()
    other.communicate()
    assert not is_running(name)


def test_a_process_of_another_machine_is_told_from_one_of_this() -> None:
    mine = process_name(os.getpid())
    assert is_here(mine)
    assert not is_here("elsewhere:" + mine.partition(":")[2])
    assert not is_running("elsewhere:" + mine.partition(":")[2])
