"""Fine-tuning jobs in the background: files are checked, adapters trained, each in a process of its own, and served.

runner = JobRunner(store, files, jobs, models, base=base, home=home)
await runner.open()                when a server starts: what was trained is served, what a killed one left goes on
job = runner.create(asked)
runner.cancel(job.id), runner.pause(job.id), runner.resume(job.id)
runner.deletions.delete(model)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import shutil
from collections.abc import Callable
from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from serving.errors import Conflict, Invalid, ServingError
from serving.fine_tuning.deletions import Deletions
from serving.fine_tuning.models import TunedModels
from serving.fine_tuning.process import Command, Stage, worker_command
from serving.fine_tuning.recipes import recipe_of
from serving.fine_tuning.request import AUTO, DEFAULT_NAME, CreateJob
from serving.fine_tuning.stages import Broken, Stages
from serving.fine_tuning.store import JOB_ROWS, LIVE, OPEN, Checkpoint, Event, Job, JobStore, Status, Submit
from serving.vector_stores.files import FileStore
from storage.errors import ArbiterError, StorageError
from storage.hashes import content_hash
from storage.jobs.jobs import Jobs, JobStopped, RunningJob
from storage.jobs.rows import LIVE as ON_QUEUE
from storage.jobs.rows import job_id as queue_id
from tuning.base import ResolvedModel
from tuning.errors import TuningError
from tuning.export.adapters import load_adapter
from tuning.export.admission import chat_template_hash
from tuning.training.start import find_start

# Files of several jobs are checked at once, and beside a training; trainings share a machine badly.
_LIMITS: dict[Stage, int] = {"check": 2, "train": 1}
_OUR_FAULT = "the server failed on this job; its log has the reason"

_log = logging.getLogger("arbiter.fine_tuning")


@dataclass(eq=False)
class JobRunner:
    """Jobs of one data directory and base model. A training that is stopped, by whatever, goes on from its last
    checkpoint and ends with the same adapter; of a job that was cancelled nothing is served.

    `command` starts a process; `pause_s` is how soon what was in trouble is tried again.
    """

    store: JobStore
    files: FileStore
    jobs: Jobs
    models: TunedModels
    _: KW_ONLY
    base: ResolvedModel
    home: Path
    command: Command = worker_command
    pause_s: float = 1.0

    def __post_init__(self) -> None:
        self._place = f"{self.files.home}:{content_hash(self.base.label)[:8]}"
        self.deletions = Deletions(self.store, self.models, place=self._place, adapters=self.home / "adapters")
        self._stages = Stages(
            self.store,
            self.files,
            self.models,
            base=self.base,
            adapters=self.home / "adapters",
            folder_of=self._folder,
            command=self.command,
            pause_s=self.pause_s,
        )

    async def open(self) -> None:
        """Begin: serve what was trained, and go on with what an earlier server left."""
        self.models.open()
        await asyncio.to_thread(self._open)

    async def close(self) -> None:
        """Stop working; live jobs go on when a server starts again."""
        for stage in _LIMITS:
            await asyncio.to_thread(self.jobs.stop, _kind(stage, self._place))

    def create(self, asked: CreateJob) -> Job:
        """A new job, whose files are checked from now on. Raises Refused for what cannot be honoured."""
        continued = self.models.adapter_of(asked.model)
        if not self.base.path:
            words = f"{asked.model!r:.200} is not on this server's disk, and cannot be tuned here"
            raise Invalid(f"model: {words}; serve a config with an adapter", param="model")
        parts = {"training_file": asked.training_file, "validation_file": asked.validation_file}
        files = {part: self._file(part, file_id) for part, file_id in parts.items() if file_id is not None}
        seed = asked.seed if asked.seed is not None else secrets.randbelow(2**31)
        engine, hyper = self.models.engine, asked.numbers
        recipe = recipe_of(asked, seed=seed, continue_from=continued, forms=engine.forms, max_rank=engine.max_rank)
        try:
            find_start(recipe, self.base, self.home / "adapters", chat_template_hash(self.base.path))
        except TuningError as error:
            raise Invalid(f"model: {str(error).removeprefix('continue_from ')}", param="model") from error
        card = {
            **parts,
            "model": asked.model,
            "seed": seed,
            "method": asked.objective,
            "hyperparameters": {name: AUTO if value is None else value for name, value in hyper},
            "metadata": asked.metadata,
        }
        work = {
            "name": asked.suffix or DEFAULT_NAME,
            "objective": asked.objective,
            "recipe": asdict(recipe),
            "rate_factor": hyper.learning_rate_multiplier,
            "spreads_looks": "look_every" not in (asked.arbiter or {}),
            "files": {part: {"id": file.id, "filename": file.filename} for part, file in files.items()},
            "provenance": {part: {"id": file.id, "sha256": file.sha256} for part, file in files.items()},
        }
        job = self.store.add(card, work, place=self._place, submit=self._submit("check"))
        self.jobs.wake()
        return job

    def cancel(self, job_id: str) -> Job:
        """End a job for good; what it had is deleted. Raises NotFound, and Conflict for one that has ended."""
        return self._halt(job_id, OPEN, "cancelled", "there is nothing to cancel")

    def pause(self, job_id: str) -> Job:
        """End its process; its last checkpoint stays. Raises NotFound, and Conflict where nothing is worked on."""
        return self._halt(job_id, LIVE, "paused", "only a job that is worked on can be paused")

    def resume(self, job_id: str) -> Job:
        """Go on with a job that was paused. Raises NotFound, and Conflict for one that was not."""
        job = self.store.get(job_id)
        if job.status == "paused" and job.place != self._place:
            raise Conflict(f"job {job_id!r} is of a server with another base model or data directory; resume it there")
        is_checked = "num_rows" in job.outcome
        if not self.store.change(
            job_id,
            ("paused",),
            status="queued" if is_checked else "validating_files",
            events=[Event("the job was resumed")],
            submit=self._submit("train" if is_checked else "check"),
        ):
            raise Conflict(f"job {job_id!r} is {self.store.get(job_id).status}; only a paused one can be resumed")
        self.jobs.wake()
        return self.store.get(job_id)

    def _halt(self, job_id: str, of: tuple[Status, ...], status: Status, otherwise: str) -> Job:
        job = self.store.get(job_id)
        # The status first: what the process says after it is dropped.
        kept: list[Checkpoint] | None = None if status == "paused" else []
        noted = [Event(f"the job was {status}")]
        if self.store.change(job_id, of, status=status, events=noted, checkpoints=kept):
            names = [queue_id(_kind(stage, job.place), job_id) for stage in _LIMITS]
            for name in names:
                self.jobs.cancel(name)
            # Whoever works on it cleans up when its process has ended.
            if not any((found := self.jobs.rows.get(name)) and found.state in ON_QUEUE for name in names):
                self._clean(job_id)
        job = self.store.get(job_id)
        if job.status != status:
            raise Conflict(f"job {job_id!r} is {job.status}; {otherwise}")
        return job

    def _open(self) -> None:
        self.deletions.finish()
        for job in self.store.made(self._place):
            try:
                adapter = load_adapter(self.home / "adapters" / job.outcome["adapter"])
                self.models.serve(adapter, created=job.finished_at)
            except ArbiterError as error:
                _log.warning("job=%s its model is not served: %s", job.id, error)
        for folder in (self.home / "training").glob("ftjob-*"):
            self._clean(folder.name)
        works: dict[Stage, tuple[Callable[[RunningJob, Job], None], tuple[Status, ...]]] = {
            "check": (self._check, ("validating_files",)),
            "train": (self._train, ("queued", "running")),
        }
        for stage, (work, statuses) in works.items():
            left = sa.select(JOB_ROWS.c.id).where(JOB_ROWS.c.place == self._place, JOB_ROWS.c.status.in_(statuses))
            self.jobs.rows.begin_anew(_kind(stage, self._place), left)
            kind = _kind(stage, self._place)
            self.jobs.begin(kind, self._worked(work, statuses), limit=_LIMITS[stage])

    def _check(self, running: RunningJob, job: Job) -> None:
        self._stages.check(running, job, submit=self._submit("train"))
        self.jobs.wake()

    def _train(self, running: RunningJob, job: Job) -> None:
        self._stages.train(running, job)

    def _worked(
        self, work: Callable[[RunningJob, Job], None], statuses: tuple[Status, ...]
    ) -> Callable[[RunningJob], None]:
        """Work on a job of the queue as long as its status is one of these, whatever happens meanwhile."""

        def whole(running: RunningJob) -> None:
            key, broken = running.job.key, None
            try:
                while True:
                    try:
                        if broken is not None:
                            self._fail(key, broken)
                            break
                        if (job := self.store.find(key, statuses)) is not None:
                            work(running, job)
                        return
                    except StorageError as trouble:
                        # A database is away, which is no fault of the job.
                        _log.warning("job=%s waits: %s", key, trouble)
                        running.wait(self.pause_s)
                    except Broken as error:
                        broken = error
                    except ArbiterError as error:
                        broken = Broken(str(error), code="training_failed")
                    except JobStopped:
                        raise
                    except Exception:
                        _log.exception("job=%s failed", key)
                        broken = Broken(_OUR_FAULT, code="server_error")
            finally:
                with contextlib.suppress(StorageError):
                    self._clean(key)
            # So that the queue knows.
            raise ServingError(str(broken))

        return whole

    def _fail(self, job_id: str, broken: Broken) -> None:
        error = {"code": broken.code, "message": str(broken), "param": broken.param}
        events = [Event(str(broken), level="error")]
        self.store.change(job_id, LIVE, status="failed", error=error, events=events, checkpoints=[])

    def _file(self, part: str, file_id: str) -> Any:
        stored = self.files.get(file_id, param=part)
        if stored.purpose != "fine-tune":
            words = f"file {file_id!r} was uploaded with purpose {stored.purpose!r}, not fine-tune"
            raise Invalid(f"{part}: {words}", param=part)
        try:
            self.files.check_here([file_id])
        except Conflict as error:
            raise Conflict(str(error), param=part, code=error.code) from error
        return stored

    def _submit(self, stage: Stage) -> Submit:
        return lambda job_id, rows: self.jobs.rows.submit(_kind(stage, self._place), job_id, rows=rows)

    def _folder(self, job_id: str) -> Path:
        return self.home / "training" / job_id

    def _clean(self, job_id: str) -> None:
        """Delete what a job that has ended had on the disk."""
        if self.store.find(job_id, OPEN) is None:
            shutil.rmtree(self._folder(job_id), ignore_errors=True)


def _kind(stage: Stage, place: str) -> str:
    """On the queue; servers of another place leave it alone."""
    return f"tuning-{stage}@{place}"
