"""What people said of answers, as files hold it."""

import json
from pathlib import Path

import pytest

from eval.errors import EvalError
from eval.judge.labels import (
    LabelledAnswer,
    LabelledPair,
    load_human_labels,
    load_labelled,
    load_pairs,
)


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_labelled_rows_are_read_under_either_name_of_their_fields(tmp_path: Path) -> None:
    path = write(
        tmp_path / "l.jsonl",
        {"question": "Where?", "response": "Paris", "reference": "Paris", "label": 1},
        {
            "user_input": "Where?",
            "response": "Rome",
            "answers": ["Paris", "in Paris", " "],
            "label": False,
            "arm": "rag",
        },
    )
    assert load_labelled(path) == (
        LabelledAnswer("Where?", "Paris", ("Paris",), True),
        LabelledAnswer("Where?", "Rome", ("Paris", "in Paris"), False, "rag"),
    )


@pytest.mark.parametrize(
    ("label", "is_correct"), [("yes", True), ("Correct", True), ("1", True), ("no", False), (0.0, False)]
)
def test_labels_may_be_words_and_references_numbers(tmp_path: Path, label: object, is_correct: bool) -> None:
    path = write(tmp_path / "l.jsonl", {"question": "How many?", "response": "3", "reference": 3, "label": label})
    assert load_labelled(path) == (LabelledAnswer("How many?", "3", ("3",), is_correct),)


def test_pairs_are_read_and_further_fields_left_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", {"id": "x", "prompt": "Say hi.", "chosen": "hi", "rejected": "ho", "n": 1})
    assert load_pairs(path) == (LabelledPair("Say hi.", "hi", "ho"),)


def test_every_faulty_row_is_named_with_its_line(tmp_path: Path) -> None:
    good = {"question": "q", "response": "r", "reference": "g", "label": 1}
    faulty = [
        ({**good, "question": " "}, "line 2: `question`: must be a text that is not blank, not ' '"),
        ({**good, "response": ""}, "line 3: `response`: must be a text that is not blank, not ''"),
        ({**good, "reference": {}}, "line 4: `reference`: must be a text or a number, or a list of them, not {}"),
        ({**good, "reference": [" "]}, "line 5: `reference`: must be a text or a number, or a list of them, not [' ']"),
        (
            {**good, "label": 0.5},
            "line 6: `label`: must be 0 or 1, or a word like yes, no, correct or incorrect, not 0.5",
        ),
        (
            {**good, "label": "perhaps"},
            "line 7: `label`: must be a number from 0 to 1, or a word like yes, no, true, false, correct or incorrect, "
            "not 'perhaps'",
        ),
        ({"question": "q"}, "line 8: `response`: Field required; `reference`: Field required; `label`: Field required"),
        ([1], "line 9: a JSON array"),
        ({**good, "question": 3}, "line 10: `question`: Input should be a valid string, not 3"),
    ]
    with pytest.raises(EvalError) as raised:
        load_labelled(write(tmp_path / "l.jsonl", good, *(row for row, _ in faulty)))
    assert "9 faulty rows" in str(raised.value)
    for _, fault in faulty:
        assert fault in str(raised.value)


def test_faulty_pairs_are_named_and_more_than_ten_counted(tmp_path: Path) -> None:
    good = {"prompt": "p", "chosen": "a", "rejected": "b"}
    rows = [{"prompt": "p", "chosen": "same", "rejected": "same"}, *({**good, "chosen": " "} for _ in range(11)), good]
    with pytest.raises(
        EvalError,
        match=r"12 faulty pairs: line 1: `chosen` and `rejected` are the same; lines 2, 3, 4, 5, 6 and 6 more: ",
    ):
        load_pairs(write(tmp_path / "p.jsonl", *rows))


def test_a_pair_of_a_conversation_is_shown_in_full(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "When?"}, {"role": "assistant", "content": "At nine."}]
    asked = [*said, {"role": "user", "content": "On Sundays?"}]
    path = write(tmp_path / "p.jsonl", {"prompt": asked, "chosen": "At ten.", "rejected": "No."})
    prompt = "user: When?\nassistant: At nine.\nuser: On Sundays?"
    assert load_pairs(path) == (LabelledPair(prompt, "At ten.", "No."),)


def test_labels_lie_in_any_kind_of_file_and_their_columns_can_be_set(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text("Frage;Antwort;Gold;Urteil\nWo?;Rom;Rom;1\nWer?;Bo;Ada;0\n")
    columns = {"question": "Frage", "response": "Antwort", "reference": "Gold", "label": "Urteil"}
    assert load_labelled(path, columns) == (
        LabelledAnswer("Wo?", "Rom", ("Rom",), True),
        LabelledAnswer("Wer?", "Bo", ("Ada",), False),
    )
    with pytest.raises(EvalError, match="2 faulty rows: rows 2, 3: `question`: Field required"):
        load_labelled(path)
    with pytest.raises(EvalError, match="no column 'Titel', only Frage, Antwort, Gold, Urteil; correct columns"):
        load_labelled(path, {"question": "Titel"})
    with pytest.raises(
        EvalError, match="no part of a labelled row is called 'text'; parts are question, response, ref"
    ):
        load_labelled(path, {"text": "Frage"})


def test_an_empty_file_says_what_a_row_looks_like(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match='"label": 1'):
        load_labelled(write(tmp_path / "l.jsonl"))


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
        "line 3: `arm`: must be a text that is not blank",
        "line 4: `question_id`: Input should be a valid string, not None",
        "line 5: `label`: must be a number from 0 to 1, or a word like yes, no,",
        "correct or incorrect, not 2",
        "line 6: `label`: must be a number from 0 to 1, or a word",
    ):
        assert fault in str(raised.value)


def test_a_file_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="holds no labels"):
        load_human_labels(write(tmp_path / "l.jsonl"))
