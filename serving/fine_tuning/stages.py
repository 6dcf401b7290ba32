"""The two stages of a job, each in a process of its own: its files are checked, then its adapter is trained and served.

Stages(store, files, models, ...).train(running, job)
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from router.errors import EngineUnavailable
from serving.errors import ServingError
from serving.fine_tuning.checking import named_by_kind
from serving.fine_tuning.models import TunedModels
from serving.fine_tuning.process import ENDED, Command, Message, Stage, TrainingProcess, start_process
from serving.fine_tuning.progress import Progress
from serving.fine_tuning.results import results_of
from serving.fine_tuning.store import LIVE, Checkpoint, Event, Job, JobStore, Submit
from serving.fine_tuning.task import Task, file_path, read_steps
from serving.vector_stores.files import FileStore
from serving.vector_stores.uploads import RESULTS
from storage.errors import StorageError
from storage.jobs.jobs import JobStopped, RunningJob
from tuning.base import ResolvedModel
from tuning.export.adapters import Adapter, load_adapter

# A process that is killed so often without a further step is not started again.
MAX_ATTEMPTS = 5
_LESS_MEMORY: dict[Stage, str] = {
    "check": "give smaller files",
    "train": "lower batch_size or arbiter.max_length",
}
_LAST_WORDS = ("checked", "trained", "failed")
_HEAR_S = 0.1
# Steps share a transaction.
_NOTE_S = 0.5

_log = logging.getLogger("arbiter.fine_tuning")


class Broken(Exception):
    """The job has failed; `code` and `param` as in OpenAI's error."""

    def __init__(self, message: str, *, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.param = code, param


@dataclass(frozen=True, eq=False)
class Stages:
    """Both stages may begin again after a crash: what is done is found in the rows and in the job's folder.

    They raise Broken where the job has failed, JobStopped where it is to end, StorageError where a database is away.
    """

    store: JobStore
    files: FileStore
    models: TunedModels
    _: KW_ONLY
    base: ResolvedModel
    adapters: Path
    folder_of: Callable[[str], Path]
    command: Command
    pause_s: float

    def check(self, running: RunningJob, job: Job, *, submit: Submit) -> None:
        """Have its files read; `submit` adds the training to the transaction that says so."""
        folder = self.folder_of(job.id)
        for part, file in job.work["files"].items():
            self._link(part, file, folder)
        self._task(job).write(folder)
        found = self._run("check", running, job, lambda _: None)
        recipe, num_rows, num_looked_at = found["recipe"], found["num_rows"], found["num_validation_rows"]
        for part in job.work["files"]:
            shutil.rmtree(folder / part, ignore_errors=True)
        epochs = recipe["epochs"]
        hyper = {
            "n_epochs": int(epochs) if epochs == int(epochs) else epochs,
            "batch_size": recipe["batch_size"],
            "learning_rate_multiplier": job.work["rate_factor"] or 1.0,
        }
        if "beta" in job.card["hyperparameters"]:
            hyper["beta"] = recipe["objective"]["beta"]
        said = f"{num_rows} rows to learn, {num_looked_at} to look at the training with; the job waits for its turn"
        events = [*(Event(note, level="warn") for note in found["notes"]), Event(said)]
        self.store.change(
            job.id,
            ("validating_files",),
            status="queued",
            attempts=0,
            work={**job.work, "recipe": recipe},
            outcome={"num_rows": num_rows, "num_validation_rows": num_looked_at, "hyperparameters": hyper},
            events=events,
            submit=submit,
        )

    def train(self, running: RunningJob, job: Job) -> None:
        """Have its adapter trained, serve it, and say so."""
        is_first = job.status == "queued" and not job.step
        said = "the training begins" if is_first else "the training goes on from its last checkpoint"
        if not self.store.change(job.id, ("queued", "running"), status="running", events=[Event(said)]):
            return
        folder = self.folder_of(job.id)
        self._task(job).write(folder)
        progress = Progress(self.store, job, self.models.name_of(job.work["name"]))
        progress.note(read_steps(folder))  # what was told when nobody listened
        trained = self._run("train", running, job, progress.note)
        adapter = load_adapter(self.adapters / trained["adapter"])
        if trained["was_there"] and not read_steps(folder):
            self._note(job, Event(f"adapter {adapter.name} was there: it has the same rows and numbers"))
        self._publish(running, job, adapter)

    def _publish(self, running: RunningJob, job: Job, adapter: Adapter) -> None:
        results = results_of(adapter, read_steps(self.folder_of(job.id)))
        file_id = f"file-{job.id.removeprefix('ftjob-')}"
        is_new = self._serve(running, job, adapter)
        model = self.models.name_of(adapter.name)
        self.files.keep(file_id, f"{job.id}.csv", RESULTS, results.csv.encode())
        ended = [Event(adapter.ended, level="warn")] if adapter.ended else []
        outcome = {
            **job.outcome,
            "adapter": adapter.name,
            "fine_tuned_model": model,
            "trained_tokens": adapter.num_tokens,
            "result_files": [file_id],
        }
        if not self.store.change(
            job.id,
            ("running",),
            status="succeeded",
            outcome=outcome,
            checkpoints=[Checkpoint(results.step, model, results.metrics, is_model=True)],
            events=[*ended, Event(f"the job succeeded; its model is served as {model}")],
        ):
            # It was cancelled or paused just now.
            self.files.discard(file_id)
            if is_new:
                self.models.withdraw(adapter.name)

    def _serve(self, running: RunningJob, job: Job, adapter: Adapter) -> bool:
        """Whether nobody served it before. Waits for an engine that is away."""
        is_told = False
        while True:
            try:
                return self.models.serve(adapter, created=int(self.store.clock()))
            except EngineUnavailable as trouble:
                if not is_told:
                    waits = f"adapter {adapter.name} is trained, and waits to be served: {trouble}"
                    self._note(job, Event(waits, level="warn"))
                    is_told = True
                running.wait(self.pause_s)
            except ServingError as error:
                words = f"adapter {adapter.name} was trained, and the engine does not take it: {error}"
                raise Broken(words, code="not_served") from error

    def _run(self, stage: Stage, running: RunningJob, job: Job, note: Callable[[Sequence[Message]], None]) -> Message:
        """What a stage's process says at its end; it is started anew where it was killed. Raises Broken."""
        folder = self.folder_of(job.id)
        while True:
            attempts = self._count_attempt(stage, job)
            with start_process(stage, folder, self.command) as process:
                try:
                    last = _listen(process, running, note)
                except JobStopped:
                    if not running.is_cancelled:  # a server that stops is no fault of the training
                        with contextlib.suppress(StorageError):
                            self.store.change(job.id, LIVE, attempts=attempts - 1)
                    raise
            if last["kind"] == "failed":
                raise Broken(last["message"], code=last["code"], param=last["param"])
            if last is not ENDED:
                return last
            if not (signal := process.how_it_ended()):
                _log.error("job=%s its process failed: %s", job.id, process.last_words())
                raise Broken("the training's process failed; the server's log has the reason", code="server_error")
            _log.warning("job=%s its process was ended by %s", job.id, signal)
            self._note(job, Event(f"the process was ended by {signal}; it is started again", level="warn"))

    def _count_attempt(self, stage: Stage, job: Job) -> int:
        """How often its process was started since its last step, with this time. Raises Broken for too often."""
        now = self.store.find(job.id, LIVE)
        attempts = (now.attempts if now is not None else 0) + 1
        if attempts > MAX_ATTEMPTS:
            raise Broken(
                f"its process was killed {MAX_ATTEMPTS} times without getting further; it may need more memory than "
                f"there is: {_LESS_MEMORY[stage]}",
                code="process_killed",
            )
        self.store.change(job.id, LIVE, attempts=attempts)
        return int(attempts)

    def _note(self, job: Job, event: Event) -> None:
        self.store.change(job.id, LIVE, events=[event])

    def _task(self, job: Job) -> Task:
        work = job.work
        return Task(
            base=self.base,
            name=work["name"],
            objective=work["objective"],
            recipe=work["recipe"],
            rate_factor=work["rate_factor"],
            spreads_looks=work.get("spreads_looks", True),
            max_rank=self.models.engine.max_rank,
            files={part: named_by_kind(file["filename"]) for part, file in work["files"].items()},
            adapters=str(self.adapters),
            provenance={"job": job.id, **work["provenance"]},
        )

    def _link(self, part: Any, file: dict[str, str], folder: Path) -> None:
        """The job's file under the user's name for it; the upload may be deleted from now on."""
        path = file_path(folder, part, named_by_kind(file["filename"]))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        source = self.files.path(file["id"])
        try:
            try:
                os.link(source, path)
            except OSError:  # not every file system has links
                shutil.copyfile(source, path)
        except FileNotFoundError as error:
            words = f"file {file['id']!r} was deleted before it was read; upload it again"
            raise Broken(words, code=f"invalid_{part}", param=part) from error


def _listen(process: TrainingProcess, running: RunningJob, note: Callable[[Sequence[Message]], None]) -> Message:
    """Passes on what it says, a little at a time, and gives its last word. Raises JobStopped."""
    heard: list[Message] = []
    due = time.monotonic()
    while True:
        running.check()
        message = process.hear(_HEAR_S)
        is_last = message is ENDED or (message is not None and message["kind"] in _LAST_WORDS)
        if message is not None and not is_last:
            heard.append(message)
        if heard and (is_last or time.monotonic() >= due):
            try:
                note(heard)
                heard = []
            except StorageError as trouble:
                # The training goes on; what it says is kept until the database is back.
                if is_last:
                    raise
                _log.warning("job=%s its steps wait: %s", running.job.key, trouble)
            due = time.monotonic() + _NOTE_S
        if is_last:
            assert message is not None
            return message
