"""Runs whose rows stand in an uploaded file."""

import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from fakes.embedders import WordEmbedder
from fakes.endpoints import listening, make_served
from fakes.engines import ScriptedEngine

from rag.home import IndexHome, OpenIndexes
from serving.app import create_app
from serving.evals.api import eval_routes
from serving.evals.runner import EvalRunner
from serving.evals.store import EvalStore
from serving.http.served import CurrentDecision
from serving.vector_stores.files_api import file_routes
from serving.vector_stores.stores import open_vector_stores
from storage.database import open_database
from storage.jobs.jobs import Jobs
from storage.jobs.rows import JobRows

SCHEMA = {"type": "object", "properties": {"question": {"type": "string"}}, "required": ["question"]}
CONFIG: Any = {"type": "custom", "item_schema": SCHEMA, "include_sample_schema": True}
SAME: Any = {
    "type": "string_check",
    "name": "same",
    "operation": "eq",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
}
ROWS = [
    {"item": {"question": "When does it open?", "answer": "nine"}},
    {"item": {"question": "When does it close?", "answer": "five"}},
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    home = tmp_path_factory.mktemp("evals")
    current = CurrentDecision(make_served(ScriptedEngine(lambda _: "nine")))
    database = open_database(home)
    jobs = Jobs(JobRows(database))
    stores = open_vector_stores(OpenIndexes(IndexHome(home), WordEmbedder()), database, jobs)
    runner = EvalRunner(EvalStore(database), current, jobs, concurrency=2)
    app = create_app(current, eval_routes(runner, files=stores.files), file_routes(stores))
    with listening(app) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client
    for opened in (jobs, stores.open_indexes, database):
        opened.close()


def uploaded(client: openai.OpenAI, content: bytes, *, purpose: Any = "evals") -> str:
    return client.files.create(file=("rows.jsonl", content), purpose=purpose).id


def jsonl(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def source(file_id: str) -> Any:
    return {
        "type": "completions",
        "source": {"type": "file_id", "id": file_id},
        "model": "base",
        "input_messages": {"type": "template", "template": [{"role": "user", "content": "{{item.question}}"}]},
    }


@pytest.mark.slow
def test_a_run_reads_its_rows_from_a_file_and_keeps_them(client: openai.OpenAI) -> None:
    eval_id = client.evals.create(data_source_config=CONFIG, testing_criteria=[SAME]).id
    # With a byte order mark, as Windows writes it.
    file_id = uploaded(client, b"\xef\xbb\xbf" + jsonl(ROWS[0]) + b"\n" + jsonl(ROWS[1]))
    run = client.evals.runs.create(eval_id, data_source=source(file_id))
    client.files.delete(file_id)
    deadline = time.monotonic() + 10
    while (run := client.evals.runs.retrieve(run.id, eval_id=eval_id)).status in ("queued", "in_progress"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert (run.status, run.result_counts.passed, run.result_counts.failed) == ("completed", 1, 1)
    assert run.data_source.to_dict() == source(file_id)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "purpose", "reason"),
    [
        (jsonl(ROWS[0]) + b"{\n", "evals", "line 2 of 'file-"),
        (b'{"item": {"question": NaN}}', "evals", "line 1 of 'file-"),
        (b'{"item": {"question": "\\ud800"}}', "evals", "hex escape at line 1 column 30"),
        (jsonl(ROWS[0]), "assistants", "purpose 'assistants', not evals"),
        (jsonl(ROWS[0]) + b" " * 2**23, "evals", "split it"),
        (jsonl({"question": "x"}), "evals", "content\\[0\\].item: missing"),
        (jsonl(ROWS[0], {"item": {}}), "evals", "'question' is a required property"),
        (b"\n\n", "evals", "content: "),
    ],
)
def test_a_file_that_holds_no_rows_says_why(client: openai.OpenAI, content: bytes, purpose: str, reason: str) -> None:
    eval_id = client.evals.create(data_source_config=CONFIG, testing_criteria=[SAME]).id
    with pytest.raises(openai.BadRequestError, match=reason) as refused:
        client.evals.runs.create(eval_id, data_source=source(uploaded(client, content, purpose=purpose)))
    assert str(refused.value.param).startswith("data_source.source")


def test_an_unknown_file_is_404_and_a_forged_one_400(client: openai.OpenAI) -> None:
    eval_id = client.evals.create(data_source_config=CONFIG, testing_criteria=[SAME]).id
    with pytest.raises(openai.NotFoundError) as missing:
        client.evals.runs.create(eval_id, data_source=source("file-none"))
    assert missing.value.param == "data_source.source.id"
    forged: Any = {**source("x"), "source": {"type": "file_content", "content": ROWS, "file_id": "file-x"}}
    with pytest.raises(openai.BadRequestError) as refused:
        client.evals.runs.create(eval_id, data_source=forged)
    assert refused.value.param == "data_source.source.file_id"
