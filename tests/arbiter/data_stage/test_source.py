from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from fakes.teams import write_folder

from arbiter.config.loading import load_config
from arbiter.data_stage.source import open_source
from storage.errors import ArbiterError
from tests.arbiter.data_stage.conftest import ROWS, TEST

CONFIG = load_config(None, [], {})


def test_training_rows_of_a_folder_and_what_lies_beside_them(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "rows", train=ROWS, test=TEST)
    for name in ("removed.jsonl", "provenance.json", ".hidden"):
        (folder / name).write_text("{}\n")
    (folder / "more").mkdir()
    (folder / "more" / "a.md").write_text("a")
    source = open_source(folder, CONFIG)
    assert (source.part, len(source.rows), source.rows[0].line) == ("train", 8, 1)
    assert set(source.beside()) == {"docs.jsonl", "test.jsonl", "more/a.md"}
    assert set(source.beside(without=[folder / "test.jsonl"])) == {"docs.jsonl", "more/a.md"}
    assert [question.id for question in source.asked(CONFIG)["test"]] == ["q0"]


def test_one_file_is_what_is_split(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "rows", train=None, test=None)
    (folder / "questions.csv").write_text("Frage,Antwort\nWann?,neun\nWo?,hier\n")
    said: list[str] = []
    source = open_source(folder, CONFIG, say=said.append, is_split=True)
    assert (source.part, [row.line for row in source.rows]) == ("questions", [2, 3])
    assert said == ["questions.csv is a table: question <- Frage, answer <- Antwort"]
    assert source.rows[0].as_written()["answers"] == ["neun"]


def test_a_file_stands_alone(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "rows", train=ROWS) / "train.jsonl"
    source = open_source(path, CONFIG)
    assert (source.folder, source.beside(), source.asked(CONFIG)) == (None, {}, {})


def test_all_numbered_files_are_the_rows(tmp_path: Path) -> None:
    data = tmp_path / "hub" / "data"
    data.mkdir(parents=True)
    for i in range(2):
        table = pyarrow.Table.from_pylist([{"question": f"When {i}?", "answer": "nine"}])
        pyarrow.parquet.write_table(table, data / f"train-0000{i}-of-00002.parquet")
    source = open_source(tmp_path / "hub", CONFIG)
    assert len(source.rows) == 2
    assert source.beside() == {}


def test_rows_of_no_use_are_kept_apart(tmp_path: Path) -> None:
    good = {"messages": [{"role": "user", "content": "When?"}, {"role": "assistant", "content": "At nine."}]}
    tool = {"messages": [{"role": "user", "content": "When?"}, {"role": "tool", "content": "9"}]}
    path = tmp_path / "chat.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (good, tool)))
    (left,) = open_source(path, CONFIG).left_out
    assert (left.line, left.reason, left.row) == (2, "a tool is called, and no arm calls any", tool)


@pytest.mark.parametrize(
    ("parts", "is_split", "message"),
    [
        ({"train": None}, False, "has no training rows; add train.jsonl"),
        ({}, True, r"has evaluation questions in test\.jsonl, so there is nothing to split"),
        ({"train": [{"question": "", "answers": ["x"]}]}, False, "1 faulty rows: line 1: "),
    ],
)
def test_what_cannot_be_worked_on_is_said(
    tmp_path: Path, parts: dict[str, list[dict[str, object]] | None], is_split: bool, message: str
) -> None:
    folder = write_folder(tmp_path / "rows", **parts)
    with pytest.raises(ArbiterError, match=message):
        open_source(folder, CONFIG, is_split=is_split)


def test_two_files_are_not_guessed_between(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "rows", test=None, questions=TEST)
    with pytest.raises(ArbiterError, match=r"has both train\.jsonl and questions\.jsonl; give one of the files"):
        open_source(folder, CONFIG)
