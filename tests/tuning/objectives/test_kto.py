"""What stands beside a rated answer: its prompt with the answer to another one."""

from __future__ import annotations

import pytest

from tuning.errors import TuningError
from tuning.objectives.kto import KTO
from tuning.objectives.objective import IGNORED, EncodedRow


def row(prompt: tuple[int, ...], answer: tuple[int, ...], *, is_wanted: bool = True) -> EncodedRow:
    return EncodedRow((*prompt, *answer), (IGNORED,) * len(prompt) + answer, is_wanted=is_wanted)


def strangers(*rows: EncodedRow, max_length: int = 99) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    joined = KTO.join(rows, max_length)
    assert [(one.input_ids, one.labels, one.is_wanted) for one in joined] == [
        (one.input_ids, one.labels, one.is_wanted) for one in rows
    ]
    return [(other.input_ids, other.labels) for one in joined for other in one.others]


def test_it_is_the_answer_of_the_row_before_and_of_the_first_that_of_the_last() -> None:
    x = IGNORED
    assert strangers(row((1,), (5,)), row((2, 2), (6, 6)), row((3,), (7,))) == [
        ((1, 7), (x, 7)),
        ((2, 2, 5), (x, x, 5)),
        ((3, 6, 6), (x, 6, 6)),
    ]


def test_an_answer_to_the_same_prompt_is_passed_over() -> None:
    found = strangers(row((1,), (5,)), row((2,), (6,)), row((2,), (7,)), row((2,), (8,)), row((1,), (9,)))
    assert [ids for ids, _ in found] == [(1, 8), (2, 5), (2, 5), (2, 5), (1, 8)]


def test_it_is_cut_where_rows_end_and_keeps_a_part_of_the_answer() -> None:
    (_, labels), _ = strangers(row((1, 1, 1), (5,)), row((2,), (6, 7, 8)), max_length=4)
    assert labels == (IGNORED, IGNORED, IGNORED, 6)


def test_one_prompt_alone_is_refused() -> None:
    with pytest.raises(TuningError, match="kto needs answers to two prompts at least"):
        KTO.join([row((1,), (5,)), row((1,), (6,))], 99)
