"""A server with files and fine-tuning jobs over one home, whose trainings are those of fakes/trainer.py, and the
official client that talks to it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai
from fakes import trainer
from fakes.embedders import WordEmbedder
from fakes.endpoints import listening, make_served, plain_client
from fakes.engines import ScriptedEngine
from fakes.retrieval_server import CHUNKING, read_text
from fastapi import FastAPI

from rag.home import IndexHome, OpenIndexes
from rag.search.settings import SearchSettings
from router.answering.arm import Sampling
from serving.app import create_app
from serving.engine.engine import OpenEngine
from serving.errors import ServingError
from serving.fine_tuning.api import fine_tuning_routes
from serving.fine_tuning.models import TunedModels
from serving.fine_tuning.process import Command, Stage
from serving.fine_tuning.runner import JobRunner
from serving.fine_tuning.store import JobStore
from serving.http.served import CurrentDecision
from serving.vector_stores.files_api import file_routes
from serving.vector_stores.stores import open_vector_stores
from storage.database import Database, open_database
from storage.jobs.jobs import Jobs
from storage.jobs.rows import JobRows
from tuning.base import ResolvedModel
from tuning.export.adapters import Adapter
from tuning.recipe import Form

ROW = {"messages": [{"role": "user", "content": "When?"}, {"role": "assistant", "content": "At nine."}]}
MODEL = "org/base"


@dataclass
class LoadingEngine:
    """What would be loaded; `refusal` is said of every adapter, `is_away` for as long as it is set."""

    loaded: list[str] = field(default_factory=list)
    refusal: str = ""
    is_away: bool = False
    forms: frozenset[Form] = frozenset({"lora", "merged", "beside"})
    max_rank: int = 32

    def expect(self, adapter: Adapter) -> None:
        if self.refusal:
            raise ServingError(self.refusal)
        if adapter.name not in self.loaded:
            self.loaded.append(adapter.name)

    def leave(self, adapter: Adapter) -> None:
        if self.refusal:
            raise ServingError(self.refusal)
        self.loaded.remove(adapter.name)

    def open(self) -> OpenEngine:
        return OpenEngine(
            url="http://engine.test/v1",
            base_model=MODEL,
            api_key="none",
            is_ready=lambda: not self.is_away,
            load=self.expect,
            expect=self.expect,
            keep=lambda _: None,
            unload=self.leave,
            forms=self.forms,
            max_rank=self.max_rank,
        )


def fake_command(**plan: Any) -> Command:
    """The process of fakes/trainer.py with a plan."""

    def command(stage: Stage, folder: Path, descriptor: int) -> Sequence[str]:
        script = str(Path(trainer.__file__))
        return [sys.executable, "-I", "-S", script, stage, str(folder), str(descriptor), json.dumps(plan)]

    return command


def write_base(folder: Path) -> ResolvedModel:
    """A base model of which there is only the chat template."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    return ResolvedModel(MODEL, "r1", str(folder))


@dataclass
class Tuning:
    """What listens, and two ways to talk to it."""

    home: Path
    runner: JobRunner
    loading: LoadingEngine
    answers: ScriptedEngine
    client: openai.OpenAI
    http: httpx.Client

    def uploaded(self, *rows: Any, name: str = "train.jsonl", purpose: Any = "fine-tune") -> str:
        content = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows or (ROW,))
        return self.client.files.create(file=(name, content.encode()), purpose=purpose).id

    def created(self, *rows: Any, **asked: Any) -> Any:
        given: dict[str, Any] = {"model": MODEL, **asked}
        if "training_file" not in given:
            given["training_file"] = self.uploaded(*rows)
        return self.client.fine_tuning.jobs.create(**given)

    def until(self, job_id: str, *statuses: str, limit_s: float = 60.0) -> Any:
        deadline = time.monotonic() + limit_s
        while (job := self.client.fine_tuning.jobs.retrieve(job_id)).status not in statuses:
            assert time.monotonic() < deadline, job
            assert job.status not in ("failed", "cancelled", "succeeded"), job
            time.sleep(0.01)
        return job

    def succeeded(self, *rows: Any, **asked: Any) -> Any:
        return self.until(self.created(*rows, **asked).id, "succeeded")

    def failed(self, *rows: Any, **asked: Any) -> Any:
        return self.until(self.created(*rows, **asked).id, "failed")

    def messages(self, job_id: str) -> list[str]:
        """What the events say, the first one first."""
        return [event.message for event in self.client.fine_tuning.jobs.list_events(job_id, limit=100)][::-1]

    def steps(self, job_id: str) -> list[Any]:
        """The data of the events of steps, the first one first."""
        events = self.client.fine_tuning.jobs.list_events(job_id, limit=100)
        return [event.data for event in events if event.type == "metrics"][::-1]

    def left(self) -> list[str]:
        """What jobs have on the disk."""
        return sorted(path.name for path in (self.home / "training").glob("*"))


def until(happened: Callable[[], object], *, limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def tuning_app(
    home: Path,
    *,
    command: Command,
    base: ResolvedModel | None = None,
    loading: LoadingEngine | None = None,
    answers: ScriptedEngine | None = None,
    database: Database | None = None,
    api_key: str | None = None,
    **options: Any,
) -> Iterator[tuple[FastAPI, JobRunner]]:
    """The app and what works on its jobs; `options` are JobStore's."""
    database = database or open_database(home)
    answers = answers or ScriptedEngine(lambda request: f"{request.model} says")
    jobs = Jobs(JobRows(database), poll_s=0.1, pause_s=0.01)
    indexes = OpenIndexes(IndexHome(home, chunking=CHUNKING, retrieval=SearchSettings(mode="dense")), WordEmbedder())
    stores = open_vector_stores(indexes, database, jobs, read=read_text)
    current = CurrentDecision(make_served(answers))  # type: ignore[arg-type]  # it answers as one
    models = TunedModels(current, (loading or LoadingEngine()).open(), Sampling())
    runner = JobRunner(
        JobStore(database, **options),
        stores.files,
        jobs,
        models,
        base=base or write_base(home / "base"),
        home=home,
        command=command,
        pause_s=0.01,
    )
    try:
        yield create_app(current, file_routes(stores), fine_tuning_routes(runner), api_key=api_key), runner
    finally:
        indexes.close()
        jobs.close()
        database.close()


@contextmanager
def tuning_server(
    home: Path,
    *,
    command: Command | None = None,
    loading: LoadingEngine | None = None,
    answers: ScriptedEngine | None = None,
    api_key: str | None = None,
    **options: Any,
) -> Iterator[Tuning]:
    """The app of `tuning_app` on a socket."""
    loading, answers = loading or LoadingEngine(), answers or ScriptedEngine(lambda request: f"{request.model} says")
    with (
        tuning_app(
            home, command=command or fake_command(), loading=loading, answers=answers, api_key=api_key, **options
        ) as (app, runner),
        listening(app) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key=api_key or "none", max_retries=0) as client,
        plain_client(f"{url}/v1") as http,
    ):
        yield Tuning(home, runner, loading, answers, client, http)
