"""The rows of jobs: what takes longer than a request, in which state it is, and which process works on it.

rows = JobRows(database)
rows.submit("index", "vs_1")
job = rows.claim("index")       it runs now, and is this process's until `end` or `release`
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import sqlalchemy as sa

from storage.database import Database
from storage.tables import NUMBER, TABLES, read_row

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
LIVE: tuple[JobState, ...] = ("queued", "running")

# A process on another machine counts as alive for this long after it was last heard of.
LEASE_S = 60.0
# Ended jobs are kept for this long, for whoever asks how they ended.
KEPT_S = 30 * 24 * 3600.0

JOBS = sa.Table(
    "jobs",
    TABLES,
    sa.Column("sequence", NUMBER, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, index=True),
    # The process that works on it, or will; none after its server has stopped.
    sa.Column("owner", sa.Text),
    sa.Column("seen_at", sa.Double, nullable=False),
    # It was submitted again while it ran, and runs again when it ends.
    sa.Column("is_again", sa.Boolean, nullable=False, default=False),
    sa.Column("is_cancelling", sa.Boolean, nullable=False, default=False),
    sa.Column("progress", sa.JSON, nullable=False, default=dict),
    sa.Column("error", sa.Text),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("started_at", sa.Double),
    sa.Column("ended_at", sa.Double),
)
EVENTS = sa.Table(
    "job_events",
    TABLES,
    sa.Column("sequence", NUMBER, primary_key=True),
    sa.Column("job_id", sa.ForeignKey(JOBS.c.id, ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("data", sa.JSON, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Job:
    """A job as its row says. `progress` is what its work last said of itself; it outlives the process that said it."""

    id: str
    kind: str
    key: str
    state: JobState
    owner: str | None
    seen_at: float
    is_cancelling: bool
    progress: Mapping[str, Any]
    error: str | None
    started_at: float | None


def process_name(pid: int) -> str:
    """A process of this machine by its id and start, as ids come back. Raises psutil.NoSuchProcess."""
    import psutil

    return f"{platform.node()}:{pid}:{psutil.Process(pid).create_time():.2f}"


def is_here(owner: str) -> bool:
    """Whether the process that `process_name` named is, or was, one of this machine."""
    return owner.startswith(f"{platform.node()}:")


def is_running(owner: str) -> bool:
    """Whether the process that `process_name` named still lives; of another machine's nobody knows."""
    import psutil

    try:
        return process_name(int(owner.split(":")[1])) == owner
    except (psutil.Error, ValueError, IndexError):
        return False


def job_id(kind: str, key: str) -> str:
    """The id of the one job of this kind for this key."""
    return f"{kind}/{key}"


@dataclass(eq=False)
class JobRows:
    """Every method is one transaction. A live job has one owner, and only that one moves it on.

    A job stays with the process that took it in for as long as that one lives; then `adopt` may have it. `owner` names
    this process; `is_alive` says of a process of this machine whether it lives.
    """

    database: Database
    owner: str = field(default_factory=lambda: process_name(os.getpid()))
    is_alive: Callable[[str], bool] = is_running
    clock: Callable[[], float] = time.time

    def submit(self, kind: str, key: str, *, rows: sa.Connection | None = None) -> str:
        """The job of this kind for this key waits, as a part of the transaction `rows` if one is given.

        One that waits already stays as it is, one that runs will run once more, and one whose owner is gone becomes
        this process's.
        """
        name, now = job_id(kind, key), self.clock()
        with self.database.write() if rows is None else nullcontext(rows) as rows:
            present = self._find(rows, name)
            if present is None or present.state not in LIVE:
                # What ended goes with its events.
                rows.execute(JOBS.delete().where(JOBS.c.id == name))
                waiting = {"state": "queued", "owner": self.owner, "seen_at": now, "created_at": now}
                rows.execute(JOBS.insert().values(id=name, kind=kind, key=key, **waiting))
                self._note(rows, name, "queued")
            elif not self.has_owner(present):
                self._take(rows, present)
            elif present.state == "running":
                rows.execute(JOBS.update().where(JOBS.c.id == name).values(is_again=True))
        return name

    def get(self, name: str) -> Job | None:
        """The job with this id, None if there is none."""
        with self.database.read() as rows:
            return self._find(rows, name)

    def live(self, **of: str) -> list[Job]:
        """The jobs `of` a kind or a key that wait or run, oldest first."""
        where = (JOBS.c[name] == value for name, value in of.items())
        query = sa.select(JOBS).where(JOBS.c.state.in_(LIVE), *where).order_by(JOBS.c.created_at)
        with self.database.read() as rows:
            return [read_row(Job, row) for row in rows.execute(query)]

    def begin_anew(self, kind: str, keys: sa.Select[str]) -> list[str]:
        """The jobs of a kind for those of the keys that have no live one wait from now on; returns them."""
        live = sa.select(JOBS.c.key).where(JOBS.c.kind == kind, JOBS.c.state.in_(LIVE))
        left = keys.where(keys.selected_columns[0].not_in(live)).distinct()
        with self.database.read() as rows:
            found = list(rows.execute(left).scalars())
        return [self.submit(kind, key) for key in found]

    def has_owner(self, job: Job) -> bool:
        """Whether a process that lives works on it, or will."""
        if job.owner is None or job.owner == self.owner:
            return job.owner is not None
        if is_here(job.owner):
            return self.is_alive(job.owner)
        return self.clock() - job.seen_at < LEASE_S

    def claim(self, kind: str) -> Job | None:
        """The job of a kind that has waited longest of this process's own; it runs from now on."""
        where = (JOBS.c.kind == kind, JOBS.c.state == "queued", JOBS.c.owner == self.owner)
        query = sa.select(JOBS.c.id).where(*where).order_by(JOBS.c.created_at, JOBS.c.sequence).limit(1)
        with self.database.read() as rows:
            # Most looks find nothing, and those need not wait for a writer.
            if rows.execute(query).first() is None:
                return None
        with self.database.write() as rows:
            name = rows.execute(query).scalar_one_or_none()
            if name is None:
                return None
            now = self.clock()
            rows.execute(JOBS.update().where(JOBS.c.id == name).values(state="running", started_at=now, seen_at=now))
            self._note(rows, name, "started", process=self.owner)
            return self._find(rows, name)

    def adopt(self, kind: str) -> list[Job]:
        """The live jobs of a kind that have no owner become this process's; they wait, with the progress they had."""
        free = [job for job in self.live(kind=kind) if not self.has_owner(job)]
        if not free:
            return []
        with self.database.write() as rows:
            taken = [job.id for job in free if self._take(rows, job)]
            return [job for name in taken if (job := self._find(rows, name)) is not None]

    def progress(self, name: str, values: Mapping[str, Any]) -> bool:
        """Note what the work says of itself; False if the job is not live, or not this process's."""
        mine = (JOBS.c.id == name, JOBS.c.owner == self.owner, JOBS.c.state.in_(LIVE))
        with self.database.write() as rows:
            return rows.execute(JOBS.update().where(*mine).values(progress=dict(values))).rowcount == 1

    def cancel(self, name: str) -> bool:
        """End a job that waits, or ask the owner of one that runs to; False if it has ended or there is none."""
        with self.database.write() as rows:
            job = self._find(rows, name)
            if job is None or job.state not in LIVE:
                return False
            if job.state == "running" and self.has_owner(job):
                rows.execute(JOBS.update().where(JOBS.c.id == name).values(is_cancelling=True, is_again=False))
            else:
                self._end(rows, name, "cancelled", None)
        return True

    def end(self, name: str, state: JobState, error: str | None = None) -> None:
        """Note how this process's run of the job ended; one that was submitted again meanwhile waits again."""
        with self.database.write() as rows:
            mine = (JOBS.c.id == name, JOBS.c.owner == self.owner, JOBS.c.state == "running")
            row = rows.execute(sa.select(JOBS.c.is_again).where(*mine)).one_or_none()
            if row is not None and row.is_again:
                rows.execute(EVENTS.delete().where(EVENTS.c.job_id == name))
                again = {"state": "queued", "is_again": False, "is_cancelling": False, "progress": {}}
                again |= {"created_at": self.clock()}
                rows.execute(JOBS.update().where(JOBS.c.id == name).values(again))
                self._note(rows, name, "queued")
            elif row is not None:
                self._end(rows, name, state, error)

    def release(self, kind: str, *, but: Collection[str] = ()) -> None:
        """Gives this process's live jobs of a kind up for the next one, but for some that it cannot let go of."""
        mine = (JOBS.c.kind == kind, JOBS.c.owner == self.owner, JOBS.c.state.in_(LIVE), JOBS.c.id.not_in(but))
        with self.database.write() as rows:
            rows.execute(JOBS.update().where(*mine).values(owner=None, state="queued"))

    def beat(self) -> None:
        """Say to other machines that this process lives, and forget what ended long ago."""
        now = self.clock()
        mine = (JOBS.c.owner == self.owner, JOBS.c.state.in_(LIVE))
        old = JOBS.c.ended_at < now - KEPT_S
        with self.database.read() as rows:
            if rows.execute(sa.select(JOBS.c.id).where(sa.or_(sa.and_(*mine), old)).limit(1)).first() is None:
                return
        with self.database.write() as rows:
            rows.execute(JOBS.update().where(*mine).values(seen_at=now))
            rows.execute(JOBS.delete().where(old))

    def _find(self, rows: sa.Connection, name: str) -> Job | None:
        row = rows.execute(sa.select(JOBS).where(JOBS.c.id == name)).one_or_none()
        return read_row(Job, row) if row is not None else None

    def _take(self, rows: sa.Connection, job: Job) -> bool:
        """Makes a job this process's, unless another one was quicker."""
        where = (JOBS.c.id == job.id, JOBS.c.state.in_(LIVE), JOBS.c.owner.is_not_distinct_from(job.owner))
        taken = rows.execute(JOBS.update().where(*where).values(owner=self.owner, state="queued", seen_at=self.clock()))
        if taken.rowcount == 1 and job.is_cancelling:
            self._end(rows, job.id, "cancelled", None)
        elif taken.rowcount == 1 and job.state == "running":
            self._note(rows, job.id, "taken over", process=self.owner, before=job.owner)
        return taken.rowcount == 1 and not job.is_cancelling

    def _end(self, rows: sa.Connection, name: str, state: JobState, error: str | None) -> None:
        ended = {"state": state, "error": error, "ended_at": self.clock(), "is_cancelling": False, "owner": None}
        rows.execute(JOBS.update().where(JOBS.c.id == name).values(ended))
        self._note(rows, name, state, **({"error": error} if error else {}))

    def _note(self, rows: sa.Connection, name: str, message: str, **data: Any) -> None:
        rows.execute(EVENTS.insert().values(job_id=name, created_at=self.clock(), message=message, data=data))
