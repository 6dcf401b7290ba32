"""Labelled rows and pairs, and the asks that are made of them."""

import json
from pathlib import Path

import pytest

from eval.errors import EvalError
from eval.judge.probes import LabelledAnswer, LabelledPair, load_labelled, load_pairs, plan_probes


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_labelled_rows_are_read_under_either_name_of_their_fields(tmp_path: Path) -> None:
    path = write(
        tmp_path / "l.jsonl",
        {"question": "Where?", "response": "Paris", "reference": "Paris", "label": 1},
        {"user_input": "Where?", "response": "Rome", "answers": ["Paris", "in Paris", " "], "label": False},
    )
    assert load_labelled(path) == (
        LabelledAnswer("Where?", "Paris", ("Paris",), True),
        LabelledAnswer("Where?", "Rome", ("Paris", "in Paris"), False),
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
        ({**good, "question": " "}, "line 2: no `question` text"),
        ({**good, "response": ""}, "line 3: no `response` text"),
        ({**good, "reference": {}}, "line 4: `reference` must be a text"),
        ({**good, "reference": []}, "line 5: question 'q' has no `reference`"),
        (
            {**good, "label": 0.5},
            "line 6: `label` must be 0 or 1, or a word like yes, no, correct or incorrect, not 0.5",
        ),
        (
            {**good, "label": "perhaps"},
            "line 7: `label` must be 0 or 1, or a word like yes, no, correct or incorrect, not 'pe",
        ),
        ({"question": "q"}, "line 8: no `response` text"),
        ([1], "line 9: a JSON array"),
    ]
    with pytest.raises(EvalError) as raised:
        load_labelled(write(tmp_path / "l.jsonl", good, *(row for row, _ in faulty)))
    assert "8 faulty rows" in str(raised.value)
    for _, fault in faulty:
        assert fault in str(raised.value)


def test_faulty_pairs_are_named_and_more_than_ten_counted(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "chosen": "same", "rejected": "same"}, *({"prompt": "p", "chosen": "c"} for _ in range(11))]
    with pytest.raises(EvalError, match=r"12 faulty rows: line 1: `chosen` and `rejected` are the same.* and 2 more"):
        load_pairs(write(tmp_path / "p.jsonl", *rows))


def test_an_empty_file_says_what_a_row_looks_like(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match='"label": 1'):
        load_labelled(write(tmp_path / "l.jsonl"))


def test_a_plan_asks_rows_once_some_of_them_again_and_pairs_in_both_orders() -> None:
    labelled = [LabelledAnswer(f"q{i}", "r", ("g",), True) for i in range(10)]
    plan = plan_probes(labelled, [LabelledPair("p", "c", "r")], repeats=3, repeat_rows=4)
    assert sorted(len(asks) for asks in plan.verdicts) == [1] * 6 + [3] * 4
    assert [probe.inputs for probe in plan.orders[0]] == [("p", "c", "r"), ("p", "r", "c")]
    # 10 first asks, 2 orders, 4 rows asked twice more.
    assert len(plan.distinct()) == 20
    assert len({probe.key for probe in plan.distinct()}) == 20
    assert plan == plan_probes(labelled, [LabelledPair("p", "c", "r")], repeats=3, repeat_rows=4)


def test_equal_rows_are_asked_once() -> None:
    row = LabelledAnswer("q", "r", ("g",), True)
    plan = plan_probes([row, row], repeats=1)
    assert len(plan.verdicts) == 2
    assert len(plan.distinct()) == 1
