"""What the threads over the rows do: limits, stopping, cancelling, trouble, and a kill at any moment."""

import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.forks import Forks

from storage.database import open_database
from storage.errors import StorageError
from storage.jobs.jobs import LOOK_S, Jobs, JobStopped, RunningJob
from storage.jobs.rows import Job, JobRows, JobState


def until(happened: Callable[[], object], *, limit_s: float = 15) -> None:
    deadline = time.monotonic() + limit_s
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(JobRows(open_database(tmp_path)), poll_s=0.1, pause_s=0.01)


def submit(jobs: Jobs, kind: str, key: str) -> str:
    name = jobs.rows.submit(kind, key)
    jobs.wake()
    return name


def state(jobs: Jobs, name: str) -> JobState:
    job = jobs.rows.get(name)
    assert job is not None
    return job.state


def test_a_submitted_job_is_worked_on_and_ends(jobs: Jobs) -> None:
    seen: list[str] = []
    jobs.begin("copy", lambda running: seen.append(running.job.key))
    name = submit(jobs, "copy", "a")
    until(lambda: state(jobs, name) == "succeeded")
    assert seen == ["a"]
    jobs.stop("copy")


def test_no_more_jobs_of_a_kind_run_at_once_than_may(jobs: Jobs) -> None:
    now, most, lock = Counter[str](), Counter[str](), threading.Lock()
    # Three by three: work that waits for two others never ends alone.
    met = {"one": threading.Barrier(1), "three": threading.Barrier(3)}

    def work(running: RunningJob) -> None:
        kind = running.job.kind
        with lock:
            now[kind] += 1
            most[kind] = max(most[kind], now[kind])
        met[kind].wait(10)
        with lock:
            now[kind] -= 1

    names = [submit(jobs, kind, str(i)) for i in range(9) for kind in ("one", "three")]
    jobs.begin("one", work)
    jobs.begin("three", work, limit=3)
    until(lambda: all(state(jobs, name) == "succeeded" for name in names))
    assert most == {"one": 1, "three": 3}
    for kind in ("one", "three"):
        jobs.stop(kind)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (StorageError("the disk is full; free some space"), "the disk is full; free some space"),
        (ZeroDivisionError(), "the server failed on this job; its log has the reason"),
    ],
)
def test_a_fault_ends_its_job_and_no_other(jobs: Jobs, fault: Exception, error: str) -> None:
    def work(running: RunningJob) -> None:
        if running.job.key == "bad":
            raise fault

    jobs.begin("copy", work)
    bad, good = submit(jobs, "copy", "bad"), submit(jobs, "copy", "good")
    until(lambda: state(jobs, good) == "succeeded")
    job = jobs.rows.get(bad)
    assert job is not None
    assert (job.state, job.error) == ("failed", error)
    jobs.stop("copy")


def waiting(running: RunningJob) -> None:
    running.progress(begun=True)
    running.wait(20)


@pytest.mark.parametrize("where", ["this process", "another"])
def test_work_that_runs_is_cancelled_from_here_and_from_elsewhere(jobs: Jobs, tmp_path: Path, where: str) -> None:
    jobs.begin("copy", waiting)
    name = submit(jobs, "copy", "a")
    until(lambda: state(jobs, name) == "running")
    if where == "another":
        assert JobRows(open_database(tmp_path)).cancel(name)
    else:
        assert jobs.cancel(name)
    until(lambda: state(jobs, name) == "cancelled")
    jobs.stop("copy")


def test_what_is_stopped_goes_on_when_its_kind_is_begun_again(jobs: Jobs) -> None:
    jobs.begin("copy", waiting)
    name = submit(jobs, "copy", "a")
    until(lambda: (job := jobs.rows.get(name)) and job.progress)
    jobs.stop("copy")
    job = jobs.rows.get(name)
    assert job is not None
    assert (job.state, job.owner, job.progress) == ("queued", None, {"begun": True})
    jobs.begin("copy", lambda running: None)
    until(lambda: state(jobs, name) == "succeeded")
    jobs.stop("copy")


def test_work_that_hangs_stays_this_process_s_and_does_not_hold_up_the_stop(jobs: Jobs) -> None:
    let_go = threading.Event()
    jobs.begin("copy", lambda running: (let_go.wait(20), None)[1])
    name, next_one = submit(jobs, "copy", "a"), submit(jobs, "copy", "b")
    until(lambda: state(jobs, name) == "running")
    jobs.stop("copy", timeout_s=0.05)
    assert state(jobs, name) == "running"
    assert jobs.rows.get(next_one).owner is None  # type: ignore[union-attr]
    let_go.set()


def test_work_whose_job_another_process_took_for_dead_is_stopped(jobs: Jobs, tmp_path: Path) -> None:
    stopped = threading.Event()

    def work(running: RunningJob) -> None:
        try:
            running.wait(20)
        except JobStopped:
            stopped.set()
            raise

    jobs.begin("copy", work)
    name = submit(jobs, "copy", "a")
    until(lambda: state(jobs, name) == "running")
    other = JobRows(open_database(tmp_path), owner="m:1:1.00", is_alive=lambda owner: False)
    assert [job.id for job in other.adopt("copy")] == [name]
    assert stopped.wait(20)
    jobs.stop("copy")
    assert jobs.rows.get(name).owner == "m:1:1.00"  # type: ignore[union-attr]


def test_what_a_process_left_that_ended_is_found_by_one_that_runs(jobs: Jobs, tmp_path: Path) -> None:
    done: list[str] = []
    jobs.begin("polls", lambda running: done.append(running.job.kind))
    jobs.begin("starts", lambda running: done.append(running.job.kind), takes_over=False)
    gone = jobs.rows.owner.rsplit(":", 1)[0] + ":0.00"
    left = JobRows(open_database(tmp_path), owner=gone)
    left.submit("starts", "a")
    left.submit("polls", "a")
    until(lambda: done == ["polls"])
    time.sleep(0.2)
    assert done == ["polls"]
    jobs.stop("starts")
    jobs.begin("starts", lambda running: done.append(running.job.kind))
    until(lambda: done == ["polls", "starts"])
    jobs.stop("polls")
    jobs.stop("starts")


class FullDisk(JobRows):
    """Rows that cannot be written the first time that a job ends."""

    num_ended = 0

    def end(self, name: str, state: JobState, error: str | None = None) -> None:
        self.num_ended += 1
        if self.num_ended == 1:
            raise StorageError("the disk is full")
        super().end(name, state, error)


class Away(JobRows):
    """Rows in a database that stops while a job runs."""

    is_away = False

    def get(self, name: str) -> Job | None:
        if self.is_away:
            raise StorageError("the connection is lost")
        return super().get(name)


@pytest.mark.slow
def test_work_that_waits_outlives_a_database_that_is_away(tmp_path: Path) -> None:
    rows = Away(open_database(tmp_path))
    jobs = Jobs(rows)
    asked: list[float] = []

    def work(running: RunningJob) -> None:
        rows.is_away = True
        running.wait(3 * LOOK_S)
        rows.is_away = False
        asked.append(time.monotonic())
        running.wait(20)

    jobs.begin("copy", work)
    name = submit(jobs, "copy", "a")
    until(lambda: asked)
    assert state(jobs, name) == "running"
    # What was asked of it meanwhile is heeded.
    JobRows(open_database(tmp_path)).cancel(name)
    until(lambda: state(jobs, name) == "cancelled")
    jobs.stop("copy")


def test_an_end_that_cannot_be_noted_is_noted_later(tmp_path: Path) -> None:
    rows = FullDisk(open_database(tmp_path))
    jobs = Jobs(rows, pause_s=0.01)
    jobs.begin("copy", lambda running: None)
    name = submit(jobs, "copy", "a")
    until(lambda: state(jobs, name) == "succeeded")
    assert rows.num_ended == 2
    jobs.stop("copy")


def test_a_queue_that_is_begun_and_stopped_costs_no_thread_and_no_port(jobs: Jobs) -> None:
    before = threading.active_count()
    jobs.begin("copy", lambda running: None)
    assert threading.active_count() == before + 1
    jobs.stop("copy")
    until(lambda: threading.active_count() == before)


@pytest.mark.slow
def test_the_queue_imports_nothing_that_costs_a_server_start() -> None:
    code = "import sys, storage.jobs.jobs; print(*{name.partition('.')[0] for name in sys.modules})"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    heavy = {"torch", "transformers", "numpy", "fastapi", "openai", "alembic", "httpx", "pydantic"}
    assert set(printed.split()) & heavy == set()


WORKER = """
import os, random, sys, time
from pathlib import Path
import sqlalchemy.dialects.sqlite
from storage.database import open_database
from storage.jobs.jobs import Jobs
from storage.jobs.rows import JobRows

def main():
    random.seed()
    home = Path(sys.argv[1])
    log = os.open(home / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    say = lambda *words: os.write(log, (" ".join(map(str, words)) + "\\n").encode())

    def work(running):
        for step in range(running.job.progress.get("done", 0), 5):
            say("begin", running.job.key, step)
            running.wait(random.uniform(0.005, 0.02))
            running.progress(done=step + 1)
        say("finish", running.job.key)

    jobs = Jobs(JobRows(open_database(home)), poll_s=0.1)
    jobs.begin("work", work, limit=3)
    print("ready", flush=True)
    while sys.argv[2] == "kill" or jobs.rows.live(kind="work"):
        time.sleep(0.02)
"""


@pytest.mark.slow
def test_fifty_kills_lose_no_job_and_repeat_no_finished_step(tmp_path: Path) -> None:
    rows = JobRows(open_database(tmp_path))
    for number in range(400):
        rows.submit("work", str(number))
    rows.release("work")
    chance = random.Random(7)
    with Forks(WORKER) as forks:
        for kill in range(50):
            child = forks.start(tmp_path, "kill")
            if kill % 5 == 4:
                # Some fall into the start itself.
                time.sleep(chance.uniform(0, 0.1))
            else:
                assert child.stdout.readline() == "ready\n"
                time.sleep(chance.uniform(0, 0.3))
            child.kill()
        # Two at once end it.
        last = [forks.start(tmp_path, "drain") for _ in "ab"]
        assert [child.finish() for child in last] == [["ready"], ["ready"]]
    finished, reached = Counter[str](), Counter[str]()
    for line in (tmp_path / "log").read_text().splitlines():
        match line.split():
            case ["begin", job, step]:
                # The step before is finished when the next begins, and then it never begins again.
                assert int(step) >= reached[job]
                assert not finished[job]
                reached[job] = int(step)
            case ["finish", job]:
                finished[job] += 1
    assert len(finished) == 400
    assert rows.live(kind="work") == []
