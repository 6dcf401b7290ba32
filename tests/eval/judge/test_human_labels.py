import json
from pathlib import Path

import pytest

from eval.errors import EvalError
from eval.judge.human_labels import load_human_labels


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_labels_are_kept_by_arm_and_question(tmp_path: Path) -> None:
    path = write(
        tmp_path / "l.jsonl",
        {"arm": "rag", "question_id": "q1", "label": 1},
        {"arm": "rag", "question_id": 2, "label": 0.25},
        {"arm": "base", "question_id": "q1", "label": False},
    )
    assert load_human_labels(path) == {"rag": {"q1": 1.0, "2": 0.25}, "base": {"q1": 0.0}}


@pytest.mark.parametrize(
    ("label", "score"), [("yes", 1), (" Correct ", 1), ("1", 1), ("true", 1), ("incorrect", 0), ("No", 0), ("0.5", 0.5)]
)
def test_a_label_may_be_a_word(tmp_path: Path, label: str, score: float) -> None:
    path = write(tmp_path / "l.jsonl", {"arm": "rag", "question_id": "q1", "label": label})
    assert load_human_labels(path) == {"rag": {"q1": score}}


def test_every_faulty_label_is_named_with_its_line(tmp_path: Path) -> None:
    good = {"arm": "rag", "question_id": "q1", "label": 1}
    path = write(
        tmp_path / "l.jsonl",
        good,
        good,
        {**good, "arm": ""},
        {**good, "question_id": None},
        {**good, "label": 2},
        {**good, "label": float("nan")},
    )
    with pytest.raises(EvalError) as raised:
        load_human_labels(path)
    for fault in (
        "5 faulty labels",
        "line 2: arm 'rag' has a label for question 'q1' already",
        "line 3: no `arm`",
        "line 4: no `question_id`",
        "line 5: `label` must be a number from 0 to 1, or a word like yes, no,",
        "correct or incorrect, not 2",
        "line 6: `label` must be a number from 0 to 1, or a word",
    ):
        assert fault in str(raised.value)


def test_a_file_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="holds no labels"):
        load_human_labels(write(tmp_path / "l.jsonl"))
