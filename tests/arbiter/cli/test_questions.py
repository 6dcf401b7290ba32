from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakes.teachers import FakeTeacher, teaching, write_documents
from fakes.teams import remote

from arbiter.cli.main import main

pytestmark = pytest.mark.slow


@pytest.fixture
def documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARBITER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ARBITER_EMBEDDING__LANGCHAIN__FACTORY", "fakes.teams:WordEmbeddings")
    return write_documents(tmp_path / "docs")


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["arbiter", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def words_of(server: FakeTeacher) -> list[str]:
    return ["--teacher", server.url, "--teacher-model", "large", "--questions", "3", "--examples", "3"]


def test_questions_are_made_looked_through_and_run_on(
    documents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "made"
    with teaching() as server:
        words = ["data", "generate", documents, made, *words_of(server), "--kinds", "fact,yes/no", "--seed", "2"]
        assert run(monkeypatch, *words, "--json") == 0
        shown = json.loads(capsys.readouterr().out)
        assert (shown["questions"], shown["seed"], set(shown["kinds"])) == (
            {"test": 3, "train": 3},
            2,
            {"fact", "yes-no"},
        )
        monkeypatch.setattr(sys, "stdin", io.StringIO("a\nr\nq\n"))
        assert run(monkeypatch, "data", "review", shown["file"], "--json") == 0
        ruled = json.loads(capsys.readouterr().out)
        assert (ruled["accepted"], ruled["rejected"], ruled["proposed"], ruled["test"]) == (1, 1, 4, 1)
        assert run(monkeypatch, "data", "review", made, "--accept-all") == 0
        assert "accepted without a look" in capsys.readouterr().out
        assert run(monkeypatch, "data", "check", made, *remote(server.url)) == 0
        out = capsys.readouterr().out
        assert "2 in test.jsonl" in out
        assert "3 in train.jsonl" in out


def test_a_bare_folder_of_documents_runs_from_end_to_end(
    documents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with teaching() as server:
        given = [documents, *remote(server.url), "generate.questions=6", "generate.examples=0"]
        assert run(monkeypatch, "evaluate", *given) == 2
        assert "holds documents and no questions; make some" in capsys.readouterr().err
        assert run(monkeypatch, "run", *given, "--json") == 0
        out, err = capsys.readouterr()
        assert "holds documents and no questions: they are made from them now" in err
        shown = json.loads(out)
        assert {arm["name"] for arm in shown["arms"]} == {"base", "rag"}
        assert shown["decision"]["arm"] == "rag"
        card = (Path(shown["run"]) / "report.html").read_text()
        assert "6 of the 6 questions were written by a model from the documents; 6 of them were not reviewed" in card
        assert run(monkeypatch, "decide", *given) == 0
        assert "6 of the 6 questions were written by a model" in capsys.readouterr().out


def test_a_killed_command_goes_on_where_it_stopped(documents: Path, tmp_path: Path) -> None:
    with teaching(delay_s=0.2) as server:
        words = ["data", "generate", str(documents), str(tmp_path / "made"), *words_of(server), "--json"]
        code = "import sys; from arbiter.cli.main import main; sys.argv[0] = 'arbiter'; main()"
        path = os.pathsep.join(sys.path)
        command = [sys.executable, "-c", code, *words, "generate.teacher.concurrency=1"]
        first = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while len(server.bodies) < 5:
            assert first.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert not (tmp_path / "made").exists()
        asked = server.asked
        server.delay_s = 0.0
        second = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=300, check=False
        )
        assert second.returncode == 0, second.stderr[-2000:]
    assert json.loads(second.stdout)["questions"] == {"test": 3, "train": 3}
    # Only what was in flight may have been asked again.
    again = [text for text in asked if server.asked.count(text) > 1]
    assert len(again) <= 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["generate", "", "made"], "a path is empty"),
        (["generate", "DOCS", "made", "--kinds", "facts"], "generate.kinds"),
        (["generate", "DOCS", "made", "--kinds", ""], "kinds is empty"),
        (["generate", "DOCS", "made", "--teacher", "nowhere"], "must be a URL as http://HOST:PORT/v1"),
        (["generate", "DOCS", "made", "--teacher", "http://127.0.0.1:9/v1"], "generate.teacher.model"),
        (["generate", "DOCS", "made", "--questions", "0", "--examples", "0"], "questions and examples are both 0"),
        (["generate", "nowhere", "made"], "nowhere"),
        (["generate", "nothing", "made", "--index"], "nothing"),
        (["review", "nowhere.jsonl"], "no file 'nowhere.jsonl'; check the path"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    words: list[str],
    message: str,
    documents: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "data", *(str(documents) if word == "DOCS" else word for word in words)) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert not (tmp_path / "made").exists()
