from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuning.data.examples import load_examples
from tuning.errors import TuningError

ASKED = "Which is a prime?\nA. four\nB. five\nC. six"
TEXTS = ["four", "five", "six"]


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    "row",
    [
        {"choices": TEXTS, "answer": 1},
        {"choices": str(TEXTS), "answer": "1"},  # a cell of a CSV file, as Python prints a list
        {"options": TEXTS, "answer": "B", "answer_index": 1},
        {"options": ["A) four", "B) five", "C) six"], "correct": "B"},
        {"options": TEXTS, "answer": "five"},
        {"options": TEXTS, "answer": "(b)"},
        {"endings": TEXTS, "label": "1"},
        {"choices": {"text": TEXTS, "label": ["A", "B", "C"]}, "answerKey": "B"},
        {"choices": [{"label": name, "text": text} for name, text in zip("ABC", TEXTS, strict=True)], "answerKey": "B"},
        {"A": "four", "B": "five", "C": "six", "answer": "B"},
        {"option_a": "four", "option_b": "five", "option_c": "six", "answer": "B"},
    ],
)
def test_a_choice_is_asked_with_letters_and_its_letter_is_learned(tmp_path: Path, row: dict[str, Any]) -> None:
    (example,) = load_examples(written(tmp_path, {"question": "Which is a prime?", **row}))
    assert (example.text, example.answers) == (ASKED, ("B", "five", "B. five"))


def test_labels_of_their_own_are_kept_and_texts_are_documents(tmp_path: Path) -> None:
    row = {
        "question": "?",
        "choices": {"text": ["no", "yes"], "label": ["1", "2"]},
        "answerKey": "2",
        "passage": "It is.",
    }
    (example,) = load_examples(written(tmp_path, row))
    assert (example.text, example.answers) == ("?\n1. no\n2. yes", ("2", "yes", "2. yes"))
    assert [one.text for one in example.contexts] == ["It is."]


def test_whether_a_number_is_a_place_or_a_text_is_told_of_all_rows(tmp_path: Path) -> None:
    numbers = {"question": "How many?", "choices": ["0", "2", "4"]}
    places = load_examples(written(tmp_path, {**numbers, "answer": 2}, {**numbers, "answer": 0}))
    assert [row.answers[1] for row in places] == ["4", "0"]
    texts = load_examples(written(tmp_path, {**numbers, "answer": "2"}, {**numbers, "answer": "4"}))
    assert [row.answers[1] for row in texts] == ["2", "4"]


def test_an_answer_that_is_no_choice_is_a_fault(tmp_path: Path) -> None:
    rows = [{"question": "?", "choices": TEXTS, "answer": 1}, {"question": "?", "choices": TEXTS, "answer": 3}]
    with pytest.raises(TuningError, match="line 2: the answer is none of the choices: neither a"):
        load_examples(written(tmp_path, *rows))


def test_what_only_looks_like_choices_is_another_format(tmp_path: Path) -> None:
    logged = {"question": "When?", "answer": "nine", "choices": [{"message": {"content": "ten"}}]}
    (example,) = load_examples(written(tmp_path, logged))
    assert (example.text, example.answers) == ("When?", ("nine",))
    (example,) = load_examples(written(tmp_path, {"question": "When?", "answer": "nine", "A": "x", "B": "y"}))
    assert example.answers == ("nine",)
