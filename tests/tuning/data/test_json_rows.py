from __future__ import annotations

import json
from typing import Any

import pytest

from tuning.data.json_rows import rows_in, rows_of_bytes

ROWS = [{"question": "When?", "answer": "nine"}, {"question": "Who?", "answer": "Ada"}]
BY_COLUMN = {"question": {"0": "When?", "1": "Who?"}, "answer": {"0": "nine", "1": "Ada"}}


@pytest.mark.parametrize(
    "value",
    [
        ROWS,
        {"rows": ROWS},
        {"rows": [{"row_idx": i, "row": row} for i, row in enumerate(ROWS)]},
        {"question": ["When?", "Who?"], "answer": ["nine", "Ada"]},
        # pandas' orientations
        BY_COLUMN,
        {"columns": ["question", "answer"], "index": [0, 1], "data": [["When?", "nine"], ["Who?", "Ada"]]},
        {"0": ROWS[0], "1": ROWS[1]},
        {"schema": {"fields": []}, "data": ROWS},
    ],
)
def test_rows_are_found_in_a_value(value: Any) -> None:
    assert rows_in(value) == ROWS


def test_rows_under_names_of_their_own_are_more_than_their_columns() -> None:
    named = {f"file {i}": {"problem": f"{i}?", "solution": "x"} for i in range(3)}
    assert rows_in(named) == list(named.values())
    assert rows_in({"a": {"x": 1, "y": 2, "z": 3}, "b": {"x": 4, "y": 5, "z": 6}}) == [
        {"a": 1, "b": 4},
        {"a": 2, "b": 5},
        {"a": 3, "b": 6},
    ]


@pytest.mark.parametrize(
    ("text", "are_lines"),
    [
        ("".join(json.dumps(row) + "\n" for row in ROWS), True),
        (json.dumps(ROWS), False),
        (json.dumps(ROWS, indent=1), False),
        (json.dumps({"rows": ROWS}) + "\n", False),
        # as jq prints values
        ("\n".join(json.dumps(row, indent=2) for row in ROWS), False),
    ],
)
@pytest.mark.parametrize("is_lines", [True, False])
def test_the_form_of_a_file_is_found_under_either_name(text: str, are_lines: bool, is_lines: bool) -> None:
    rows, found = rows_of_bytes(text.encode(), is_lines=is_lines)
    assert ([row for _, row in rows], found) == (ROWS, are_lines)


def test_a_line_that_holds_lists_is_a_row() -> None:
    row = {"question": "When?", "answers": ["nine"], "history": [{"role": "user", "content": "Hello"}]}
    assert rows_of_bytes(json.dumps(row).encode(), is_lines=True)[0] == [(1, row)]


def test_values_with_something_else_among_them_are_lines() -> None:
    rows, are_lines = rows_of_bytes(b'{\n"a": 1\n}\noops\n', is_lines=True)
    assert are_lines
    assert all(isinstance(row, str) for _, row in rows)
