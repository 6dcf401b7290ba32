"""The rows behind /v1/fine_tuning/jobs: jobs, their events and checkpoints.

store = JobStore(open_database(home))
job = store.add(card, work, place=place, submit=runner.submit)
store.change(job.id, LIVE, status="cancelled", events=[Event("the job was cancelled")])

A row's `card` is what a client is shown of what was asked, `outcome` what is shown of what came of it; `work` is what
the training is told.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import sqlalchemy as sa

from serving.errors import NotFound, Overloaded
from serving.http.pages import Page, PageOfRows, select_page
from storage.database import Database, insert_missing
from storage.tables import NUMBER, TABLES

Status = Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]
STATUSES: tuple[Status, ...] = get_args(Status)
# Those that are worked on, and those that may still be.
LIVE: tuple[Status, ...] = ("validating_files", "queued", "running")
OPEN: tuple[Status, ...] = (*LIVE, "paused")
# Each that waits has its rows on the disk.
MAX_OPEN = 1_000

JOB_ROWS = sa.Table(
    "fine_tuning_jobs",
    TABLES,
    sa.Column("sequence", NUMBER, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("status", sa.Text, nullable=False, index=True),
    # The data directory that its files lie in, and its base model: servers of others leave it alone.
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("finished_at", sa.BigInteger),
    sa.Column("estimated_finish", sa.BigInteger),
    sa.Column("error", sa.JSON(none_as_null=True)),
    # The last step that was told, and how often its process was started since.
    sa.Column("step", sa.Integer, nullable=False, default=0),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("card", sa.JSON, nullable=False),
    sa.Column("work", sa.JSON, nullable=False),
    sa.Column("outcome", sa.JSON, nullable=False, default=dict),
)
EVENT_ROWS = sa.Table(
    "fine_tuning_events",
    TABLES,
    sa.Column("sequence", NUMBER, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("job_id", sa.ForeignKey(JOB_ROWS.c.id, ondelete="CASCADE"), nullable=False),
    # Counts a job's events from 1.
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("level", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("data", sa.JSON(none_as_null=True)),
    sa.UniqueConstraint("job_id", "number"),
)
CHECKPOINT_ROWS = sa.Table(
    "fine_tuning_checkpoints",
    TABLES,
    sa.Column("sequence", NUMBER, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("job_id", sa.ForeignKey(JOB_ROWS.c.id, ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("step_number", sa.Integer, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("metrics", sa.JSON, nullable=False),
)

# A row of JOB_ROWS.
Job = sa.Row[Any]
# What becomes of a model that a job made: one that is being deleted has its adapter still on the disk, perhaps.
KEPT, DELETING, DELETED = "kept", "deleting", "deleted"
Submit = Callable[[str, sa.Connection], object]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job; one with `metrics` tells of a step."""

    message: str
    level: Literal["info", "warn", "error"] = "info"
    metrics: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A state of a training after a step: one that it goes on from after a stop, or the model that came of it."""

    step: int
    model: str
    metrics: Mapping[str, Any]
    is_model: bool = False


class JobStore:
    """A change is one transaction. Methods that name a job raise NotFound for an unknown id, but for `find` and
    `change`.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time, max_open: int = MAX_OPEN) -> None:
        self.database = database
        self.clock = clock
        self._max_open = max_open

    def add(self, card: Mapping[str, Any], work: Mapping[str, Any], *, place: str, submit: Submit) -> Job:
        """A new job, whose files are to be checked; `submit` adds that to the same transaction.

        Raises Overloaded where too many wait already.
        """
        job_id = f"ftjob-{uuid.uuid4().hex}"
        asked = {"id": job_id, "status": "validating_files", "place": place, "created_at": int(self.clock())}
        with self.database.write() as rows:
            count = sa.select(sa.func.count()).select_from(JOB_ROWS).where(JOB_ROWS.c.status.in_(OPEN))
            if rows.execute(count).scalar_one() >= self._max_open:
                raise Overloaded(f"{self._max_open} fine-tuning jobs wait already; wait for one, or cancel one")
            job = rows.execute(JOB_ROWS.insert().values(**asked, card=card, work=work).returning(JOB_ROWS)).one()
            self._note(rows, job_id, [Event(f"job {job_id} was created; its files are checked")])
            submit(job_id, rows)
        return job

    def get(self, job_id: str) -> Job:
        if (job := self.find(job_id, STATUSES)) is None:
            raise NotFound(f"no fine-tuning job {job_id!r}", code="fine_tuning_job_not_found")
        return job

    def find(self, job_id: str, of: tuple[Status, ...]) -> Job | None:
        """The job, None if its status is none of these or there is no such job."""
        with self.database.read() as rows:
            return rows.execute(sa.select(JOB_ROWS).where(*_among(job_id, of))).one_or_none()

    def page(self, page: Page, *, metadata: Mapping[str, str] | None = None) -> PageOfRows:
        """A page of jobs, those with all of these labels; of no label at all where `metadata` is empty."""
        if metadata is None:
            return select_page(self.database, JOB_ROWS, page)
        with self.database.read() as rows:
            # Few rows, and a label may be one that a database cannot be asked for.
            cards = rows.execute(sa.select(JOB_ROWS.c.id, JOB_ROWS.c.card)).all()
        labels = {row.id: row.card.get("metadata") or {} for row in cards}
        fit = [one for one, held in labels.items() if (metadata.items() <= held.items() if metadata else not held)]
        return select_page(self.database, JOB_ROWS, page, JOB_ROWS.c.id.in_(fit))

    def events(self, job_id: str, page: Page) -> PageOfRows:
        """A page of a job's events."""
        self.get(job_id)
        return select_page(self.database, EVENT_ROWS, page, EVENT_ROWS.c.job_id == job_id)

    def checkpoints(self, job_id: str, page: Page) -> PageOfRows:
        """A page of a job's checkpoints."""
        self.get(job_id)
        return select_page(self.database, CHECKPOINT_ROWS, page, CHECKPOINT_ROWS.c.job_id == job_id)

    def resumable(self, job_id: str) -> Sequence[Checkpoint]:
        """What a job that has not ended goes on from, oldest first."""
        query = sa.select(CHECKPOINT_ROWS).where(CHECKPOINT_ROWS.c.job_id == job_id)
        with self.database.read() as rows:
            found = rows.execute(query.order_by(CHECKPOINT_ROWS.c.step_number)).all()
        return [Checkpoint(row.step_number, row.model, row.metrics) for row in found]

    def among(self, place: str, of: tuple[Status, ...]) -> Sequence[Job]:
        """The jobs of a place whose status is one of these, oldest first."""
        query = sa.select(JOB_ROWS).where(JOB_ROWS.c.place == place, JOB_ROWS.c.status.in_(of))
        with self.database.read() as rows:
            return rows.execute(query.order_by(JOB_ROWS.c.sequence)).all()

    def made(self, place: str, fate: str = KEPT) -> Sequence[Job]:
        """The jobs of a place that made a model which is kept, or has another fate; oldest first."""
        return [job for job in self.among(place, ("succeeded",)) if fate_of(job) == fate]

    def set_fate(self, place: str, adapter: str, of: str, fate: str, events: Sequence[Event] = ()) -> None:
        """Give another fate to the model of an adapter, of all jobs at once that made it and have it with the one."""
        made = (JOB_ROWS.c.place == place, JOB_ROWS.c.status == "succeeded")
        with self.database.write() as rows:
            for job in rows.execute(sa.select(JOB_ROWS).where(*made)).all():
                if job.outcome["adapter"] != adapter or fate_of(job) != of:
                    continue
                outcome = {**job.outcome, "fate": fate}
                rows.execute(JOB_ROWS.update().where(JOB_ROWS.c.id == job.id).values(outcome=outcome))
                self._keep(rows, job.id, [])
                self._note(rows, job.id, events)

    def change(
        self,
        job_id: str,
        of: tuple[Status, ...],
        *,
        events: Sequence[Event] = (),
        checkpoints: Sequence[Checkpoint] | None = None,
        submit: Submit | None = None,
        **values: Any,
    ) -> bool:
        """Change a job whose status is one of these, note what happened, and add its further work by `submit`.

        `checkpoints` are all that there are from now on. False, and nothing changed, if the status is another or the
        job is gone.
        """
        now, status = int(self.clock()), values.get("status")
        if status is not None and status not in OPEN:
            values["finished_at"] = now
        if status is not None and status != "running":
            values["estimated_finish"] = None
        with self.database.write() as rows:
            same = {"status": JOB_ROWS.c.status}
            changed = rows.execute(JOB_ROWS.update().where(*_among(job_id, of)).values({**same, **values}))
            if changed.rowcount == 0:
                return False
            self._note(rows, job_id, events)
            if checkpoints is not None:
                self._keep(rows, job_id, checkpoints)
            if submit is not None:
                submit(job_id, rows)
        return True

    def _note(self, rows: sa.Connection, job_id: str, events: Sequence[Event]) -> None:
        if not events:
            return
        last = sa.select(sa.func.coalesce(sa.func.max(EVENT_ROWS.c.number), 0)).where(EVENT_ROWS.c.job_id == job_id)
        first, now = rows.execute(last).scalar_one() + 1, int(self.clock())
        noted = [
            {
                "id": f"ftevent-{job_id.removeprefix('ftjob-')}-{number:08}",
                "job_id": job_id,
                "number": number,
                "created_at": now,
                "level": event.level,
                "type": "message" if event.metrics is None else "metrics",
                "message": event.message,
                "data": None if event.metrics is None else dict(event.metrics),
            }
            for number, event in enumerate(events, start=first)
        ]
        rows.execute(EVENT_ROWS.insert(), noted)

    def _keep(self, rows: sa.Connection, job_id: str, checkpoints: Sequence[Checkpoint]) -> None:
        name = f"ftckpt-{job_id.removeprefix('ftjob-')}"
        kept = {f"{name}-{'model' if one.is_model else f'{one.step:08}'}": one for one in checkpoints}
        gone = (CHECKPOINT_ROWS.c.job_id == job_id, CHECKPOINT_ROWS.c.id.not_in(kept))
        rows.execute(CHECKPOINT_ROWS.delete().where(*gone))
        now = int(self.clock())
        new = [
            {
                "id": checkpoint_id,
                "job_id": job_id,
                "created_at": now,
                "step_number": one.step,
                "model": one.model,
                "metrics": dict(one.metrics),
            }
            for checkpoint_id, one in kept.items()
        ]
        insert_missing(rows, CHECKPOINT_ROWS, new)


def fate_of(job: Job) -> str:
    """What became of the model that a job made."""
    return str(job.outcome.get("fate", KEPT))


def _among(job_id: str, of: tuple[Status, ...]) -> tuple[sa.ColumnElement[bool], ...]:
    return (JOB_ROWS.c.id == job_id, JOB_ROWS.c.status.in_(of))
