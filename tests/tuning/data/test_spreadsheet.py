from datetime import datetime
from pathlib import Path

import openpyxl
import pytest

from storage.errors import StorageError
from tuning.data.examples import Question, load_examples
from tuning.data.spreadsheet import scan_cells, scan_sheets
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
    assert [
        (number, {name.lower(): cell for name, cell in row.items()})
        for number, row in scan_cells(path)
        if not isinstance(row, str)
    ] == [(2, ROW)]


def test_letters_of_windows_lists_ids_and_other_columns(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    text = 'question;answers;doc_ids;kind\nWo?;["Köln", 3];a; fact\nWer?;{"x": 1};"a; b|c";\n'
    path.write_bytes(text.encode("cp1252"))
    assert load_examples(path) == (
        Question("train-2", "Wo?", ("Köln", "3"), ("a",), {"kind": " fact"}),
        Question("train-3", "Wer?", ('{"x": 1}',), ("a", "b", "c"), {}),
    )


def test_letters_of_other_countries_are_found_out(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes("Вопрос;Ответ\nКогда открывается библиотека?;в девять часов\n".encode("cp1251"))
    ((_, row),) = scan_cells(path)
    assert row == {"Вопрос": "Когда открывается библиотека?", "Ответ": "в девять часов"}


def test_a_title_may_stand_above_the_header(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("Questions of March\n\nquestion;answer\nWhen, then?;at nine, or so\n")
    assert list(scan_cells(path)) == [(4, {"question": "When, then?", "answer": "at nine, or so"})]
    path.write_text("question\nWhen?\n\nWho?\n")
    assert [row for _, row in scan_cells(path)] == [{"question": "When?"}, {"question": "Who?"}]


def test_without_a_column_of_questions_those_that_are_there_are_named(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("Betreff;Bearbeiter;Datum\nTor;Ada;1.4.\n")
    with pytest.raises(
        TuningError, match=r"train.csv: no column of questions .* among Betreff, Bearbeiter, Datum; name"
    ):
        load_examples(path)


def workbook(path: Path, **sheets: list[list[object]]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def test_a_workbook_holds_rows_with_numbers_and_dates(tmp_path: Path) -> None:
    path = workbook(
        tmp_path / "train.xlsx",
        Empty=[],
        FAQ=[
            ["Questions of March", None],
            [],
            ["Question", "Answer"],
            ["How many?", 3],
            ["How much?", 0.1 * 3],
            ["Since when?", datetime(2024, 5, 1)],
            [None, None],
        ],
        Notes=[["a"], ["b"]],
    )
    faq, notes = scan_sheets(path)
    assert (faq.title, notes.title, faq.notes) == ("FAQ", "Notes", ())
    assert faq.rows == (
        (4, {"Question": "How many?", "Answer": 3}),
        (5, {"Question": "How much?", "Answer": 0.3}),
        (6, {"Question": "Since when?", "Answer": "2024-05-01"}),
    )
    said: list[str] = []
    assert [example.answer for example in load_examples(path, say=said.append)] == ["3", "0.3", "2024-05-01"]
    assert said == ["train.xlsx: sheet 'FAQ' is read, and not 'Notes'"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"question;answer\n"])
def test_what_is_no_workbook_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.xlsx").write_bytes(content)
    with pytest.raises(StorageError, match=r"^cannot read .*x.xlsx' as a workbook .*; save it again as .xlsx$"):
        scan_sheets(tmp_path / "x.xlsx")


def test_faults_name_the_row(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("question,answer\nWhen?,nine,or ten\n,nine\nWhere?,here\n")
    with pytest.raises(TuningError, match=r"2 faulty examples: row 2: 3 cells for 2 col.*row 3: no `question` text"):
        load_examples(path)
    path.write_text('question,answer\n"When?,nine\n')
    with pytest.raises(StorageError, match="not valid CSV"):
        list(scan_cells(path))
    with pytest.raises(StorageError, match="cannot read"):
        list(scan_cells(tmp_path / "none.csv"))


def test_a_csv_file_holds_examples(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("id,question,answer\n7,When?,9\n,Where?,here\n")
    found = [(example.id, example.text, example.answer) for example in load_examples(path)]
    assert found == [("7", "When?", "9"), ("train-3", "Where?", "here")]


def test_a_header_that_is_none_is_said(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("question,answer,answer\nWhen?,nine,ten\n")
    with pytest.raises(TuningError, match="row 1: two columns are called 'answer'; rename one, or take it away"):
        load_examples(path)
    path.write_text("When does it open?,nine\nWho is it?,Ada\nWhere?,here\n")
    with pytest.raises(TuningError, match=r"its first row, 'When does it open.', looks like a question"):
        load_examples(path)


def test_blanks_around_all_cells_mean_nothing(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("question , answer\nWhen? , at nine \n")
    assert [(row.text, row.answer) for row in load_examples(path)] == [("When?", "at nine")]


def test_a_merged_cell_stands_in_all_of_its_rows(tmp_path: Path) -> None:
    path = workbook(
        tmp_path / "train.xlsx", FAQ=[["FAQ", None], ["Question", "Answer"], ["When?", "nine"], ["At?", None]]
    )
    book = openpyxl.load_workbook(path)
    book["FAQ"].merge_cells("A1:B1")
    book["FAQ"].merge_cells("B3:B4")
    book.save(path)
    assert [(row.text, row.answer) for row in load_examples(path)] == [("When?", "nine"), ("At?", "nine")]


def test_the_sheet_that_holds_rows_is_read_and_errors_are_counted(tmp_path: Path) -> None:
    path = workbook(
        tmp_path / "train.xlsx",
        Readme=[["Field", "Meaning"], ["question", "what is asked"]],
        Data=[["question", "answer", "by"], ["When?", "nine", "#N/A"]],
    )
    said: list[str] = []
    (example,) = load_examples(path, say=said.append)
    assert (example.answer, example.metadata) == ("nine", {})
    assert said == [
        "train.xlsx: sheet 'Data' is read, and not 'Readme'",
        "train.xlsx: cells of sheet 'Data' that hold an error like #N/A are read as empty: 1",
    ]


def test_a_sheet_that_has_the_columns_which_are_set_goes_before_one_that_is_known(tmp_path: Path) -> None:
    path = workbook(
        tmp_path / "train.xlsx",
        Old=[["question", "answer"], ["Who?", "Ada"]],
        New=[["Titel", "Text"], ["When?", "nine"]],
    )
    assert [row.text for row in load_examples(path)] == ["Who?"]
    assert [row.text for row in load_examples(path, {"question": "Titel", "answer": "Text"})] == ["When?"]


@pytest.mark.parametrize("name", ["train.csv", "train.xlsx"])
def test_another_column_is_not_taken_for_one_that_is_empty(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "train.csv":
        path.write_text("question,answer,note\nWhen?,,x\n")
    else:  # a formula that was never computed
        workbook(path, A=[["question", "answer", "note"], ["When?", "=1+1", "x"]])
    with pytest.raises(TuningError, match="1 faulty examples: row 2: no answer to learn"):
        load_examples(path)


def test_the_sheets_are_named_where_none_is_known(tmp_path: Path) -> None:
    path = workbook(tmp_path / "train.xlsx", A=[["a", "b"], ["x", "y"]], B=[["c", "d"], ["z", "w"]])
    with pytest.raises(TuningError, match=r"is known among a, b; name .*; sheet 'A' is read, and not 'B'$"):
        load_examples(path)


def test_a_damaged_workbook_is_one_line(tmp_path: Path) -> None:
    path = workbook(tmp_path / "x.xlsx", A=[["question", "answer"], ["When?", "nine"]])
    whole = path.read_bytes()
    said = []
    for place in range(40, len(whole), 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :])
        try:
            scan_sheets(path)
        except StorageError as error:
            said.append(str(error))
    assert said
    assert not any("\n" in message for message in said)
