"""The official client drives /v1/evals over a real socket."""

import asyncio
import copy
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import sqlalchemy as sa
from fakes.endpoints import listening, make_served, plain_client
from fakes.engines import ScriptedEngine

from router.answering.engine import EngineRequest, Place
from router.errors import EngineRejected, EngineUnavailable
from serving.app import create_app
from serving.evals.api import eval_routes
from serving.evals.runner import EvalRunner
from serving.evals.store import EvalStore
from serving.http.served import CurrentDecision
from serving.vector_stores.files import FileStore
from storage.database import Database, open_database, sqlite_url
from storage.errors import StorageError
from storage.jobs.jobs import LOOK_S, Jobs
from storage.jobs.rows import JOBS, JobRows

SCHEMA = {
    "type": "object",
    "properties": {"question": {"type": "string"}, "answer": {"type": "string"}},
    "required": ["question"],
}
CONFIG: Any = {"type": "custom", "item_schema": SCHEMA, "include_sample_schema": True}
SAME: Any = {
    "type": "string_check",
    "name": "same",
    "operation": "eq",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
}
NEAR: Any = {
    "type": "text_similarity",
    "name": "near",
    "evaluation_metric": "fuzzy_match",
    "pass_threshold": 0.6,
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.answer }}",
}
ROWS: Any = [
    {"item": {"question": "When does it open?", "answer": "nine"}},
    {"item": {"question": "When does it close?", "answer": "at five"}},
    {"item": {"question": "Who has the key?"}},
]


def completions(*rows: Any, model: str = "auto", **parts: Any) -> Any:
    return {
        "type": "completions",
        "source": {"type": "file_content", "content": list(rows or ROWS)},
        "model": model,
        "input_messages": {"type": "template", "template": [{"role": "user", "content": "{{item.question}}"}]},
        **parts,
    }


def jsonl(*rows: Any) -> Any:
    return {"type": "jsonl", "source": {"type": "file_content", "content": list(rows)}}


def answering(request: EngineRequest) -> str:
    return {"open": "nine", "close": "five"}.get(str(request.messages[-1]["content"]).split()[-1].strip("?"), "Ada")


class Evals:
    """A server over one store, with the client that talks to it."""

    def __init__(self, url: str, client: openai.OpenAI, engine: ScriptedEngine) -> None:
        self.url, self.client, self.engine = url, client, engine
        self.http = plain_client(f"{url}/v1")

    def created(self, *criteria: Any, **rest: Any) -> str:
        created = self.client.evals.create(
            data_source_config=CONFIG, testing_criteria=list(criteria or (SAME, NEAR)), **rest
        )
        return created.id

    def run(self, eval_id: str, source: Any, **rest: Any) -> str:
        return self.client.evals.runs.create(eval_id, data_source=source, **rest).id

    def ended(self, eval_id: str, run_id: str) -> Any:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            run = self.client.evals.runs.retrieve(run_id, eval_id=eval_id)
            if run.status not in ("queued", "in_progress"):
                return run
            time.sleep(0.02)
        raise AssertionError(f"still {run.status}")


@contextmanager
def serving(
    home: Path, engine: ScriptedEngine | None = None, *, patience_s: float = 5.0, database: Database | None = None
) -> Iterator[Evals]:
    engine = engine or ScriptedEngine(answering)
    current = CurrentDecision(make_served(engine))
    database = database or open_database(home)
    jobs = Jobs(JobRows(database))
    runner = EvalRunner(EvalStore(database), current, jobs, concurrency=2, patience_s=patience_s, pause_s=0.01)
    with (
        listening(create_app(current, eval_routes(runner, files=FileStore(database, home / "files")))) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        running = Evals(url, client, engine)
        with running.http:
            yield running
    jobs.close()
    database.close()


@pytest.fixture
def evals(tmp_path: Path) -> Iterator[Evals]:
    with serving(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evals]:
    """One server for the tests that do not look at what others left."""
    with serving(tmp_path_factory.mktemp("evals")) as running:
        yield running


def test_an_eval_is_created_read_renamed_and_deleted(shared: Evals) -> None:
    client = shared.client
    created = client.evals.create(
        data_source_config=CONFIG, testing_criteria=[SAME, NEAR], name="hours", metadata={"team": "desk"}
    )
    assert (created.object, created.name, created.metadata) == ("eval", "hours", {"team": "desk"})
    assert created.data_source_config.type == "custom"
    assert created.data_source_config.schema_["properties"]["item"] == SCHEMA
    assert created.data_source_config.schema_["required"] == ["item", "sample"]
    assert [criterion.type for criterion in created.testing_criteria] == ["string_check", "text_similarity"]
    assert client.evals.retrieve(created.id).to_dict() == created.to_dict()
    renamed = client.evals.update(created.id, name="opening hours")
    assert (renamed.name, renamed.metadata) == ("opening hours", {"team": "desk"})
    assert client.evals.update(created.id, metadata=None).metadata is None
    gone = client.evals.delete(created.id)
    assert (gone.deleted, gone.eval_id, gone.object) == (True, created.id, "eval.deleted")
    with pytest.raises(openai.NotFoundError, match="no eval"):
        client.evals.retrieve(created.id)
    with pytest.raises(openai.NotFoundError):
        client.evals.update(created.id, name="x")
    with pytest.raises(openai.NotFoundError):
        client.evals.delete(created.id)


@pytest.mark.slow
def test_lists_come_in_pages(evals: Evals) -> None:
    ids = [evals.created(name=str(i)) for i in range(5)]
    client = evals.client
    assert [found.id for found in client.evals.list(limit=2)] == ids
    assert [found.id for found in client.evals.list(limit=2, order="desc")] == ids[::-1]
    client.evals.update(ids[0], name="touched")
    assert [e.id for e in client.evals.list(order_by="updated_at", order="desc", limit=1).data] == [ids[0]]
    body = evals.http.get("/evals", params={"limit": 2, "after": ids[1]}).json()
    assert (body["object"], body["first_id"], body["last_id"], body["has_more"]) == ("list", ids[2], ids[3], True)
    last = evals.http.get("/evals", params={"after": ids[4]}).json()
    assert (last["data"], last["first_id"], last["last_id"], last["has_more"]) == ([], None, None, False)


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "²"}, "limit"),
        ({"order": "up"}, "order"),
        ({"after": "eval_x"}, "after"),
        ({"order_by": "name"}, "order_by"),
        ({"page": "2"}, "page"),
    ],
)
def test_a_bad_page_names_its_parameter(shared: Evals, params: dict[str, str], param: str) -> None:
    reply = shared.http.get("/evals", params=params)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


@pytest.mark.slow
def test_a_run_asks_grades_and_counts(shared: Evals) -> None:
    client = shared.client
    eval_id = shared.created()
    started = client.evals.runs.create(eval_id, name="first", data_source=completions(), metadata={"k": "v"})
    assert started.status in ("queued", "in_progress")
    assert (started.name, started.model, started.eval_id, started.metadata) == ("first", "auto", eval_id, {"k": "v"})
    run = shared.ended(eval_id, started.id)
    assert (run.status, run.error) == ("completed", None)
    # "nine" is the same; "five" is near "at five" (8 of 11) and not the same; the third row has no answer to compare.
    counts = run.result_counts
    assert (counts.passed, counts.failed, counts.errored, counts.total) == (1, 1, 1, 3)
    by_criterion = {r.testing_criteria: (r.passed, r.failed) for r in run.per_testing_criteria_results}
    assert by_criterion == {"same": (1, 1), "near": (2, 0)}
    usage = run.per_model_usage[0]
    assert (usage.run_model_name, usage.invocation_count) == ("hybrid", 3)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (21, 9, 30)
    assert shared.http.get(run.report_url).json()["id"] == run.id
    items = list(client.evals.runs.output_items.list(run.id, eval_id=eval_id, limit=1))
    assert [(item.datasource_item_id, item.status) for item in items] == [(0, "pass"), (1, "fail"), (2, "error")]
    first, _, third = items
    assert first.object == "eval.run.output_item"
    assert first.datasource_item == ROWS[0]["item"]
    assert [(r.name, r.type, r.passed, r.score) for r in first.results] == [
        ("same", "string_check", True, 1.0),
        ("near", "text_similarity", True, 1.0),
    ]
    assert first.sample.output[0].content == "nine"
    assert (first.sample.model, first.sample.finish_reason) == ("hybrid", "stop")
    assert first.sample.usage.total_tokens == 10
    # What was really asked: the arm's system prompt and its passages too.
    assert [message.role for message in first.sample.input] == ["system", "user"]
    assert "The desk opens at nine." in first.sample.input[1].content
    assert third.results[0].score is None
    assert "item.answer is not there" in str(third.results[0].to_dict()["error"])
    fetched = client.evals.runs.output_items.retrieve(first.id, eval_id=eval_id, run_id=run.id)
    assert fetched.to_dict() == first.to_dict()
    failed = client.evals.runs.output_items.list(run.id, eval_id=eval_id, status="fail")
    assert [item.datasource_item_id for item in failed] == [1]


@pytest.mark.slow
def test_a_row_is_asked_as_a_chat_request_would_be(evals: Evals) -> None:
    source = completions(
        ROWS[0],
        model="org/base:raft@1",
        input_messages={
            "type": "template",
            "template": [
                {"role": "developer", "content": "Be brief."},
                {"type": "message", "role": "user", "content": {"type": "input_text", "text": "{{item.question}}"}},
            ],
        },
        sampling_params={"temperature": 0.5, "max_completion_tokens": 9, "seed": 3},
    )
    eval_id = evals.created(SAME)
    assert evals.ended(eval_id, evals.run(eval_id, source)).result_counts.passed == 1
    evals.client.chat.completions.create(
        model="org/base:raft@1",
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": "When does it open?"},
        ],
        temperature=0.5,
        max_completion_tokens=9,
        seed=3,
    )
    by_eval, by_chat = evals.engine.requests
    assert by_eval == by_chat
    assert by_eval.options["max_tokens"] == 9


@pytest.mark.slow
def test_messages_can_stand_in_the_row(evals: Evals) -> None:
    talk = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "x"},
    ]
    rows = [{"item": {"question": "a", "talk": talk, "answer": "Ada"}}, {"item": {"question": "b", "talk": "no list"}}]
    source = completions(*rows, input_messages={"type": "item_reference", "item_reference": "item.talk"}, model="base")
    eval_id = evals.created(SAME)
    run = evals.ended(eval_id, evals.run(eval_id, source))
    assert (run.result_counts.passed, run.result_counts.errored) == (1, 1)
    assert [m["content"] for m in evals.engine.requests[0].messages][1:] == ["Hello", "Yes?", "x"]


@pytest.mark.slow
def test_a_jsonl_run_grades_given_answers_and_asks_nothing(shared: Evals) -> None:
    rows = [
        {"item": {"question": "a", "answer": "nine"}, "sample": {"output_text": "nine", "model": "theirs"}},
        {"item": {"question": "b", "answer": "nine"}, "sample": {"output_text": "ten"}},
        {"item": {"question": "c", "answer": "nine"}},
    ]
    eval_id, num_asked = shared.created(SAME), len(shared.engine.requests)
    run = shared.ended(eval_id, shared.run(eval_id, jsonl(*rows)))
    counts = run.result_counts
    assert (run.status, counts.passed, counts.failed, counts.errored) == ("completed", 1, 1, 1)
    assert (run.model, run.per_model_usage, len(shared.engine.requests)) == ("", [], num_asked)
    first = shared.client.evals.runs.output_items.list(run.id, eval_id=eval_id).data[0]
    assert (first.sample.output[0].content, first.sample.model) == ("nine", "theirs")


@pytest.mark.slow
def test_an_engine_that_comes_back_costs_no_row(evals: Evals) -> None:
    refusals = iter(range(3))

    def away_at_first(request: EngineRequest) -> str:
        if next(refusals, None) is not None:
            raise EngineUnavailable("the engine is restarting")
        return answering(request)

    evals.engine.reply = away_at_first
    eval_id = evals.created(SAME)
    counts = evals.ended(eval_id, evals.run(eval_id, completions(ROWS[0], ROWS[1]))).result_counts
    assert (counts.passed, counts.failed, counts.errored) == (1, 1, 0)


@pytest.mark.slow
def test_an_engine_that_stays_away_is_an_error_of_each_row(tmp_path: Path) -> None:
    def away(_request: EngineRequest) -> str:
        raise EngineUnavailable("the engine is away")

    with serving(tmp_path, ScriptedEngine(away), patience_s=0.1) as evals:
        eval_id = evals.created(SAME)
        run = evals.ended(eval_id, evals.run(eval_id, completions()))
        assert (run.status, run.result_counts.errored, run.result_counts.total) == ("completed", 3, 3)
        assert [(r.passed, r.failed) for r in run.per_testing_criteria_results] == [(0, 0)]
        item = evals.client.evals.runs.output_items.list(run.id, eval_id=eval_id).data[0]
        assert (item.sample.error.code, item.sample.error.message) == ("engine_unavailable", "the engine is away")


@pytest.mark.slow
def test_a_row_that_the_engine_refuses_is_an_error_of_that_row(evals: Evals) -> None:
    def picky(request: EngineRequest) -> str:
        if "close" in str(request.messages[-1]["content"]):
            raise EngineRejected("the prompt is too long", status=400)
        return answering(request)

    evals.engine.reply = picky
    eval_id = evals.created(SAME)
    counts = evals.ended(eval_id, evals.run(eval_id, completions(ROWS[0], ROWS[1]))).result_counts
    assert (counts.passed, counts.errored) == (1, 1)


class Held(ScriptedEngine):
    """Answers `free` requests and then holds every further one until it is let go, without blocking the server."""

    def __init__(self, free: int) -> None:
        super().__init__(answering)
        self.free = free
        self.let_go = threading.Event()

    async def complete(self, request: EngineRequest) -> Any:
        self.free -= 1
        while self.free < 0 and not self.let_go.is_set():  # noqa: ASYNC110  # set from the test's own thread
            await asyncio.sleep(0.01)
        return await super().complete(request)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def until(happened: Callable[[], bool], *, limit_s: float = 10) -> None:
    deadline = time.monotonic() + limit_s
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_a_run_is_canceled_and_keeps_what_it_had(tmp_path: Path) -> None:
    engine = Held(free=1)
    with serving(tmp_path, engine) as evals:
        runs = evals.client.evals.runs
        eval_id = evals.created(SAME)
        run_id = evals.run(eval_id, completions(*[ROWS[0]] * 6))
        until(lambda: runs.retrieve(run_id, eval_id=eval_id).result_counts.total == 1)
        assert runs.retrieve(run_id, eval_id=eval_id).status == "in_progress"
        assert [r.id for r in runs.list(eval_id, status="in_progress")] == [run_id]
        assert runs.cancel(run_id, eval_id=eval_id).status == "canceled"
        engine.let_go.set()
        time.sleep(0.1)
        run = runs.retrieve(run_id, eval_id=eval_id)
        assert (run.status, run.result_counts.total) == ("canceled", 1)
        # Older clients post to the one, newer ones to the other.
        for path in (f"/evals/{eval_id}/runs/{run_id}", f"/evals/{eval_id}/runs/{run_id}/cancel"):
            assert evals.http.post(path).json()["status"] == "canceled"
        done = evals.run(eval_id, completions(ROWS[0]))
        evals.ended(eval_id, done)
        with pytest.raises(openai.ConflictError, match="is completed"):
            runs.cancel(done, eval_id=eval_id)
        assert [r.id for r in runs.list(eval_id, limit=1, order="desc")] == [done, run_id]
        gone = runs.delete(run_id, eval_id=eval_id)
        assert (gone.deleted, gone.run_id) == (True, run_id)
        with pytest.raises(openai.NotFoundError):
            runs.retrieve(run_id, eval_id=eval_id)


def test_a_run_whose_engine_is_started_holds_up_no_other_run(tmp_path: Path) -> None:
    class Starting(ScriptedEngine):
        """The adapter's engine takes as long to start as the test wants."""

        is_up = threading.Event()

        @asynccontextmanager
        async def hold(self, model: str) -> AsyncIterator[Place]:
            while model == "raft@1" and not self.is_up.is_set():  # noqa: ASYNC110  # set from the test's own thread
                await asyncio.sleep(0.01)
            yield Place("http://engine.test/v1")

    engine = Starting(answering)
    with serving(tmp_path, engine) as evals:
        eval_id = evals.created(SAME)
        waiting = evals.run(eval_id, completions(*[ROWS[0]] * 4, model="hybrid"))
        until(lambda: evals.client.evals.runs.retrieve(waiting, eval_id=eval_id).status == "in_progress")
        other = evals.run(eval_id, completions(ROWS[0], model="base"))
        assert evals.ended(eval_id, other).result_counts.passed == 1
        assert {request.model for request in engine.requests} == {"org/base"}
        engine.is_up.set()
        assert evals.ended(eval_id, waiting).result_counts.passed == 4


@pytest.mark.slow
def test_a_run_does_not_hold_up_chat_requests(tmp_path: Path) -> None:
    class HeldForEvals(Held):
        async def complete(self, request: EngineRequest) -> Any:
            if request.options["max_tokens"] == 1:
                return await ScriptedEngine.complete(self, request)
            return await super().complete(request)

    engine = HeldForEvals(free=0)
    with serving(tmp_path, engine) as evals:
        eval_id = evals.created(SAME)
        run_id = evals.run(eval_id, completions(*[ROWS[0]] * 20))
        for _ in range(3):
            reply = evals.client.chat.completions.create(
                model="base", messages=[{"role": "user", "content": "open"}], max_tokens=1, timeout=20
            )
            assert reply.choices[0].message.content == "nine"
        engine.let_go.set()
        assert evals.ended(eval_id, run_id).result_counts.passed == 20


@pytest.mark.slow
def test_a_server_that_went_down_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    engine = Held(free=2)
    with serving(tmp_path, engine) as evals:
        eval_id = evals.created(SAME)
        run_id = evals.run(eval_id, completions(*[ROWS[0]] * 6))
        until(lambda: evals.client.evals.runs.retrieve(run_id, eval_id=eval_id).result_counts.total == 2)
    second = ScriptedEngine(answering)
    with serving(tmp_path, second) as evals:
        run = evals.ended(eval_id, run_id)
        assert (run.status, run.result_counts.passed) == ("completed", 6)
        assert len(second.requests) == 4


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


@pytest.mark.slow
def test_a_run_outlives_a_database_that_is_away(tmp_path: Path) -> None:
    engine, database = Held(free=2), Leaving(sqlite_url(tmp_path / "arbiter.db"))
    with serving(tmp_path, engine, database=database) as evals:
        eval_id = evals.created(SAME)
        run_id = evals.run(eval_id, completions(*[ROWS[0]] * 6))
        until(lambda: evals.client.evals.runs.retrieve(run_id, eval_id=eval_id).result_counts.total == 2)
        database.is_away = True
        engine.let_go.set()
        # Long enough for the job to look whether it is cancelled.
        time.sleep(3 * LOOK_S)
        database.is_away = False
        run = evals.ended(eval_id, run_id)
        assert (run.status, run.result_counts.passed, run.error) == ("completed", 6, None)


@pytest.mark.slow
def test_a_run_whose_job_has_ended_gets_another_at_the_next_start(tmp_path: Path) -> None:
    with serving(tmp_path, Held(free=0)) as evals:
        eval_id = evals.created(SAME)
        run_id = evals.run(eval_id, completions(ROWS[0]))
    with closing(open_database(tmp_path)) as database, database.write() as rows:
        rows.execute(JOBS.update().values(state="failed", owner=None))
    with serving(tmp_path) as evals:
        assert evals.ended(eval_id, run_id).status == "completed"


STUCK_SERVER = """
import asyncio, socket, sys
from pathlib import Path
import uvicorn
from fakes.endpoints import make_served
from fakes.engines import ScriptedEngine
from serving.app import create_app
from serving.evals.runner import EvalRunner
from serving.evals.store import EvalStore
from serving.evals.api import eval_routes
from serving.http.served import CurrentDecision
from serving.vector_stores.files import FileStore
from storage.database import open_database
from storage.jobs.jobs import Jobs
from storage.jobs.rows import JobRows

class Stuck(ScriptedEngine):
    async def complete(self, request):
        answered = await super().complete(request)
        if len(self.requests) > 5:
            await asyncio.sleep(3600)
        return answered

current = CurrentDecision(make_served(Stuck(lambda request: "nine")))
database = open_database(Path(sys.argv[1]))
runner = EvalRunner(EvalStore(database), current, Jobs(JobRows(database)), concurrency=1)
app = create_app(current, eval_routes(runner, files=FileStore(database, Path(sys.argv[1], "files"))))
with socket.create_server(("127.0.0.1", 0)) as listening:
    print(listening.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="critical")).run(sockets=[listening])
"""


@pytest.mark.slow
def test_a_server_that_was_killed_loses_no_outcome(tmp_path: Path) -> None:
    tests = Path(__file__).parents[2]
    first = subprocess.Popen(
        [sys.executable, "-c", STUCK_SERVER, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{tests}:{tests.parent}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert first.stdout is not None
        url = f"http://127.0.0.1:{int(first.stdout.readline())}"
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            until(lambda: answers(url), limit_s=60)
            evals = Evals(url, client, ScriptedEngine(answering))
            eval_id = evals.created(SAME)
            run_id = evals.run(eval_id, completions(*[ROWS[0]] * 12))
            until(lambda: client.evals.runs.retrieve(run_id, eval_id=eval_id).result_counts.total >= 3)
    finally:
        first.kill()
        first.communicate()
    second = ScriptedEngine(answering)
    with serving(tmp_path, second) as evals:
        run = evals.ended(eval_id, run_id)
        assert (run.status, run.result_counts.passed) == ("completed", 12)
        assert 1 <= len(second.requests) <= 9


@pytest.mark.slow
def test_a_changed_arm_fails_an_interrupted_run_with_the_reason(tmp_path: Path) -> None:
    with serving(tmp_path, Held(free=0)) as evals:
        eval_id = evals.created(SAME)
        run_id = evals.run(eval_id, completions(ROWS[0], model="rag"))
    current = CurrentDecision(make_served(ScriptedEngine(answering)))
    other = current.served.arms | {"rag": current.served.arms["base"]}  # type: ignore[operator]
    current.show(replace(current.served, arms=other))
    database = open_database(tmp_path)
    runner = EvalRunner(EvalStore(database), current, Jobs(JobRows(database)))
    with (
        listening(create_app(current, eval_routes(runner, files=FileStore(database, tmp_path / "files")))) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        run = Evals(url, client, ScriptedEngine(answering)).ended(eval_id, run_id)
    assert (run.status, run.error.code) == ("failed", "run_failed")
    assert "arm 'rag' is no longer served as it was" in run.error.message


def changed(where: list[Any], value: Any) -> dict[str, Any]:
    """The body of a good eval with one place changed; `...` takes it away."""
    body: Any = {"data_source_config": CONFIG, "testing_criteria": [SAME, NEAR]}
    body = copy.deepcopy(body)
    node = body
    for part in where[:-1]:
        node = node[part]
    if value is ...:
        del node[where[-1]]
    else:
        node[where[-1]] = value
    return body


@pytest.mark.parametrize(
    ("where", "value", "param"),
    [
        (["data_source_config"], ..., "data_source_config"),
        (["data_source_config", "type"], "logs", "data_source_config.type"),
        (["data_source_config", "type"], "stored_completions", "data_source_config.type"),
        (["data_source_config", "type"], "files", "data_source_config.type"),
        (["data_source_config", "item_schema"], {"type": "no type"}, "data_source_config.item_schema"),
        (["data_source_config", "item_schema"], {"$ref": "#/$defs/row"}, "data_source_config.item_schema"),
        (["data_source_config", "item_schema"], {"pattern": "("}, "data_source_config.item_schema"),
        (["data_source_config", "rows"], 3, "data_source_config.rows"),
        (["testing_criteria"], [], "testing_criteria"),
        (["testing_criteria", 0, "type"], "label_model", "testing_criteria[0].type"),
        (["testing_criteria", 0, "type"], "score_model", "testing_criteria[0].type"),
        (["testing_criteria", 0, "type"], "python", "testing_criteria[0].type"),
        (["testing_criteria", 0, "operation"], "regex", "testing_criteria[0].operation"),
        (["testing_criteria", 0, "input"], ..., "testing_criteria[0].input"),
        (["testing_criteria", 0, "input"], "{{answer}}", "testing_criteria[0].input"),
        (["testing_criteria", 0, "model"], "x", "testing_criteria[0].model"),
        (["testing_criteria", 1, "name"], "same", "testing_criteria[1].name"),
        (["testing_criteria", 1, "evaluation_metric"], "meteor", "testing_criteria[1].evaluation_metric"),
        (["testing_criteria", 1, "evaluation_metric"], "cosine", "testing_criteria[1].evaluation_metric"),
        (["testing_criteria", 1, "pass_threshold"], 1.5, "testing_criteria[1].pass_threshold"),
        (["testing_criteria", 1, "pass_threshold"], ..., "testing_criteria[1].pass_threshold"),
        (["name"], 5, "name"),
        (["metadata"], {"k": 5}, "metadata.k"),
        (["metadata"], {str(i): "v" for i in range(17)}, "metadata"),
        (["shared"], True, "shared"),
    ],
)
def test_a_bad_eval_names_its_field(shared: Evals, where: list[Any], value: Any, param: str) -> None:
    reply = shared.http.post("/evals", json=changed(where, value))
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


FAR = "data_source.input_messages.template[0]"


@pytest.mark.parametrize(
    ("source", "status", "param"),
    [
        ({"type": "responses", "source": {}}, 400, "data_source.type"),
        (jsonl() | {"source": {"type": "file_id", "id": "file-1"}}, 404, "data_source.source.id"),
        (completions(source={"type": "stored_completions"}), 400, "data_source.source.type"),
        (jsonl(), 400, "data_source.source.content"),
        (jsonl({"row": 1}), 400, "data_source.source.content[0].item"),
        (jsonl({"item": {"question": 5}}), 400, "data_source.source.content[0].item.question"),
        (jsonl(ROWS[0], {"item": {}}), 400, "data_source.source.content[1].item"),
        (jsonl(ROWS[0]) | {"model": "base"}, 400, "data_source.model"),
        (completions(model=None), 400, "data_source.model"),
        (completions(model="gpt-9"), 404, "data_source.model"),
        (completions(input_messages=None), 400, "data_source.input_messages"),
        (completions({"item": {"question": "q"}, "sample": {}}), 400, "data_source.source.content[0].sample"),
        (completions(sampling_params={"tools": []}), 400, "data_source.sampling_params.tools"),
        (completions(sampling_params={"temperature": 9}), 400, "data_source.sampling_params.temperature"),
        (
            completions(input_messages={"type": "template", "template": [{"role": "tool", "content": "x"}]}),
            400,
            f"{FAR}.role",
        ),
        (
            completions(
                input_messages={
                    "type": "template",
                    "template": [{"role": "user", "content": {"type": "input_image", "image_url": "x"}}],
                }
            ),
            400,
            f"{FAR}.content",
        ),
        (
            completions(input_messages={"type": "template", "template": [{"role": "user", "content": "{{ 7*7 }}"}]}),
            400,
            f"{FAR}.content",
        ),
        (
            completions(
                input_messages={"type": "template", "template": [{"role": "user", "content": "{{sample.output_text}}"}]}
            ),
            400,
            f"{FAR}.content",
        ),
        (
            completions(input_messages={"type": "item_reference", "item_reference": "sample.q"}),
            400,
            "data_source.input_messages.item_reference",
        ),
        (
            completions(input_messages={"type": "template", "template": [{"role": "system", "content": "x"}]}),
            400,
            "data_source.input_messages.template",
        ),
    ],
)
def test_a_bad_run_names_its_field(shared: Evals, source: Any, status: int, param: str) -> None:
    eval_id = shared.created()
    reply = shared.http.post(f"/evals/{eval_id}/runs", json={"data_source": source})
    assert (reply.status_code, reply.json()["error"]["param"]) == (status, param)
    assert shared.http.get(f"/evals/{eval_id}/runs").json()["data"] == []


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"name": "\\ud800"}', b'{"metadata": NaN}', b'{"x": 1e999}'])
def test_a_body_that_cannot_be_kept_is_400(shared: Evals, body: bytes) -> None:
    assert shared.http.post("/evals", content=body).status_code == 400


def test_a_schema_cannot_make_the_server_fetch_anything(shared: Evals) -> None:
    config: Any = {"type": "custom", "item_schema": {"$ref": f"{shared.url}/health"}}
    with pytest.raises(openai.BadRequestError, match="cannot be followed"):
        shared.client.evals.create(data_source_config=config, testing_criteria=[SAME])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schema", "item"),
    [
        ({"properties": {"a": {"pattern": "^(a+)+$"}}}, {"a": "a" * 45 + "!"}),
        ({"patternProperties": {"^(a+)+$": {}}}, {"a" * 45 + "!": 1}),
        (
            {
                "$ref": "#/$defs/0",
                "$defs": {str(n): {"anyOf": [{"$ref": f"#/$defs/{n + 1}"}] * 2} for n in range(30)} | {"30": False},
            },
            {},
        ),
    ],
    ids=["pattern", "patternProperties", "anyOf"],
)
def test_a_schema_that_takes_for_ever_is_400_and_stops_nobody_else(
    shared: Evals, schema: Any, item: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config: Any = {"type": "custom", "item_schema": schema}
    created = shared.client.evals.create(data_source_config=config, testing_criteria=[{**SAME, "input": "nine"}])
    monkeypatch.setattr("serving.evals.schemas._LIMIT_S", 1)
    with ThreadPoolExecutor(1) as other:
        refused = other.submit(
            shared.http.post, f"/evals/{created.id}/runs", json={"data_source": jsonl({"item": item})}
        )
        waits = []
        while not refused.done():
            started = time.monotonic()
            assert httpx.get(f"{shared.url}/health", trust_env=False).status_code == 200
            waits.append(time.monotonic() - started)
            time.sleep(0.05)
    assert max(waits) < 0.9
    assert refused.result().status_code == 400
    assert "takes over 1 s" in refused.result().json()["error"]["message"]


@pytest.mark.slow
def test_unknown_runs_and_items_are_404(shared: Evals) -> None:
    eval_id, other = shared.created(), shared.created()
    run_id = shared.run(eval_id, jsonl(ROWS[0]))
    for path in (
        f"evals/{other}/runs/{run_id}",
        f"evals/{other}/runs/{run_id}/output_items",
        f"evals/{eval_id}/runs/{run_id}/output_items/outputitem_x",
        "evals/eval_x/runs",
    ):
        assert shared.http.get(f"/{path}").status_code == 404
    assert shared.http.post(f"/evals/{other}/runs/{run_id}").status_code == 404
    assert shared.http.delete(f"/evals/{other}/runs/{run_id}").status_code == 404


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "question", "answer"), [("sa\0me", "Wh\0en?", "ni\0ne"), ("same", "When?", "ni\ud800ne")]
)
def test_any_character_can_be_asked_answered_and_shown(
    database: Database, tmp_path: Path, name: str, question: str, answer: str
) -> None:
    with serving(tmp_path, ScriptedEngine(lambda _: answer), database=database) as evals:
        eval_id = evals.created({**SAME, "name": name})
        kept = answer.replace("\ud800", "\ufffd")
        run_id = evals.run(eval_id, completions({"item": {"question": question, "answer": kept}}))
        run = evals.ended(eval_id, run_id)
        assert (run.status, run.result_counts.passed, run.per_model_usage[0].invocation_count) == ("completed", 1, 1)
        assert [(one.testing_criteria, one.passed) for one in run.per_testing_criteria_results] == [(name, 1)]
        (item,) = evals.client.evals.runs.output_items.list(run_id, eval_id=eval_id)
        assert (item.datasource_item["question"], item.sample.output[0].content) == (question, kept)
