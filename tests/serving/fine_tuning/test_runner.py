"""What happens to jobs when processes are killed, an engine or a database is away, and a server starts again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
import sqlalchemy as sa
from fakes.logs import Logged
from fakes.tuning_server import MODEL, ROW, LoadingEngine, fake_command, tuning_server, until

from serving.fine_tuning.process import Command, Stage
from serving.fine_tuning.stages import MAX_ATTEMPTS
from serving.fine_tuning.store import JOB_ROWS
from storage.database import Database, sqlite_url
from storage.errors import StorageError
from tuning.base import ResolvedModel

# Every job is two processes.
pytestmark = pytest.mark.slow


def whole(home: Path, steps: int) -> str:
    """The model that a job of these steps gives when nothing happens to it."""
    with tuning_server(home, command=fake_command(steps=steps)) as tuning:
        model: str = tuning.succeeded(seed=1).fine_tuned_model
        return model


def trainers_of(process: psutil.Process) -> list[psutil.Process]:
    running = [one for one in process.children() if one.status() != psutil.STATUS_ZOMBIE]
    return [one for one in running if "trainer.py" in " ".join(one.cmdline())]


def test_a_training_that_is_killed_goes_on_and_ends_with_the_same_model(tmp_path: Path) -> None:
    with tuning_server(tmp_path / "killed", command=fake_command(steps=6, die_at=3, deaths=1)) as tuning:
        job = tuning.succeeded(seed=1)
        assert job.fine_tuned_model == whole(tmp_path / "whole", 6)
        assert [step["step"] for step in tuning.steps(job.id)] == [1, 2, 3, 4, 5, 6]
        assert "the process was ended by SIGKILL; it is started again" in tuning.messages(job.id)


def test_a_training_that_is_killed_again_and_again_fails_with_what_to_do(tmp_path: Path) -> None:
    # Each time after a step that it has told before.
    command = fake_command(steps=6, die_at=3, deaths=99)

    def without_checkpoint(stage: Any, folder: Path, descriptor: int) -> Any:
        (folder / "step").unlink(missing_ok=True)
        return command(stage, folder, descriptor)

    with tuning_server(tmp_path, command=without_checkpoint) as tuning:
        job = tuning.failed()
        assert (job.error.code, job.error.param) == ("process_killed", None)
        assert f"was killed {MAX_ATTEMPTS} times without getting further" in job.error.message
        assert "lower batch_size" in job.error.message
        assert [step["step"] for step in tuning.steps(job.id)] == [1, 2, 3]
        assert tuning.left() == []


def killed(times: int, folder: Path) -> Command:
    """The process that checks files is killed so many times."""
    usual = fake_command()

    def command(stage: Stage, job: Path, descriptor: int) -> Sequence[str]:
        deaths = len([*folder.glob("death-*")])
        if stage == "train" or deaths == times:
            return usual(stage, job, descriptor)
        (folder / f"death-{deaths}").touch()
        return ["/bin/sh", "-c", "kill -9 $$"]

    return command


def test_a_check_that_is_killed_begins_again_and_not_for_ever(tmp_path: Path) -> None:
    for name, times in (("once", 1), ("always", 99)):
        (tmp_path / name).mkdir()
        with tuning_server(tmp_path / name, command=killed(times, tmp_path / name)) as tuning:
            if name == "once":
                job = tuning.succeeded()
                assert "the process was ended by SIGKILL; it is started again" in tuning.messages(job.id)
            else:
                error = tuning.failed().error
                assert error.code == "process_killed"
                assert error.message.endswith("it may need more memory than there is: give smaller files")


def test_a_training_with_a_fault_of_ours_fails_without_a_traceback(tmp_path: Path, logged: Logged) -> None:
    with tuning_server(tmp_path, command=fake_command(crash=True)) as tuning:
        job = tuning.failed()
        assert job.error.code == "server_error"
        assert job.error.message == "the training's process failed; the server's log has the reason"
    assert "RuntimeError: the trainer has a fault" in logged.text


def test_a_training_that_cannot_be_says_why(tmp_path: Path) -> None:
    with tuning_server(tmp_path, command=fake_command(fail="the loss became nan at step 3; lower it")) as tuning:
        job = tuning.failed()
        assert (job.error.code, job.error.message) == ("train_failed", "the loss became nan at step 3; lower it")
        assert tuning.client.fine_tuning.jobs.checkpoints.list(job.id).data == []
        assert tuning.left() == []


def test_what_a_person_should_know_of_the_files_is_a_warning(tmp_path: Path) -> None:
    with tuning_server(tmp_path, command=fake_command(notes=["2 rows bring tools"])) as tuning:
        job = tuning.succeeded()
        events = tuning.client.fine_tuning.jobs.list_events(job.id)
        assert [event.message for event in events if event.level == "warn"] == ["2 rows bring tools"]


def test_a_file_may_be_deleted_once_it_was_read_and_not_before(tmp_path: Path) -> None:
    with tuning_server(tmp_path, command=fake_command(steps=1000, pause_s=0.05)) as tuning:
        file = tuning.uploaded()
        job = tuning.created(training_file=file)
        tuning.until(job.id, "running")
        tuning.client.files.delete(file)
        paused = tuning.client.fine_tuning.jobs.pause(job.id)
        tuning.runner.store.change(paused.id, ("paused",), outcome={})  # as if it had not been read
        tuning.client.fine_tuning.jobs.resume(job.id)
        failed = tuning.until(job.id, "failed")
        assert failed.error.param == "training_file"
        assert "was deleted before it was read; upload it again" in failed.error.message


def test_an_engine_that_is_away_is_waited_for(tmp_path: Path) -> None:
    loading = LoadingEngine(is_away=True)
    with tuning_server(tmp_path, loading=loading) as tuning:
        job = tuning.created()
        until(lambda: any("waits to be served" in message for message in tuning.messages(job.id)))
        assert tuning.client.fine_tuning.jobs.retrieve(job.id).status == "running"
        loading.is_away = False
        done = tuning.until(job.id, "succeeded")
        assert done.fine_tuned_model in {model.id for model in tuning.client.models.list()}
        assert len([one for one in tuning.messages(job.id) if "waits to be served" in one]) == 1


def test_an_adapter_that_the_engine_does_not_take_fails_the_job_with_the_reason(tmp_path: Path) -> None:
    loading = LoadingEngine(refusal="vLLM refused adapter: it has no room")
    with tuning_server(tmp_path, loading=loading) as tuning:
        job = tuning.failed()
        assert job.error.code == "not_served"
        assert job.error.message.endswith("and the engine does not take it: vLLM refused adapter: it has no room")
        assert job.fine_tuned_model is None
        assert {model.id for model in tuning.client.models.list()} == {"auto", "base", "rag", "hybrid"}


def test_a_job_that_is_cancelled_in_the_last_moment_is_not_served(tmp_path: Path) -> None:
    loading = LoadingEngine(is_away=True)
    with tuning_server(tmp_path, loading=loading) as tuning:
        job = tuning.created()
        until(lambda: any("waits to be served" in message for message in tuning.messages(job.id)))
        # The row alone, as another server would just before this one looks.
        tuning.runner.store.change(job.id, ("running",), status="cancelled")
        loading.is_away = False
        until(lambda: tuning.left() == [])
        assert tuning.client.fine_tuning.jobs.retrieve(job.id).status == "cancelled"
        assert tuning.client.files.list(purpose="fine-tune-results").data == []
        until(lambda: loading.loaded == [])
        assert {model.id for model in tuning.client.models.list()} == {"auto", "base", "rag", "hybrid"}


def test_a_server_that_starts_again_serves_what_was_trained(tmp_path: Path, logged: Logged) -> None:
    with tuning_server(tmp_path) as tuning:
        kept = tuning.succeeded(suffix="kept").fine_tuned_model
        gone = tuning.succeeded(ROW, ROW, suffix="gone").fine_tuned_model
    (folder,) = (tmp_path / "adapters").glob("gone@*")
    (folder / "adapter_model.safetensors").write_bytes(b"other")
    loading = LoadingEngine()
    with tuning_server(tmp_path, loading=loading) as tuning:
        names = {model.id for model in tuning.client.models.list()}
        assert kept in names
        assert gone not in names
        assert loading.loaded == [kept.removeprefix(f"{MODEL}:")]
        # It can be trained further; its numbers are looked at before anything is.
        with pytest.raises(openai.BadRequestError, match="cannot be trained further by pissa") as refused:
            tuning.created(model=kept, extra_body={"arbiter": {"method": "pissa"}})
        assert refused.value.param == "model"
    assert "its model is not served: adapter 'gone@" in logged.text


def test_a_server_that_went_down_goes_on_with_its_jobs(tmp_path: Path) -> None:
    with tuning_server(tmp_path / "down", command=fake_command(steps=60, pause_s=0.1)) as tuning:
        training = tuning.created(seed=1).id
        until(lambda: len(tuning.steps(training)) > 2)
        waiting, paused = (tuning.created(seed=seed).id for seed in (2, 3))
        tuning.until(paused, "queued")
        tuning.client.fine_tuning.jobs.pause(paused)
    with tuning_server(tmp_path / "down", command=fake_command(steps=60)) as tuning:
        done = tuning.until(training, "succeeded")
        tuning.until(waiting, "succeeded")
        assert [step["step"] for step in tuning.steps(training)] == list(range(1, 61))
        assert "the training goes on from its last checkpoint" in tuning.messages(training)
        assert tuning.client.fine_tuning.jobs.retrieve(paused).status == "paused"
        with tuning.runner.store.database.read() as rows:
            attempts = rows.execute(sa.select(JOB_ROWS.c.attempts).where(JOB_ROWS.c.id == training)).scalar_one()
        assert attempts == 0
    assert done.fine_tuned_model == whole(tmp_path / "whole", 60)


class Leaving(Database):
    """A database that can be away."""

    is_away = False

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        if self.is_away:
            raise StorageError("the connection is lost")
        with super().read() as rows:
            yield rows

    @contextmanager
    def write_beside(self) -> Iterator[sa.Connection]:
        if self.is_away:
            raise StorageError("the connection is lost")
        with super().write_beside() as rows:
            yield rows


def test_a_training_outlives_a_database_that_is_away(tmp_path: Path) -> None:
    database = Leaving(sqlite_url(tmp_path / "arbiter.db"))
    with tuning_server(tmp_path, command=fake_command(steps=20, pause_s=0.1), database=database) as tuning:
        job = tuning.created()
        until(lambda: len(tuning.steps(job.id)) > 2)
        database.is_away = True
        time.sleep(1)
        database.is_away = False
        tuning.until(job.id, "succeeded")
        assert [step["step"] for step in tuning.steps(job.id)] == list(range(1, 21))
        assert len([one for one in tuning.messages(job.id) if one.startswith("the training begins")]) == 1
        assert not any("goes on" in one for one in tuning.messages(job.id)), "its process was left alone"


SERVER = """
import socket, sys
from pathlib import Path
import uvicorn
from fakes.tuning_server import fake_command, tuning_app

with tuning_app(Path(sys.argv[1]), command=fake_command(steps=30, pause_s=0.1)) as (app, _):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="critical")).run(sockets=[listening])
"""


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def test_a_server_that_is_killed_leaves_no_process_and_loses_no_step(tmp_path: Path) -> None:
    tests, home = Path(__file__).parents[2], tmp_path / "killed"
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(home)],
        env={**os.environ, "PYTHONPATH": f"{tests}:{tests.parent}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        until(lambda: answers(url), limit_s=60)
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            file = client.files.create(file=("train.jsonl", json.dumps(ROW).encode() + b"\n"), purpose="fine-tune")
            job = client.fine_tuning.jobs.create(model=MODEL, training_file=file.id, seed=1)
            until(lambda: len(client.fine_tuning.jobs.list_events(job.id).data) > 8, limit_s=60)
        trainers = trainers_of(psutil.Process(server.pid))
        assert len(trainers) == 1
    finally:
        server.kill()
        server.communicate()
    gone, alive = psutil.wait_procs(trainers, timeout=10)
    assert (len(gone), alive) == (1, [])
    with tuning_server(home, command=fake_command(steps=30)) as tuning:
        done = tuning.until(job.id, "succeeded")
        assert [step["step"] for step in tuning.steps(job.id)] == list(range(1, 31))
    # The rows are written a little differently.
    with tuning_server(tmp_path / "whole", command=fake_command(steps=30)) as tuning:
        file = tuning.client.files.create(file=("train.jsonl", json.dumps(ROW).encode() + b"\n"), purpose="fine-tune")
        assert tuning.succeeded(training_file=file.id, seed=1).fine_tuned_model == done.fine_tuned_model


def test_a_server_of_another_base_model_leaves_jobs_alone(tmp_path: Path) -> None:
    with tuning_server(tmp_path, command=fake_command(steps=1000, pause_s=0.05)) as tuning:
        job = tuning.created()
        tuning.until(job.id, "running")
        paused = tuning.created()
        tuning.until(paused.id, "queued")
        tuning.client.fine_tuning.jobs.pause(paused.id)
    other = tmp_path / "other"
    other.mkdir()
    (other / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    with tuning_server(tmp_path, base=ResolvedModel(MODEL, "r2", str(other))) as tuning:
        jobs = tuning.client.fine_tuning.jobs
        assert tuning.succeeded(suffix="another").status == "succeeded"
        assert jobs.retrieve(job.id).status == "running"
        with pytest.raises(openai.ConflictError, match="another base model or data directory; resume it there"):
            jobs.resume(paused.id)
        assert jobs.cancel(paused.id).status == "cancelled"
        assert tuning.left() == [job.id]
    with tuning_server(tmp_path) as tuning:
        tuning.until(job.id, "succeeded")


def test_a_model_that_is_not_on_this_disk_is_not_tuned(tmp_path: Path) -> None:
    with tuning_server(tmp_path, base=ResolvedModel(MODEL, "at http://engine", "")) as tuning:
        with pytest.raises(openai.BadRequestError, match="is not on this server's disk") as refused:
            tuning.created()
        assert refused.value.param == "model"


def test_the_process_is_told_when_its_server_stops(tmp_path: Path) -> None:
    with tuning_server(tmp_path, command=fake_command(steps=1000, pause_s=0.05)) as tuning:
        job = tuning.created()
        until(lambda: len(tuning.steps(job.id)) > 1)
        trainers = trainers_of(psutil.Process())
        assert len(trainers) == 1
        os.kill(trainers[0].pid, signal.SIGSTOP)  # it could not end by itself
    assert not trainers[0].is_running()
