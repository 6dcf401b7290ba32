from __future__ import annotations

import pytest

from rag.documents.document import Document
from rag.documents.rows import read_rows, whole_text
from rag.errors import RagError


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n",
        "a;b\n1;2\n",
        "a\tb\r\n1\t2\r\n",
        "a,b\r1,2\r",
        "sep=;\r\na;b\r\n1;2\r\n",
        "SEP=|\na|b\n1|2\n",
        '"a";b\n1;2\n',
    ],
)
def test_a_csv_file_is_a_table_whatever_its_delimiter_and_line_ends(text: str) -> None:
    assert whole_text("csv", text) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_the_delimiter_is_sought_outside_of_quotes_and_below_a_title() -> None:
    assert whole_text("csv", '"a, b, c";d\n1;2\n').startswith("| a, b, c | d |")
    assert whole_text("csv", '"a,\nb, c";d\n1;2\n').startswith("| a, b, c | d |")
    assert whole_text("csv", "Fees of 2024\n\nitem;fee\nbook;1,50\n").endswith("| item | fee |\n| book | 1,50 |")


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        ("csv", 'a,b\n1,2\n"5" wide",3\n', r"malformed CSV \(line 3: "),
        ("csv", 'a,b\n1,"2\n', r"malformed CSV \(line 2: unexpected end of data\)"),
        ("json", '{"a": 1,\n}', r"malformed JSON \(.* at line 2 column 1\)"),
        ("json", "[" * 100_000, r"malformed JSON \(recursion limit exceeded at "),
        ("json", '{"a": 1}\n{"a": 2}\n', "more than one JSON value; put each on a line of its own, in a .jsonl file"),
    ],
)
def test_what_is_malformed_is_refused_with_its_place(kind: str, text: str, reason: str) -> None:
    with pytest.raises(RagError, match=reason):
        whole_text(kind, text)


def _texts(text: str) -> list[str]:
    return [row.text if isinstance(row, Document) else str(row) for _, row in read_rows("csv", text, "a.csv") or ()]


@pytest.mark.parametrize("header", ["text", '"Content"'])
def test_texts_in_the_only_column_are_whole_whatever_they_hold(header: str) -> None:
    rows = f'{header}\nHello; she | said, twice\n"One ""word"""\n'

    assert _texts(rows) == ["Hello; she | said, twice", 'One "word"']


def test_a_row_with_more_values_than_columns_is_a_fault_unless_they_are_empty() -> None:
    fault = "3 values for 2 columns; put a text that holds the delimiter in quotes"

    assert _texts("id,text\n1,Hello, world\n2,Bye,\n") == [fault, "Bye"]
