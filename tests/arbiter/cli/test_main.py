import json
import sys
from pathlib import Path

import pytest

from arbiter.cli.main import main
from arbiter.cli.words import read_words
from storage.errors import ArbiterError

DOCUMENT = {"id": "desk", "title": "Desk", "text": "The desk opens at nine."}
ROW = {"id": "t1", "question": "Train?", "answers": ["nine"], "doc_ids": ["desk"]}
QUESTION = {"id": "q1", "question": "When?", "answers": ["nine"], "doc_ids": ["desk"]}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARBITER_HOME", str(tmp_path / "home"))
    data = tmp_path / "data"
    data.mkdir()
    for name, row in {"docs": DOCUMENT, "train": ROW, "test": QUESTION}.items():
        (data / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    path = tmp_path / "x.yaml"
    path.write_text("data: data\n")
    return path


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["arbiter", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.slow
def test_check_passes_good_data(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "check", config, "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["documents"], row["training_rows"], row["questions"]) == (1, 1, 1)


@pytest.mark.slow
def test_the_config_may_be_an_option(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "check", "--config", config, "limits.questions=1") == 0
    assert "config and data are fine" in capsys.readouterr().out


def test_a_config_or_folder_may_have_an_equals_sign_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "k=5").mkdir()
    assert read_words("run", [f"{tmp_path}/k=5", "seed=1"], None) == (tmp_path / "k=5", ["seed=1"])
    assert read_words("run", ["seed=1"], tmp_path) == (tmp_path, ["seed=1"])
    with pytest.raises(ArbiterError, match="no config given"):
        read_words("run", [f"data={'x' * 5000}"], None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run"], "no config given; for example: arbiter run configs/demo.yaml"),
        (["run", ""], "the first word is empty; give a config, a data folder, or . for this folder"),
        (["run", "none.yaml"], "no config file 'none.yaml'"),
        (["check", "CONFIG", "limits.question=1", "sede=2"], "2 faults"),
        (["check", "CONFIG", "data=/nowhere/at/all"], "no data folder '/nowhere/at/all'"),
        (["decide", "CONFIG"], "no finished run of this config"),
        (["serve", "CONFIG", "--port", "0"], "no finished run of this config"),
        (["index", "build", "CONFIG", "embedder=org/none"], "model 'org/none' cannot be reached and is not installed"),
        (["tune", "CONFIG", "model=/no/model"], "no model folder '/no/model'"),
        (["chat", "--url", "http://127.0.0.1:9/v1"], "nobody answers at 'http://127.0.0.1:9/v1'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert run(monkeypatch, *(config if word == "CONFIG" else word for word in words)) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    last = streams.err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert "Traceback" not in streams.err


def test_a_taken_port_fails_before_anything_starts(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert run(monkeypatch, "serve", config, "--port", port) == 2
    assert f"cannot listen on 127.0.0.1:{port} (address already in use)" in capsys.readouterr().err


def test_help_names_every_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--help") == 0
    shown = capsys.readouterr().out
    for command in ("doctor", "check", "index", "tune", "evaluate", "decide", "run", "serve", "chat"):
        assert command in shown


@pytest.mark.slow
def test_check_lists_the_metrics_and_refuses_one_that_does_not_exist(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "check", config, "--json") == 0
    assert {"token_f1", "label_accuracy", "json_f1"} <= set(json.loads(capsys.readouterr().out)["metrics"])
    assert run(monkeypatch, "check", config, "policy.metric=token_f2") == 2
    assert "did you mean 'token_f1'?" in capsys.readouterr().err
