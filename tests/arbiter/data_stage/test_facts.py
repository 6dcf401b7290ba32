from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arbiter.data_stage.facts import (
    bias_of,
    contradictions_of,
    labels_fact,
    leaks_of,
    lengths_of,
    personal_data_of,
    read_part,
    repeats_of,
)
from eval.questions import Question
from tuning.data.bias import GENDER
from tuning.data.pii import PiiFinder
from tuning.data.rows import closed_book_rows

LONG = "I sent the money a week ago and it has still not arrived at the other account"
ROWS = [
    {"id": "a", "question": LONG, "answers": ["pending"]},
    {"id": "b", "question": LONG + "s", "answers": ["pending"]},
    {"id": "c", "question": LONG.replace("money", "monies"), "answers": ["lost"]},
    {"id": "d", "question": "Is she in?", "answers": ["lost"]},
    {"id": "e", "question": "is she in", "answers": ["pending"]},
]


def part(folder: Path, *rows: object) -> Any:
    path = folder / "train.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return read_part("train", path, {})


def test_a_part_is_read_as_far_as_it_can_be(tmp_path: Path) -> None:
    found = part(tmp_path, *ROWS, "{oops", {"question": "No answer?"})
    assert [row.line for row in found.rows] == [1, 2, 3, 4, 5]
    assert (found.fact["rows"], found.fact["faulty"], found.fact["left_out"]) == (5, 2, 0)
    assert found.fact["faults"][0].startswith("line 6: not valid JSON")
    unknown = part(tmp_path, {"colour": "red", "size": 3})
    assert unknown.rows == ()
    assert "no column of questions and one of answers is known" in unknown.fact["faults"][0]


def test_repeats_labels_and_leaks_are_counted(tmp_path: Path) -> None:
    found = part(tmp_path, *ROWS)
    rows = found.questions
    assert repeats_of(found.rows, lambda *_: None) == {"exact": 0, "near": 1, "near_of_label": {"pending": 1}}
    assert labels_fact(rows) == {"counts": {"pending": 3, "lost": 2}, "ratio": 1.5}
    assert labels_fact([Question(f"{i}", "?", (f"answer {i}",)) for i in range(5)]) == {}
    asked = [Question("q", LONG, ("pending",)), Question("r", "Is he in?", ("x",))]
    assert leaks_of(rows, asked) == {"exact": 1, "near": 1, "near_of_label": {"pending": 1}}


def test_contradictions_are_named_by_line(tmp_path: Path) -> None:
    assert contradictions_of(part(tmp_path, *ROWS).rows) == {"same": [(5, 4)], "near": [(3, 1)]}


def test_pairs_of_one_prompt_are_the_same_only_with_both_sides(tmp_path: Path) -> None:
    pairs = [("nine", "ten"), ("nine", "six"), ("nine", "TEN"), ("six", "nine")]
    rows = [{"id": f"p{i}", "prompt": "When?", "chosen": a, "rejected": b} for i, (a, b) in enumerate(pairs)]
    found = part(tmp_path, *rows)
    assert repeats_of(found.rows, lambda *_: None)["exact"] == 1
    assert contradictions_of(found.rows) == {"same": [(4, 2)], "near": []}


def test_groups_are_compared(tmp_path: Path) -> None:
    fact = bias_of(part(tmp_path, *ROWS, {"id": "f", "question": "Is he in?", "answers": ["lost"]}).questions, GENDER)
    assert (fact["num_rows"], fact["num_same"], fact["num_other"], fact["num_alone"]) == ((2, 1), 2, 1, 0)
    assert {one["label"] for one in fact["differences"]} == {"lost", "pending"}


@pytest.mark.slow
def test_lengths_are_those_that_are_trained(tmp_path: Path, tiny_base: Path) -> None:
    from transformers import AutoTokenizer

    found = part(
        tmp_path,
        {"question": "what colour is sea", "answers": ["blue"]},
        {"question": " ".join(["sea"] * 20), "answers": ["one"]},
    )
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    rows = closed_book_rows(found.questions, lambda messages, _: messages)
    fact = lengths_of(found.rows, rows, tokenizer, 20)
    # [user] 4 words [end] [assistant] 1 word [end]
    assert fact["histogram"] == [{"up_to": 16, "rows": 1}, {"up_to": 32, "rows": 1}]
    assert (fact["p50"], fact["p95"], fact["longest"], fact["total"], fact["over"]) == (9, 25, 25, 34, 1)
    assert fact["refused"] == []
    endless = "{% for m in messages %}[user] {{ m['content'] }} {% endfor %}"
    tokenizer.chat_template = endless
    assert lengths_of(found.rows, rows, tokenizer, 20)["refused"][0].startswith(
        "lines 1, 2: the base model's chat temp"
    )


@pytest.mark.slow
def test_personal_data_is_counted_in_every_text_of_a_row(tmp_path: Path) -> None:
    found = part(tmp_path, {"question": "Is it ada@example.org?", "answers": ["bob@example.org"]}, ROWS[0])
    fact = personal_data_of(found.rows, PiiFinder(name_models=()), lambda *_: None)
    assert fact == {"found": {"EMAIL": 2}, "rows": 1, "lines": [1]}
