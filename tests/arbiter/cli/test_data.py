from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from fakes.teams import write_folder

from arbiter.cli.main import main
from tests.arbiter.data_stage.conftest import ROWS, TEST

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARBITER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ARBITER_EMBEDDING__LANGCHAIN__FACTORY", "fakes.teams:WordEmbeddings")
    return write_folder(tmp_path / "rows", train=ROWS, test=TEST)


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["arbiter", "data", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("words", "rows_out"),
    [
        (["dedupe"], {"train": 7}),
        (["dedupe", "--exact"], {"train": 7}),
        (["balance"], {"train": 12}),
        (["balance", "--how", "undersample", "seed=2"], {"train": 6}),
        (["select", "--rows", "3"], {"train": 3}),
        (["mask", "--kinds", "email"], {"train": 8, "test": 1}),
    ],
)
def test_every_transform_writes_a_folder_and_says_what_it_did(
    words: list[str],
    rows_out: dict[str, int],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = tmp_path / "made"
    assert run(monkeypatch, words[0], folder, made, *words[1:], "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["folder"], shown["rows_out"]) == (str(made), rows_out)
    command = json.loads((made / "provenance.json").read_text())["command"]
    assert command == " ".join(["arbiter", "data", words[0], str(folder), str(made), *words[1:], "--json"])
    assert run(monkeypatch, words[0], folder, made, *words[1:]) == 2
    assert "error: " in capsys.readouterr().err
    assert run(monkeypatch, words[0], folder, made, *words[1:], "--force") == 0


def test_a_file_is_split_and_a_config_names_its_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "made"
    assert run(monkeypatch, "split", folder / "train.jsonl", made, "--test", "0.25", "seed=1") == 0
    assert "test.jsonl: 2 rows" in capsys.readouterr().out
    (tmp_path / "x.yaml").write_text("data: rows\nseed: 4\n")
    assert run(monkeypatch, "balance", tmp_path / "x.yaml", tmp_path / "other", "--json") == 0
    assert json.loads(capsys.readouterr().out)["seed"] == 4


def test_check_exits_2_when_a_run_would_refuse_something(
    folder: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("check", folder, f"model={tiny_base}", "arms.hybrid=null", "--json")
    assert run(monkeypatch, *words) == 0
    assert json.loads(capsys.readouterr().out)["faults"] == []
    (folder / "test.jsonl").write_text(json.dumps({"question": "Is he getting a card soon", "answers": ["x"]}) + "\n")
    assert run(monkeypatch, *words) == 2
    out, err = capsys.readouterr()
    assert len(json.loads(out)["faults"]) == 1
    assert "fault: 1 training rows repeat an evaluation question" in err


def test_preview_marks_tokens_and_refuses_by_number(
    folder: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "preview", folder, f"model={tiny_base}", "--row", "2") == 0
    assert "line 2, a1: " in capsys.readouterr().out
    (tiny_template := folder.parent / "endless").mkdir()
    for path in tiny_base.iterdir():
        (tiny_template / path.name).write_bytes(path.read_bytes())
    (tiny_template / "chat_template.jinja").write_text("{% for m in messages %}[user] {{ m['content'] }} {% endfor %}")
    assert run(monkeypatch, "preview", folder, f"model={tiny_template}", "--rows", "2") == 2
    err = capsys.readouterr().err.splitlines()
    assert err[-2].startswith("refused: line 1: ")
    assert err[-1].startswith("error: line 2: the base model's chat template ends an answer without")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dedupe", "", "made"], "a path is empty; give the rows and a folder to write to"),
        (["dedupe", "FOLDER", ""], "a path is empty"),
        (["dedupe", "nowhere", "made"], "no data folder '"),
        (["mask", "FOLDER", "made", "--kinds", "EMIAL"], "called 'EMIAL' (did you mean 'EMAIL'?)"),
        (["mask", "FOLDER", "made", "--kinds", ","], "--kinds is empty"),
        (["select", "FOLDER", "made"], "give either --rows or --share"),
        (["split", "FOLDER", "made"], "has evaluation questions in test.jsonl, so there is nothing to split"),
        (["balance", "FOLDER", "made", "sede=1"], "unknown key"),
        (["check"], "no config given; for example: arbiter data check configs/demo.yaml"),
        (["check", "FOLDER", "--terms", "none.csv"], "cannot read 'none.csv'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    words: list[str],
    message: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *(str(folder) if word == "FOLDER" else word for word in words)) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "made").exists()
