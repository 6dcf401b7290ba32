"""The main job on real parts (training, vLLM, metrics, the official client), interrupted on the way."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest

REPO = Path(__file__).parents[2]
CONFIG = str(REPO / "configs" / "demo.yaml")
# Small enough for minutes, large enough for every stage to be cut off in the middle.
SMALL = [
    "limits.train_rows=4",
    "limits.questions=8",
    "sampling.max_tokens=12",
    "eval.first_token_probes=1",
    *(f"adapters.{name}.{setting}" for name in ("closed_book", "raft") for setting in ("epochs=1", "batch_size=2")),
]
ARMS = ["base", "fewshot", "rag", "tuned", "tuned_rag", "hybrid"]

pytestmark = [pytest.mark.model, pytest.mark.timeout(3600)]


def arbiter(home: Path, *words: str) -> subprocess.Popen[str]:
    """The command line in a process group of its own, so that a signal reaches it as it would from a terminal."""
    # A test run in the background inherits an ignored SIGINT, which Python would keep ignoring.
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{listen}; import sys; from arbiter.cli.main import main; sys.argv[0] = 'arbiter'; main()"
    with (home / "stderr.log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-c", code, *words],
            env={**os.environ, "ARBITER_HOME": str(home), "HF_HUB_OFFLINE": "1"},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=REPO,
            start_new_session=True,
        )


def told(home: Path) -> str:
    return (home / "stderr.log").read_text()


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str], *, limit_s: float = 1200) -> None:
    deadline = time.monotonic() + limit_s
    while not happened():
        assert process.poll() is None, "the command ended too early"
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


def engines_of(home: Path) -> list[int]:
    """Processes that hold an engine log of this home open."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(str(home) in file.path for file in process.open_files()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def num_answers(home: Path) -> int:
    if not (home / "answers.db").exists():
        return 0
    with closing(sqlite3.connect(home / "answers.db")) as db:
        try:
            return int(db.execute("SELECT count(*) FROM answers").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, smollm2_path: Path) -> Path:
    """A fresh data directory that shares the converted model."""
    home = tmp_path_factory.mktemp("home")
    (home / "models").symlink_to(Path(smollm2_path).parent)
    return home


@pytest.fixture(scope="module")
def finished(home: Path) -> dict[str, Any]:
    """The job's JSON after kill -9 in training, Ctrl-C while asking, and a last undisturbed start."""
    first = arbiter(home, "run", CONFIG, *SMALL)
    # The indented line is progress: some steps are done, and the adapter before this one is published.
    wait_for(lambda: "  training raft on" in told(home), first)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    trained = {path.name for path in (home / "adapters").iterdir() if not path.name.startswith(".")}

    second = arbiter(home, "run", CONFIG, *SMALL)
    wait_for(lambda: num_answers(home) >= 10, second)
    os.kill(second.pid, signal.SIGINT)
    assert second.wait(timeout=60) == 130
    assert "interrupted; the same command goes on where it stopped" in told(home)
    deadline = time.monotonic() + 15
    while engines_of(home) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert engines_of(home) == []
    kept = num_answers(home)

    third = arbiter(home, "run", CONFIG, *SMALL, "--json")
    out, _ = third.communicate(timeout=900)
    assert third.returncode == 0, told(home)[-3000:]
    assert trained < {path.name for path in (home / "adapters").iterdir()}
    # Nothing that was answered before the interrupt was asked again.
    assert num_answers(home) == len(ARMS) * 8 > kept
    row: dict[str, Any] = json.loads(out)
    return row


def test_the_job_survives_kill_and_interrupt_and_prints_one_json_object(finished: dict[str, Any]) -> None:
    assert set(finished) == {"run", "arms", "decision"}
    assert [arm["name"] for arm in finished["arms"]] == ARMS
    for arm in finished["arms"]:
        counts = {"num_questions": 8, "num_unscored": 0, "num_failed": 0}
        assert set(arm) == {"name", "kind", *counts, "metrics", "latency_ms", "tokens"}
        assert {name: arm[name] for name in counts} == counts
        assert arm["latency_ms"] > 0
        assert arm["tokens"] > 0
        for metric in ("exact_match", "token_f1", "string_similarity", "semantic_similarity"):
            interval = arm["metrics"][metric]
            assert 0 <= interval["low"] <= interval["mean"] <= interval["high"] <= 1
    assert {"context_precision", "context_recall"} <= set(finished["arms"][2]["metrics"])
    assert set(finished["decision"]) == {"arm", "verdict", "confidence", "margin", "runner_up", "reason"}
    assert finished["decision"]["verdict"] in ("winner", "tie", "undecided")


def test_the_run_is_a_complete_directory_with_a_self_contained_report(finished: dict[str, Any]) -> None:
    run = Path(finished["run"])
    names = {"config.yaml", "answers.jsonl", "scores.parquet", "scorecard.json", "report.html", "manifest.json"}
    assert names <= {path.name for path in run.iterdir()}
    html = (run / "report.html").read_text()
    assert not re.search(r"""(src|href)=["']https?:""", html)
    assert finished["decision"]["arm"] in html


def test_a_second_run_generates_nothing(home: Path, finished: dict[str, Any]) -> None:
    started = time.monotonic()
    again = arbiter(home, "run", CONFIG, *SMALL, "--json")
    out, _ = again.communicate(timeout=120)
    assert json.loads(out) == finished
    assert "nothing to ask" in told(home)
    assert time.monotonic() - started < 60


def test_another_policy_decides_again_without_asking(home: Path, finished: dict[str, Any]) -> None:
    decide = arbiter(home, "decide", CONFIG, *SMALL, "policy.margin=0.9", "--json")
    out, _ = decide.communicate(timeout=60)
    # Every arm is within 0.9 of every other, which so few questions may not show.
    assert json.loads(out)["decision"]["verdict"] in ("tie", "undecided")
    back = arbiter(home, "decide", CONFIG, *SMALL, "--json")
    out, _ = back.communicate(timeout=60)
    assert json.loads(out) == finished


def test_a_race_of_known_answers_generates_nothing_and_re_estimates_the_winner(
    home: Path, finished: dict[str, Any]
) -> None:
    before = num_answers(home)
    raced = arbiter(home, "run", CONFIG, *SMALL, "race.batch=4", "race.held_out=0.5", "--json")
    out, _ = raced.communicate(timeout=200)
    assert raced.returncode == 0, told(home)[-3000:]
    row = json.loads(out)
    card = json.loads((Path(row["run"]) / "card.json").read_text())
    assert num_answers(home) == before
    assert row["run"] != finished["run"]
    assert card["race"]["num_possible"] == len(ARMS) * 8
    assert len(card["race"]["held_out"]) == 4
    assert "answers were needed" in told(home)


def test_a_gate_in_ci_passes_or_exits_1_with_what_was_missed(home: Path, finished: dict[str, Any]) -> None:
    chosen = finished["decision"]["arm"]
    passed = arbiter(home, "decide", CONFIG, *SMALL, "--check", f"policy.require.arm={chosen}", "--json")
    assert passed.wait(timeout=100) == 0
    missed = arbiter(home, "decide", CONFIG, *SMALL, "--check", "policy.require.score=1.0", "--json")
    assert missed.wait(timeout=100) == 1
    assert "missed: mean token_f1 is" in told(home)


@contextmanager
def serving(home: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = arbiter(home, "serve", "--config", CONFIG, *SMALL, "--port", str(port))
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: is_ready(url), process)
        yield url, process
    finally:
        os.kill(process.pid, signal.SIGINT)
        process.wait(timeout=60)


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def test_the_decision_is_served_to_the_openai_client_and_outlives_its_engine(
    home: Path, finished: dict[str, Any]
) -> None:
    messages: Any = [{"role": "user", "content": "What is painted over the slipway door of the boat library?"}]
    with serving(home) as (url, _), openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["auto", *ARMS]
        for name in ("auto", *ARMS):
            whole = client.chat.completions.create(model=name, messages=messages)
            pieces = list(client.chat.completions.create(model=name, messages=messages, stream=True))
            streamed = "".join(piece.choices[0].delta.content or "" for piece in pieces)
            assert streamed == whole.choices[0].message.content
            assert streamed
            expected = finished["decision"]["arm"] if name == "auto" else name
            assert whole.model == pieces[0].model == expected
        promoted_and_rolled_back(client, messages, finished)
        evaluated_over_http(client)
        dies_and_recovers(client, home, messages)
        served_again(client, finished)
    assert engines_of(home) == []


def served_again(client: openai.OpenAI, finished: dict[str, Any]) -> None:
    """What was measured is what is served, by an engine that died and got its adapters back: word for word."""
    run = Path(finished["run"])
    questions = {q["id"]: q["text"] for q in map(json.loads, (run / "questions.jsonl").read_text().splitlines())}
    for record in map(json.loads, (run / "answers.jsonl").read_text().splitlines()):
        if record["question_id"] == next(iter(questions)):
            asked: Any = [{"role": "user", "content": questions[record["question_id"]]}]
            reply = client.chat.completions.create(model=record["arm"], messages=asked)
            assert reply.choices[0].message.content == record["text"], record["arm"]


def promoted_and_rolled_back(client: openai.OpenAI, messages: Any, finished: dict[str, Any]) -> None:
    """Promoting the decision of the other policy changes what `auto` means at once; rolling back returns it."""
    decisions: Any = client.get("/arbiter/decisions", cast_to=object)
    other = next(row for row in decisions["data"] if row["policy"]["margin"] == 0.9)
    one: Any = client.get(f"/arbiter/decisions/{other['id']}", cast_to=object)
    assert not one["stale"]

    def auto() -> str:
        return client.chat.completions.create(model="auto", messages=messages).model

    assert auto() == finished["decision"]["arm"]
    client.post(f"/arbiter/decisions/{other['id']}/promote", cast_to=object)
    assert auto() == other["arm"]
    client.post("/arbiter/decisions/rollback", cast_to=object)
    assert auto() == finished["decision"]["arm"]


def evaluated_over_http(client: openai.OpenAI) -> None:
    """An eval of the official client runs through the answering path in the background."""
    schema = {"type": "object", "properties": {"ask": {"type": "string"}, "gold": {"type": "string"}}}
    made = client.evals.create(
        name="slipway",
        data_source_config={"type": "custom", "item_schema": schema, "include_sample_schema": True},
        testing_criteria=[
            {
                "type": "string_check",
                "name": "said something",
                "input": "{{sample.output_text}}",
                "reference": "{{item.gold}}",
                "operation": "ne",
            }
        ],
    )
    run = client.evals.runs.create(
        made.id,
        data_source={
            "type": "completions",
            "model": "auto",
            "input_messages": {"type": "template", "template": [{"role": "user", "content": "{{item.ask}}"}]},
            "source": {
                "type": "file_content",
                "content": [{"item": {"ask": f"What is bird {n}?", "gold": "-"}} for n in range(3)],
            },
        },
    )
    deadline = time.monotonic() + 60
    while run.status not in ("completed", "failed", "canceled") and time.monotonic() < deadline:
        time.sleep(0.5)
        run = client.evals.runs.retrieve(run.id, eval_id=made.id)
    assert (run.status, run.result_counts.passed, run.result_counts.total) == ("completed", 3, 3)
    assert len(list(client.evals.runs.output_items.list(run.id, eval_id=made.id))) == 3


def dies_and_recovers(client: openai.OpenAI, home: Path, messages: Any) -> None:
    killed = 0
    for pid in engines_of(home):
        if "EngineCore" in " ".join(psutil.Process(pid).cmdline()):
            os.kill(pid, signal.SIGKILL)
            killed += 1
    assert killed == 1
    refusals, deadline = [], time.monotonic() + 240
    while time.monotonic() < deadline:
        try:
            back = client.chat.completions.create(model="hybrid", messages=messages)
        except openai.InternalServerError as error:
            refusals.append((error.status_code, error.response.headers.get("retry-after")))
            time.sleep(1)
        else:
            if refusals:
                assert back.model == "hybrid"
                assert set(refusals) == {(503, "2")}
                return
    pytest.fail(f"the engine did not come back after {len(refusals)} refusals")


def test_the_python_example_of_the_readme_answers(home: Path, finished: dict[str, Any]) -> None:
    example = re.search(r"```python\n(import arbiter\n.*?)```", (REPO / "docs" / "python.md").read_text(), re.DOTALL)
    assert example is not None
    smaller = {f"ARBITER_{key.upper().replace('.', '__')}": value for key, value in (s.split("=") for s in SMALL)}
    told = subprocess.run(
        [sys.executable, "-c", example[1]],
        env={**os.environ, **smaller, "ARBITER_HOME": str(home), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        cwd=REPO,
    )
    assert told.returncode == 0, told.stderr
    assert "is complete: nothing to ask" in told.stderr
    decided, *answer = told.stdout.splitlines()
    assert decided.split()[:2] == [finished["decision"]["arm"], finished["decision"]["verdict"]]
    assert answer
