"""Every command, stopped by an error at calls spread over all that it does: it ends in one line and an exit code.

What a command does is seen as the calls of the project's own functions; the error is raised inside one of them.
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import pytest
from fakes.faults import ERRORS
from fakes.teams import answering, remote, write_folder

import arbiter
from arbiter.cli.main import main
from arbiter.home import home_database
from serving.decisions.ledger import Ledger
from serving.http.pages import Page

pytestmark = pytest.mark.slow

ROOT = Path(arbiter.__file__).parents[1]
PACKAGES = tuple(
    str(ROOT / name) + "/" for name in ("storage", "rag", "tuning", "router", "eval", "serving", "arbiter")
)
# What turns errors into lines cannot be held to turn its own into one.
LAST_RESORT = (str(ROOT / "arbiter/cli/endings.py"), str(ROOT / "arbiter/cli/main.py"))
POINTS = 16
COMMANDS = (
    "doctor",
    "check {team} {remote}",
    "evaluate {team} {remote}",
    "run {team} {remote} seed=2",
    "decide {team} {remote} --check policy.require.confidence=0.5",
    "plan {team} {remote}",
    "sweep {team} {remote} --arm rag --trials 2",
    "judge certify {team} {remote} --labels {labels} --limit 30 --repeats 1 {judge}",
    "runs list",
    "runs diff {run} {run}",
    "runs export {run} {new}",
    "import {ragas} {new}",
    "decisions list",
    "decisions promote {decision}",
    "decisions rollback",
    "index build {team} {remote} index.chunk_tokens=60",
    "index add words {team}/docs.jsonl --config {config}",
    "index update words {team}/docs.jsonl --config {config}",
    "index delete words d1 --config {config}",
    "index delete words --all --yes --config {config}",
    "index list words --config {config}",
    "index search words desk --config {config}",
    "index verify words --repair --config {config}",
    "index export words {new} --config {config}",
    "index evaluate words --questions {team}/test.jsonl --config {config}",
    "index evaluate {team} {remote}",
    "data check {team} {remote}",
    "data dedupe {team} {new}",
    "data split {team}/train.jsonl {new} --test 0.5",
    "data balance {labelled} {new} --how undersample",
    "data select {team} {new} --rows 3 --config {config}",
    "data mask {team} {new} --kinds EMAIL",
)


class Fault:
    """A trace function that raises once, at the n-th call of a function of the project, in whatever thread."""

    def __init__(self, at: int | None, error: BaseException) -> None:
        self.num_calls, self.place = 0, ""
        self._at, self._error = at, error

    def __call__(self, frame: FrameType, event: str, _arg: object) -> None:
        file = frame.f_code.co_filename
        if event != "call" or not file.startswith(PACKAGES) or file in LAST_RESORT or frame.f_code.co_name == "__del__":
            return
        self.num_calls += 1
        if self.num_calls == self._at:
            self.place = f"{file}:{frame.f_lineno} {frame.f_code.co_name}"
            raise self._error


@dataclass(frozen=True)
class Team:
    """A data directory where everything has been done once, and the words that name its parts."""

    home: Path
    names: dict[str, str]


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    root = tmp_path_factory.mktemp("fuzz")
    folder, home = write_folder(root / "team"), root / "home"
    dev = [{"question": f"Where is desk {i}?", "answers": ["here"], "doc_ids": [f"d{i}"]} for i in range(6)]
    (folder / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in dev))
    labels = [
        {"question": f"q{i}", "response": "Ada", "reference": "Ada", "label": i % 2, "id": str(i)} for i in range(40)
    ]
    (root / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labels))
    rows = [{"user_input": f"q{i}", "response": "a", "reference": "a", "retrieved_contexts": ["c"]} for i in range(4)]
    (root / "ragas.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [
        {"text": f"text {word}", "label": "ab"[i % 3 > 0]}
        for i, word in enumerate(["one", "two", "three", "four", "six", "ten"])
    ]
    (root / "labelled.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"data": str(folder), "embedding": {"langchain": {"factory": "fakes.teams:WordEmbeddings"}}}
    (root / "words.yaml").write_text(json.dumps(settings))
    with pytest.MonkeyPatch.context() as patch, answering() as url:
        names = {
            "team": str(folder),
            "judge": f"eval.judge.url={url} eval.judge.model=org/base",
            "remote": " ".join(remote(url)),
            "labels": str(root / "labels.jsonl"),
            "ragas": str(root / "ragas.jsonl"),
            "labelled": str(root / "labelled.jsonl"),
            "config": str(root / "words.yaml"),
        }
        patch.setenv("ARBITER_HOME", str(home))
        assert command(patch, f"run {folder} {names['remote']}") == 0
        (run,) = (home / "runs").glob("team-*")
        assert command(patch, f"index add words {folder}/docs.jsonl --config {names['config']}") == 0
        with home_database(home) as database:
            decision = Ledger(database).page(Page(limit=1)).rows[0]
        assert command(patch, f"run {folder} {names['remote']} policy.margin=0.1") == 0
        assert command(patch, f"decisions promote {decision.id}") == 0
        # The levels of its races are worked out once in a process: calls that come no more.
        assert command(patch, f"plan {folder} {names['remote']}") == 0
        yield Team(home, {**names, "run": run.name, "decision": decision.id})


def command(patch: pytest.MonkeyPatch, words: str) -> int:
    patch.setattr(sys, "argv", ["arbiter", *words.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def stopped(patch: pytest.MonkeyPatch, words: str, fault: Fault) -> int:
    """The command's exit code when this fault is put into it."""
    before = sys.gettrace()
    threading.settrace(fault)  # type: ignore[arg-type]
    sys.settrace(fault)  # type: ignore[arg-type]
    try:
        return command(patch, words)
    finally:
        sys.settrace(before)
        threading.settrace(before)  # type: ignore[arg-type]


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_ends_in_one_line_whatever_is_raised_where(
    words: str, team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARBITER_DEBUG", "")

    def attempt(name: str, at: int | None, error: BaseException) -> tuple[int, Fault, str]:
        home = tmp_path / name
        shutil.copytree(team.home, home)
        monkeypatch.setenv("ARBITER_HOME", str(home))
        fault = Fault(at, error)
        code = stopped(monkeypatch, words.format(**team.names, new=tmp_path / f"new-{name}"), fault)
        shutil.rmtree(home)
        return code, fault, capfd.readouterr().err

    code, whole, err = attempt("whole", None, ERRORS[0])
    assert code in (0, 1), err
    num_stopped = 0
    for number in range(POINTS):
        at = 1 + number * whole.num_calls // POINTS
        error = ERRORS[number % len(ERRORS)]
        code, fault, err = attempt(f"at{number}", at, error)
        what = f"{error!r} at call {at} of {whole.num_calls}, {fault.place}: {code}, {err}"
        assert "Traceback" not in err, what
        if code in (0, 1) or (words == "doctor" and not err):  # done, or said on standard output, without what failed
            continue
        num_stopped += 1
        last = err.strip().splitlines()[-1]
        assert code == (130 if isinstance(error, KeyboardInterrupt) else 2), what
        assert last.startswith(("error: ", "interrupted; ")), what
    assert num_stopped > POINTS // 2
