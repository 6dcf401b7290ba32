from __future__ import annotations

import pytest

from rag.documents.markdown import split_title, table


@pytest.mark.parametrize(
    ("text", "title", "rest"),
    [
        ("---\ntitle: 'The hours'\n# a comment\ntags: [a]\n---\n\n# Other\n\nx", "The hours", None),
        ("---\ntags: [a]\n# a comment\n---\n# Hours\n\nx", "Hours", None),
        ("---\ntitle: 2024\n---\nx", "2024", None),
        ("---\ntitle: [a]\n---\nx", "", None),
        ("---\n: : {\n---\nx", "", None),
        ("---\n\nA rule above.\n\n---\n\n# Hours\n\nx", "Hours", None),
        ("---\n# Hours\n\nx", "Hours", None),
        ("Hours\n=====\n\nNine.", "Hours", "Nine."),
        ("x\n\nHours\n=====\n\nNine.", "Hours", None),
        ("=====\n\nNine.", "", None),
        ("```\nHours\n=====\n```\nx", "", None),
    ],
)
def test_a_title_is_that_of_front_matter_or_the_first_heading(text: str, title: str, rest: str | None) -> None:
    assert split_title(text) == (title, text if rest is None else rest)


def test_a_table_has_neither_empty_rows_nor_empty_columns() -> None:
    rows = [["", "a", "", "b"], [], ["", "", "", ""], ["", "1", "", "2", "3", ""]]

    assert table(rows) == "| a | b |  |\n| --- | --- | --- |\n| 1 | 2 | 3 |"
