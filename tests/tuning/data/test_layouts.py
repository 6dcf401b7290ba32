from __future__ import annotations

import json
from pathlib import Path

import openpyxl
import pyarrow
import pyarrow.parquet
import pytest

from storage.errors import ArbiterError
from tuning.data.examples import load_examples
from tuning.data.layouts import Part, find_part, only_rows, rows_not_read
from tuning.errors import TuningError

ROWS = [{"question": f"Q{i}?", "answer": "x"} for i in range(3)]


def parquet(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "train.jsonl",
        "train.csv",
        "train.json",
        "train.tsv",
        "train.xlsx",
        "train.parquet",
        "train-00000-of-00001.parquet",
        "data/train-00000-of-00001.parquet",
        "data/train.jsonl",
        "plain_text/train-00000-of-00001.parquet",
        "train-v2.0.json",
        "Train.CSV",
        "training.jsonl",
        "train/rows.jsonl",
        "Train/rows-00000-of-00001.parquet",
        "faq_train.csv",
        "gsm8k.train.jsonl",
        "my-TRAIN-rows.xlsx",
    ],
)
def test_a_part_is_found_where_its_layout_has_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    assert find_part(tmp_path, "train") == tmp_path / name
    assert find_part(tmp_path, "test") is None


def test_the_first_of_several_numbered_files_stands_for_all(tmp_path: Path) -> None:
    for i in range(2):
        parquet(tmp_path / "data" / f"train-0000{i}-of-00002.parquet")
    found = find_part(tmp_path, "train")
    assert found == tmp_path / "data" / "train-00000-of-00002.parquet"
    assert len(load_examples(found)) == 6


def test_validation_rows_are_dev_questions(tmp_path: Path) -> None:
    parquet(tmp_path / "data" / "validation-00000-of-00001.parquet")
    assert find_part(tmp_path, "dev") == tmp_path / "data" / "validation-00000-of-00001.parquet"


def test_what_datasets_saved_is_found_by_split_or_as_one(tmp_path: Path) -> None:
    import datasets

    rows = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict({"train": rows, "validation": rows}).save_to_disk(str(tmp_path / "splits"))
    rows.save_to_disk(str(tmp_path / "whole"))
    assert find_part(tmp_path / "splits", "train") == tmp_path / "splits" / "train"
    assert find_part(tmp_path / "splits", "dev") == tmp_path / "splits" / "validation"
    assert find_part(tmp_path / "splits", "questions") is None
    assert find_part(tmp_path / "whole", "questions") == tmp_path / "whole"
    assert len(load_examples(tmp_path / "splits" / "train")) == len(load_examples(tmp_path / "whole")) == 3
    (arrow,) = (tmp_path / "whole").glob("*.arrow")
    assert len(load_examples(arrow)) == 3


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (("train.jsonl", "train.parquet"), r"has both train\.jsonl and train\.parquet; keep one of them"),
        (("train.jsonl", "data/train-00000-of-00001.parquet"), r"has both train\.jsonl and data/train-00000-of-00001"),
        (
            ("one/train-00000-of-00001.parquet", "two/train-00000-of-00001.parquet"),
            "has train rows in one/, two/; give one of these as the data",
        ),
        (("a_train.csv", "b_train.csv"), r"has both a_train\.csv and b_train\.csv; keep one of them"),
        (("train/a.csv", "train/b.csv"), r"train' has several files of rows, a\.csv, b\.csv; put them into one"),
        (("train.jsonl.gz",), r"train.jsonl.gz' is not read, and there is no train.jsonl or train.csv"),
    ],
)
def test_what_is_open_is_asked(tmp_path: Path, names: tuple[str, ...], fault: str) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(TuningError, match=fault):
        find_part(tmp_path, "train")


@pytest.mark.parametrize(("name", "part"), [("test.yaml", "test"), ("questions.yml", "questions")])
def test_yaml_is_a_part_where_it_holds_tests(tmp_path: Path, name: str, part: Part) -> None:
    (tmp_path / name).write_text("data: x\nseed: 1\n")  # a config
    assert find_part(tmp_path, part) is None
    case = {"vars": {"question": "When?"}, "assert": [{"type": "equals", "value": "nine"}]}
    (tmp_path / name).write_text(json.dumps({"tests": [case]}))
    assert find_part(tmp_path, part) == tmp_path / name


def test_a_config_of_promptfoo_holds_the_test_questions(tmp_path: Path) -> None:
    (tmp_path / "promptfooconfig.yaml").touch()
    assert find_part(tmp_path, "test") == tmp_path / "promptfooconfig.yaml"
    (tmp_path / "test.jsonl").touch()
    assert find_part(tmp_path, "test") == tmp_path / "test.jsonl"


def test_a_link_that_leads_nowhere_is_said(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").symlink_to("gone.parquet")
    with pytest.raises(ArbiterError, match=r"is a link to 'gone\.parquet', which leads nowhere"):
        find_part(tmp_path, "train")


def test_a_name_alone_goes_before_one_among_other_words(tmp_path: Path) -> None:
    for name in ("train.jsonl", "old_train.csv", "train_docs.jsonl", "train_test.csv", ".train.csv", "constraint.csv"):
        (tmp_path / name).touch()
    assert find_part(tmp_path, "train") == tmp_path / "train.jsonl"
    (tmp_path / "train.jsonl").unlink()
    assert find_part(tmp_path, "train") == tmp_path / "old_train.csv"
    (tmp_path / "old_train.csv").unlink()
    assert find_part(tmp_path, "train") is None


def test_eval_rows_are_the_test_unless_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "eval.jsonl").touch()
    assert (find_part(tmp_path, "test"), find_part(tmp_path, "dev")) == (tmp_path / "eval.jsonl", None)
    (tmp_path / "test.jsonl").touch()
    assert find_part(tmp_path, "test") == tmp_path / "test.jsonl"
    assert find_part(tmp_path, "dev") == tmp_path / "eval.jsonl"


def test_one_file_of_rows_beside_little_else_is_all_there_is(tmp_path: Path) -> None:
    for name in ("FAQ Export.csv", "README.md", "docs.jsonl", ".hidden.csv"):
        (tmp_path / name).touch()
    assert only_rows(tmp_path) == tmp_path / "FAQ Export.csv"
    (tmp_path / "report.pdf").touch()
    assert only_rows(tmp_path) is None


def test_files_of_rows_that_are_no_part_are_named(tmp_path: Path) -> None:
    for name in ("train.jsonl", "faq.csv", "labels.csv", "notes.txt", "config.json", "docs.csv"):
        (tmp_path / name).touch()
    assert rows_not_read(tmp_path, [tmp_path / "train.jsonl"]) == ["faq.csv"]
    shards = [tmp_path / f"test-0000{i}-of-00002.parquet" for i in range(2)]
    for path in shards:
        path.touch()
    assert rows_not_read(tmp_path, [tmp_path / "train.jsonl", shards[0]]) == ["faq.csv"]


def test_a_config_whose_question_is_open_holds_tests(tmp_path: Path) -> None:
    (tmp_path / "test.yaml").write_text("tests: [{vars: {a: x, b: y}}, {vars: {a: z, b: w}}]\n")
    assert find_part(tmp_path, "test") == tmp_path / "test.yaml"


def workbook(path: Path, *titles: str, hidden: str = "") -> Path:
    book = openpyxl.Workbook()
    for title in titles:
        sheet = book.create_sheet(title)
        sheet.append(["question", "answer"])
        sheet.append([f"What is on {title}?", title])
        sheet.sheet_state = "hidden" if title == hidden else "visible"
    del book["Sheet"]
    book.save(path)
    return path


def test_sheets_that_are_called_as_parts_are_those(tmp_path: Path) -> None:
    book = workbook(tmp_path / "faq.xlsx", "notes", "Train", "Test", "Validation", "guard", hidden="guard")
    parts: dict[Part, str] = {"train": "Train", "test": "Test", "dev": "Validation"}
    for part, title in parts.items():
        path = find_part(tmp_path, part)
        assert path == book / title
        (row,) = load_examples(path)
        assert (row.id, row.answer) == (f"{title}-2", title)
    assert find_part(tmp_path, "guard") is None
    assert rows_not_read(tmp_path, [book / "Train", book / "Test"]) == []


def test_a_file_of_a_part_goes_before_a_sheet_and_two_sheets_are_refused(tmp_path: Path) -> None:
    workbook(tmp_path / "faq.xlsx", "train", "test")
    (tmp_path / "train.csv").write_text("question,answer\nWhen?,at ten\n")
    assert find_part(tmp_path, "train") == tmp_path / "train.csv"
    workbook(tmp_path / "more.xlsx", "test")
    with pytest.raises(TuningError, match=r"has both faq\.xlsx/test and more\.xlsx/test"):
        find_part(tmp_path, "test")


def test_what_is_no_workbook_has_no_sheets(tmp_path: Path) -> None:
    (tmp_path / "faq.xlsx").write_bytes(b"PK\x03\x04 and then nothing")
    assert find_part(tmp_path, "train") is None
