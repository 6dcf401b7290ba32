"""Whole commands over a data folder, without a model: what a team sees in its first hour, and how commands end."""

from __future__ import annotations

import errno
import importlib.util
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.faults import ERRORS
from fakes.teams import TEST, TRAIN, answering, remote, write_folder

from arbiter.cli.main import main


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with answering() as address:
        yield address


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARBITER_HOME", str(tmp_path / "home"))
    return write_folder(tmp_path / "team")


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["arbiter", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.slow
def test_a_folder_is_enough_to_check_run_and_decide(
    folder: Path, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "check", folder, *remote(url)) == 0
    streams = capsys.readouterr()
    assert f"'{folder}' is a folder: its data, with the standard settings" in streams.err
    assert "config and data are fine" in streams.out
    assert run(monkeypatch, "run", folder, *remote(url), "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert [arm["name"] for arm in made["arms"]] == ["base", "fewshot", "rag"]
    assert run(monkeypatch, "decide", "--config", folder, *remote(url), "--json") == 0
    streams = capsys.readouterr()
    assert json.loads(streams.out) == made
    assert "warning" not in streams.err
    # The same folder with another question: the decision stands, and the last line says that it is about other data.
    write_folder(folder, test=[*TEST, {"question": "Who has the key?", "answers": ["Ada"]}])
    assert run(monkeypatch, "decide", folder, *remote(url)) == 0
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("warning: the data in ")
    assert "has changed since run" in last


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "no config file '{}/none'; the project's own is configs/demo.yaml, and a data folder needs none"),
        ("~nobody-of-this-name/x", "'~nobody-of-this-name/x' is in the home of a user who is not known here"),
        ("test.jsonl", "'{}/test.jsonl' is no config; give the folder that it lies in: '{}'"),
    ],
)
def test_what_is_neither_config_nor_folder_is_said(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    message: str,
) -> None:
    for command in ("check", "run"):
        assert run(monkeypatch, command, name if name.startswith("~") else folder / name) == 2
    assert message.replace("{}", str(folder)) in capsys.readouterr().err


class Full(io.StringIO):
    """As /dev/full."""

    def write(self, _text: str, /) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_result_is_written_to_whatever_standard_output_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARBITER_HOME", str(tmp_path / "hö"))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written := io.BytesIO(), encoding="ascii"))
    assert run(monkeypatch, "runs", "list") == 0
    assert rb"no runs in '" in written.getvalue()
    assert rb"/h\xf6'" in written.getvalue()
    for stdout, reason in ((None, "it is closed"), (Full(), "no space left on device")):
        monkeypatch.setattr(sys, "stdout", stdout)
        assert run(monkeypatch, "runs", "list", "--json") == 2
        line = f"error: the result cannot be written to standard output: {reason}; send it elsewhere"
        assert capsys.readouterr().err.startswith(line)


@pytest.mark.parametrize("stderr", [None, Full()])
def test_an_error_that_nobody_can_hear_is_an_exit_code(
    stderr: Full | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARBITER_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "stderr", stderr)
    assert run(monkeypatch, "check", "nowhere") == 2


@pytest.mark.slow
def test_check_lists_the_faults_of_config_models_and_data_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "train.jsonl").write_text("{torn\n")
    (folder / "test.jsonl").write_text('{"question": "When?"}\n')
    words = ["policy.metric=token_f2", "model=org/none", "embedder=/no/embedder"]
    assert run(monkeypatch, "check", folder, *words) == 2
    err = capsys.readouterr().err
    for part in (
        "train.jsonl: 1 faulty",
        "test.jsonl: no column of answers is known among question",
        "token_f2",
        "model 'org/none' cannot",
        "'/no/embedder'",
    ):
        assert part in err
    assert err.strip().splitlines()[-1] == "error: 4 faults in config and data; mend them and check again"
    # A config that is faulty itself does not hide what is wrong with its data.
    assert run(monkeypatch, "check", folder, "sede=2") == 2
    err = capsys.readouterr().err
    assert "sede: unknown key (did you mean 'seed'?)" in err
    assert "train.jsonl: 1 faulty" in err


def test_check_says_once_that_there_is_no_data_to_look_at(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for data, fault in (("null", "data must be a path, not empty"), ('"a\\0b"', "data: embedded null byte")):
        config = folder / "x.yaml"
        config.write_text(f"data: {data}\n")
        assert run(monkeypatch, "check", config) == 2
        assert capsys.readouterr().err == f"error: {config}: 1 fault: {fault}\n"


def test_check_finds_what_other_packages_bring_before_a_run_does(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["embedding.langchain.factory=nowhere:Embeddings", "index.store.factory=os:nothing"]
    monkeypatch.setenv("ARBITER_DATABASE", "rubbish")
    assert run(monkeypatch, "check", folder, *words, "index.database=postgres//u:hidden@h/d") == 2
    err = capsys.readouterr().err
    for part in ("needs the module 'nowhere'", "'os:nothing' is not there", "the database URL cannot be used"):
        assert part in err
    assert "4 faults" in err
    assert "hidden" not in err


@pytest.mark.slow  # it imports torch, and times steps
def test_check_and_a_forecast_name_every_adapter_that_cannot_be_trained(
    folder: Path, url: str, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    words = [*remote(url)[:3], f"model={tiny_base}"]
    assert run(monkeypatch, "check", folder, *words) == 0
    words += ["adapters.raft={method: c3a, block: 12, passages: 2}", "adapters.closed_book.optimizer=adalomo"]
    capsys.readouterr()
    assert run(monkeypatch, "check", folder, *words) == 2
    err = capsys.readouterr().err
    unfit = (
        "adapters.raft cannot be trained: block (12) must divide the sides of the base model's layers (16, 32, 64); "
        "set it to 8"
    )
    lacking = "adapters.closed_book cannot be trained: optimizer adalomo needs a CUDA GPU"
    assert f"fault: {unfit}\n" in err
    assert f"fault: {lacking}" in err
    assert "error: 2 faults in config and data" in err
    assert run(monkeypatch, "tune", folder, *words, "--forecast", "--json") == 2
    shown = json.loads(capsys.readouterr().out)
    assert shown["raft"] == {"obstacle": unfit}
    assert shown["closed_book"]["obstacle"].startswith(lacking)
    assert run(monkeypatch, "tune", folder, *words[:-1], "--forecast") == 2
    out = capsys.readouterr().out.splitlines()
    assert [line.partition(" will take about ")[0] for line in out] == ["closed_book", unfit]
    assert run(monkeypatch, "tune", folder, *words[:-2], "--forecast", "--json") == 0
    assert all(one["seconds"] > 0 for one in json.loads(capsys.readouterr().out).values())


@pytest.mark.slow
def test_a_check_of_the_usual_trainings_does_not_wait_for_torch(folder: Path, tiny_base: Path) -> None:
    words = ["arbiter", "check", str(folder), f"model={tiny_base}", f"embedder={tiny_base}"]
    code = f"import sys; sys.argv = {words!r}\nfrom arbiter.cli.main import main\n"
    code += "try: main()\nfinally: print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "config and data are fine; arms: base, fewshot, rag, tuned, tuned_rag, hybrid" in told.stdout
    assert not {"torch", "transformers", "peft"}.intersection(told.stdout.split())


@pytest.mark.slow  # it trains
def test_an_adapter_that_is_there_needs_nothing_that_trains_it(
    folder: Path, url: str, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names, installed = ("closed_book", "raft"), importlib.util.find_spec
    words = [*remote(url)[:3], f"model={tiny_base}"]
    words += [f"adapters.{name}.{word}" for name in names for word in ("optimizer=schedule_free", "epochs=1")]
    assert run(monkeypatch, "tune", folder, *words) == 0
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "schedulefree" else installed(name))
    capsys.readouterr()
    assert run(monkeypatch, "check", folder, *words, "--json") == 0
    notes = [note.partition("@") for note in json.loads(capsys.readouterr().out)["notes"]]
    for name in names:
        start = f"adapters.{name} cannot be trained here; {name.replace('_', '-')}"
        assert [end[8:] for begin, _, end in notes if begin == start] == [" will do as long as its rows are the same"]
    assert run(monkeypatch, "tune", folder, *words) == 0
    # Without retrieving passages it is known of the rows without any that they are others.
    write_folder(folder, train=[{**row, "answers": ["Bo"]} for row in TRAIN])
    lacking = "adapters.closed_book cannot be trained: optimizer schedule_free needs the package schedulefree"
    for command in ("check", "tune"):
        capsys.readouterr()
        assert run(monkeypatch, command, folder, *words) == 2
        err = capsys.readouterr().err
        assert lacking in err
        assert ("adapters.raft cannot be trained: optimizer" in err) == (command == "tune")
    assert run(monkeypatch, "check", folder, *words, "seed=1") == 2
    assert "adapters.raft cannot be trained: optimizer" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("url", ["notaurl", "ftp://host/v1", "http://", "http://[::1", "http://host:99999/v1"])
def test_an_address_that_nobody_can_ask_is_a_fault_of_the_config(
    folder: Path, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "check", folder, f"engine.url={url}", f"eval.judge.url={url}", "eval.judge.model=m") == 2
    err = capsys.readouterr().err
    assert f"engine.url must be a URL as http://HOST:PORT/v1, not {url!r}" in err
    assert f"eval.judge.url must be a URL as http://HOST:PORT/v1, not {url!r}" in err


def test_check_says_what_a_run_would_decide_by(
    folder: Path, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labelled = [{"question": f"Is it {i}?", "answers": ["yes" if i % 4 else "no"]} for i in range(64)]
    write_folder(folder, test=labelled)
    assert run(monkeypatch, "check", folder, *remote(url)) == 0
    out = capsys.readouterr().out
    assert "decides: token_f1, differences from 0.05 on" in out
    assert "labels: 2 over 64 questions: yes 75%, no 25%" in out
    assert "policy.metric=label_accuracy" in out
    assert (
        "answers may have 32 tokens (sampling.max_tokens): 95% of the training rows' answers have about 1 or fewer"
        in out
    )
    assert "64 questions can show a difference of" in out
    assert run(monkeypatch, "check", folder, *remote(url), "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert row["labels"] == {"": {"yes": 48, "no": 16}}
    assert (row["max_tokens"], row["metric"], row["models"]["base"]["path"]) == (32, "token_f1", None)


class Failing(io.StringIO):
    """Standard error that raises once, at its n-th line."""

    def __init__(self, at: int, error: BaseException) -> None:
        super().__init__()
        self._left, self._error = at, error

    def write(self, text: str) -> int:
        self._left -= 1
        if self._left == 0:
            raise self._error
        return super().write(text)


@pytest.mark.slow
def test_every_stage_of_a_run_ends_in_one_line_whatever_it_raises(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "team")
    monkeypatch.setenv("ARBITER_DEBUG", "")
    num_failed = 0
    for at in range(1, 200):
        monkeypatch.setenv("ARBITER_HOME", str(tmp_path / f"home{at}"))
        error = ERRORS[at % len(ERRORS)]
        stream = Failing(at, error)
        monkeypatch.setattr(sys, "stderr", stream)
        code = run(monkeypatch, "run", folder, *remote(url), "--json")
        if code == 0:
            break
        num_failed += 1
        last = stream.getvalue().strip().splitlines()[-1]
        assert code == (130 if isinstance(error, KeyboardInterrupt) else 2), (at, last)
        assert last.startswith(("error: ", "interrupted; ")), (at, last)
        assert "Traceback" not in stream.getvalue(), at
    # Each line that a run writes is a stage: reading, indexing twice, asking, scoring.
    assert 10 < num_failed < 60
