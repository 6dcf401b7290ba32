from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from storage.errors import ArbiterError, StorageError
from tuning.data.formats.given import Row, spelt
from tuning.data.table_files import read_table

ROWS = [{"question": "When?", "contexts": ["at nine", "it's late"]}, {"question": "Who?", "contexts": []}]
CSV = 'question,contexts\nWhen?,"[\'at nine\', ""it\'s late""]"\nWho?,[]\n'


def save_dataset(path: Path) -> Path:
    import datasets

    datasets.Dataset.from_list(ROWS).save_to_disk(str(path))
    return path


def put(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def write_parquet(path: Path) -> Path:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    return path


WRITERS: dict[str, Callable[[Path], Path]] = {
    "lines": lambda folder: put(folder / "x.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS)),
    "list": lambda folder: put(folder / "x.json", json.dumps(ROWS)),
    "results": lambda folder: put(folder / "x.json", json.dumps({"results": ROWS, "metrics": {}})),
    "columns": lambda folder: put(folder / "x.json", json.dumps({k: [row[k] for row in ROWS] for k in ROWS[0]})),
    "server rows": lambda folder: put(
        folder / "x.json", json.dumps({"rows": [{"row_idx": i, "row": row} for i, row in enumerate(ROWS)]})
    ),
    "list of server rows": lambda folder: put(
        folder / "x.json", json.dumps([{"row_idx": i, "row": row} for i, row in enumerate(ROWS)])
    ),
    "csv": lambda folder: put(folder / "x.CSV", CSV),
    "parquet": lambda folder: write_parquet(folder / "x.parquet"),
    "saved data set": lambda folder: save_dataset(folder / "saved"),
}


def read_rows(path: Path) -> tuple[list[tuple[str, Row]], list[str]]:
    """The rows with their places, and the faults."""
    rows: list[tuple[str, Row]] = []
    faults: list[str] = []
    table = read_table(path)
    for number, row in table.rows:
        place = f"{table.unit} {number}"
        if isinstance(row, str):
            faults.append(f"{place}: {row}")
        else:
            rows.append((place, row))
    return rows, faults


@pytest.mark.parametrize("kind", WRITERS)
def test_the_same_rows_come_out_of_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    rows, faults = read_rows(WRITERS[kind](tmp_path))
    assert [{name: spelt(value) for name, value in row.items()} for _, row in rows] == ROWS
    assert faults == []


def test_faulty_rows_are_named_and_the_others_read(tmp_path: Path) -> None:
    rows, faults = read_rows(put(tmp_path / "x.jsonl", '{"a": 1}\nnot json\n\n[1]\n{"a": 2}\n'))
    assert rows == [("line 1", {"a": 1}), ("line 5", {"a": 2})]
    assert [fault.split(":")[0] for fault in faults] == ["line 2", "line 4"]
    rows, faults = read_rows(put(tmp_path / "x.json", '[{"a": 1}, 2]'))
    assert (len(rows), faults) == (1, ["row 2: not an object"])
    rows, faults = read_rows(put(tmp_path / "x.csv", "a,b\n1,2\n1,2,3\n"))
    assert [fault.partition(";")[0] for fault in faults] == ["row 3: 3 cells for 2 columns"]
    assert len(rows) == 1


def test_long_cells_are_read(tmp_path: Path) -> None:
    (row,), _ = read_rows(put(tmp_path / "x.csv", f"a\n{'x' * 200_000}\n"))
    assert len(row[1]["a"]) == 200_000


def test_cells_that_only_look_like_lists_stay_text(tmp_path: Path) -> None:
    rows, _ = read_rows(put(tmp_path / "x.csv", 'a,b\n"[1] and [2]",\n"[open(1)]",x\n'))
    assert [row for _, row in rows] == [{"a": "[1] and [2]"}, {"a": "[open(1)]", "b": "x"}]
    assert [spelt(row["a"]) for _, row in rows] == ["[1] and [2]", "[open(1)]"]


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("x.xml", b"<a/>", "it is of another kind; kinds read: .jsonl, .json, .csv, .parquet"),
        ("x.json", b"{", "cannot read rows from .*x.json': Expecting property name"),
        ("x.json", b'{"a": 1}', "it holds no rows"),
        ("x.json", b"3", "it holds no rows"),
        ("x.json", '{"a": "é"}'.encode("cp1252"), "not UTF-8 .byte 0xe9 at 8.; save it as UTF-8"),
        ("x.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "fetch it: git lfs pull"),
        ("x.csv", b'a\n"b\n', "not valid CSV"),
        ("x.parquet", b"PAR1", "cannot read rows from .*x.parquet': Parquet"),
        ("x.jsonl", b"\x1f\x8b\x08", "is no text but gzip; unpack it, or name it by its kind"),
        ("x.csv", b"PK\x03\x04", "is no text but zip, or a workbook; unpack it"),
        (
            "x.yaml",
            b"a: [b\n",
            "cannot read rows from .*x.yaml': did not find expected ',' or '\\]' in line 2, column 1",
        ),
    ],
)
def test_a_file_that_is_no_table_is_one_line(tmp_path: Path, name: str, content: bytes, fault: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ArbiterError, match=fault):
        read_rows(tmp_path / name)


def test_a_missing_file_and_a_folder_without_a_data_set_are_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no file"):
        read_rows(tmp_path / "x.json")
    with pytest.raises(StorageError, match="cannot read rows from"):
        read_rows(tmp_path)


def test_all_files_that_a_first_one_stands_for_are_read_whatever_they_hold(tmp_path: Path) -> None:
    for i in range(2):
        put(tmp_path / f"train-0000{i}-of-00002.jsonl", f'{{"a": "{i}"}}\n{{"a": "x"}}\n')
        put(tmp_path / f"train-0000{i}-of-00002.csv", f"a\n{i}\n")
    rows, _ = read_rows(tmp_path / "train-00000-of-00002.jsonl")
    assert rows == [("row 1", {"a": "0"}), ("row 2", {"a": "x"}), ("row 3", {"a": "1"}), ("row 4", {"a": "x"})]
    rows, _ = read_rows(tmp_path / "train-00000-of-00002.csv")
    assert rows == [("row 1", {"a": "0"}), ("row 2", {"a": "1"})]


def test_what_json_cannot_say_is_text(tmp_path: Path) -> None:
    columns = {
        "day": pyarrow.array([date(2024, 5, 1)]),
        "price": pyarrow.array([Decimal("1.50")]),
        "text": pyarrow.array([b"at nine"]),
        "whole": pyarrow.array([3]),
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "x.parquet")
    ((_, row),), _ = read_rows(tmp_path / "x.parquet")
    assert row == {"day": "2024-05-01", "price": "1.50", "text": "at nine", "whole": 3}


def test_aliases_that_stand_for_more_than_there_is_room_for_are_refused(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{after}: &{after} [{', '.join(['*' + name] * 9)}]" for name, after in pairwise("abcdefghi")]
    path = put(tmp_path / "x.yaml", "\n".join([*lines, "rows: [{question: When?, answer: nine, more: *i}]\n"]))
    with pytest.raises(StorageError, match="its aliases repeat more than can be read; write out what is meant"):
        read_table(path)


def test_yaml_may_have_question_marks_in_braces(tmp_path: Path) -> None:
    rows, _ = read_rows(put(tmp_path / "x.yaml", "- {question: When?, answer: yes}\n"))
    assert [row for _, row in rows] == [{"question": "When?", "answer": "yes"}]
