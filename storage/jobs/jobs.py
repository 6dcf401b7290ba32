"""The one queue of everything that takes longer than a request: durable, resumed after a crash, one owner at a time.

jobs = Jobs(JobRows(database))
jobs.begin("index", index_store, limit=1)   from now on this process works on these jobs, a thread each
jobs.rows.submit("index", "vs_1")           its state, events and progress are rows
jobs.wake()                                 or what waits is found at the next look
jobs.stop("index")                          what is unfinished is the next server's
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from storage.errors import ArbiterError, StorageError
from storage.jobs.rows import Job, JobRows, JobState

# How often work that runs asks the rows whether it was cancelled by another process.
LOOK_S = 0.2

_log = logging.getLogger("arbiter.jobs")


class JobStopped(Exception):
    """The work is to end now: its job was cancelled, or this process stops working on it."""


class RunningJob:
    """A job that this process works on, as its work sees it. Every method raises JobStopped once it is to end.

    `check` and `wait` do so also while the database is away, the others raise StorageError then.
    """

    def __init__(self, job: Job, rows: JobRows) -> None:
        self.job = job
        self.is_cancelled = False
        self._rows = rows
        self._stop = threading.Event()
        self._looked_at = time.monotonic()

    def check(self) -> None:
        """Returns at once, and asks the rows only a few times a second: it may be called often."""
        if not self._stop.is_set() and time.monotonic() - self._looked_at >= LOOK_S:
            self._looked_at = time.monotonic()
            # Rows that are away say nothing: the work goes on, and whose the job is shows when they are back.
            with contextlib.suppress(StorageError):
                job = self._rows.get(self.job.id)
                if job is None or job.owner != self._rows.owner or job.state != "running":
                    # Another process has taken it for dead.
                    self._stop.set()
                elif job.is_cancelling:
                    self.cancel()
        if self._stop.is_set():
            raise JobStopped(self.job.id)

    def wait(self, seconds: float) -> None:
        """Sleeps, and wakes when the work is to end."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._stop.wait(min(left, LOOK_S))
            self.check()

    def progress(self, **values: Any) -> None:
        """Note what the work says of itself. It is on the disk when this returns."""
        if self._stop.is_set() or not self._rows.progress(self.job.id, values):
            raise JobStopped(self.job.id)

    def cancel(self) -> None:
        """From now on the work is to end, and the job is cancelled when it does."""
        self.is_cancelled = True
        self._stop.set()

    def stop(self) -> None:
        """From now on the work is to end; the job stays live."""
        self._stop.set()


# What works on a job. It may begin again after a crash: what it has done it must find in its own rows.
Work = Callable[[RunningJob], None]


@dataclass(slots=True)
class _Kind:
    work: Work
    limit: int
    takes_over: bool
    closing: threading.Event = field(default_factory=threading.Event)
    running: dict[threading.Thread, RunningJob] = field(default_factory=dict)


class Jobs:
    """Threads over the rows. A job that this process takes in is worked on here, and by another one only afterwards."""

    def __init__(self, rows: JobRows, *, poll_s: float = 20.0, pause_s: float = 1.0) -> None:
        """`poll_s` is how often jobs of processes that ended are looked for, `pause_s` how soon after trouble with the
        database it is tried again.
        """
        self.rows = rows
        self._poll_s = poll_s
        self._pause_s = pause_s
        self._kinds: dict[str, _Kind] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def cancel(self, name: str) -> bool:
        """See JobRows.cancel; work of this process is told at once."""
        is_live = self.rows.cancel(name)
        with self._lock:
            mine = [job for kind in self._kinds.values() for job in kind.running.values() if job.job.id == name]
        for job in mine:
            job.cancel()
        return is_live

    def wake(self) -> None:
        """Look for jobs now."""
        self._wake.set()

    def begin(self, kind: str, work: Work, *, limit: int = 1, takes_over: bool = True) -> None:
        """Work on jobs of a kind, at most `limit` at once, first on what a process left that has ended.

        With `takes_over` false, what another process leaves later is not for this one, but for the next that begins.
        """
        with self._lock:
            self._kinds[kind] = _Kind(work, limit, takes_over)
        self.rows.adopt(kind)
        self._wake.set()
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
                self._thread.start()

    def stop(self, kind: str, *, timeout_s: float = 10.0) -> None:
        """Stop working on a kind. Work that does not end in time stays this process's until that ends."""
        with self._lock:
            opened = self._kinds.get(kind)
            if opened is None:
                return
            opened.closing.set()
            running = dict(opened.running)
        for job in running.values():
            job.stop()
        deadline = time.monotonic() + timeout_s
        for thread in running:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            del self._kinds[kind]
        self.rows.release(kind, but=[job.job.id for thread, job in running.items() if thread.is_alive()])
        self._wake.set()

    def close(self) -> None:
        """Stops all work."""
        for kind in list(self._kinds):
            self.stop(kind)

    def _run(self) -> None:
        looked_at = time.monotonic()
        while True:
            self._wake.clear()
            with self._lock:
                if not self._kinds:
                    self._thread = None
                    return
                kinds = dict(self._kinds)
            wait_s = self._poll_s
            try:
                if time.monotonic() - looked_at >= self._poll_s:
                    looked_at = time.monotonic()
                    self.rows.beat()
                    for name, kind in kinds.items():
                        if kind.takes_over:
                            self.rows.adopt(name)
                for name, kind in kinds.items():
                    self._start(name, kind)
            except ArbiterError as error:
                _log.warning("jobs wait: %s", error)
                wait_s = self._pause_s
            except Exception:
                _log.exception("looking for jobs stumbled; it goes on")
                wait_s = self._pause_s
            self._wake.wait(wait_s)

    def _start(self, name: str, kind: _Kind) -> None:
        while True:
            # Under the lock, so that what `stop` gives up is not claimed again.
            with self._lock:
                if kind.closing.is_set() or len(kind.running) >= kind.limit or (job := self.rows.claim(name)) is None:
                    return
                running = RunningJob(job, self.rows)
                # A daemon: work that hangs must not keep a stopped server from ending.
                thread = threading.Thread(target=self._work, args=(kind, running), name=job.id, daemon=True)
                kind.running[thread] = running
                thread.start()

    def _work(self, kind: _Kind, running: RunningJob) -> None:
        _log.info("job=%s runs", running.job.id)
        state: JobState = "succeeded"
        error = None
        try:
            kind.work(running)
        except JobStopped:
            state = "cancelled" if running.is_cancelled else "queued"
        except ArbiterError as failed:
            _log.warning("job=%s failed: %s", running.job.id, failed)
            state, error = "failed", str(failed)
        except Exception:
            _log.exception("job=%s failed", running.job.id)
            state, error = "failed", "the server failed on this job; its log has the reason"
        # What was stopped is given up by `stop`, or is another process's already.
        if state != "queued":
            self._end(kind, running.job.id, state, error)
        with self._lock:
            kind.running.pop(threading.current_thread(), None)
        self._wake.set()

    def _end(self, kind: _Kind, name: str, state: JobState, error: str | None) -> None:
        while True:
            try:
                self.rows.end(name, state, error)
            except ArbiterError as trouble:
                _log.warning("job=%s %s, which cannot be noted yet: %s", name, state, trouble)
                if kind.closing.wait(self._pause_s):
                    return
            else:
                _log.info("job=%s %s", name, state)
                return
