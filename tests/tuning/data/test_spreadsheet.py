from pathlib import Path

import pytest

from storage.errors import StorageError
from tuning.data.examples import load_examples
from tuning.data.spreadsheet import scan_csv
from tuning.errors import TuningError

ROW = {"question": "When does it open?", "answer": "at nine, or so"}


@pytest.mark.parametrize(
    "content",
    [
        b'question,answer\nWhen does it open?,"at nine, or so"\n',
        b"Question;Answer\r\nWhen does it open?;at nine, or so\r\n",
        b"sep=;\r\nquestion;answer\r\nWhen does it open?;at nine, or so\r\n",
        b"\xef\xbb\xbfquestion\tanswer\nWhen does it open?\tat nine, or so\n",
        "question;answer\nWhen does it open?;at nine, or so\n".encode("utf-16"),
        b"question;answer;;\nWhen does it open?;at nine, or so;;\n;;;\n\n",
    ],
)
def test_what_spreadsheets_export_is_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(content)
    assert list(scan_csv(path)) == [(2, ROW)]


def test_letters_of_windows_lists_ids_and_other_columns(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    text = 'question;answers;doc_ids;kind\nWo?;["Köln", 3];a; fact\nWer?;{"x": 1};"a; b|c";\n'
    path.write_bytes(text.encode("cp1252"))
    assert list(scan_csv(path)) == [
        (2, {"question": "Wo?", "answers": ["Köln", 3], "doc_ids": ["a"], "metadata": {"kind": " fact"}}),
        (3, {"question": "Wer?", "answers": '{"x": 1}', "doc_ids": ["a", "b", "c"]}),
    ]


def test_without_a_column_of_questions_those_that_are_there_are_named(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("Frage;Antwort\nWann?;drei\n")
    with pytest.raises(StorageError, match=r"train.csv has no column 'question', only Frage, Antwort; call them"):
        load_examples(path)


def test_faults_name_the_row(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("question,answer\nWhen?,nine,or ten\n,nine\nWhere?,here\n")
    with pytest.raises(TuningError, match=r"2 faulty examples: line 2: 3 cells for 2 col.*line 3: no `question` text"):
        load_examples(path)
    path.write_text('question,answer\n"When?,nine\n')
    with pytest.raises(StorageError, match="not valid CSV"):
        list(scan_csv(path))
    with pytest.raises(StorageError, match="cannot read"):
        list(scan_csv(tmp_path / "none.csv"))


def test_a_csv_file_holds_examples(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("id,question,answer\n7,When?,9\n,Where?,here\n")
    found = [(example.id, example.text, example.answer) for example in load_examples(path)]
    assert found == [("7", "When?", "9"), ("train-3", "Where?", "here")]
