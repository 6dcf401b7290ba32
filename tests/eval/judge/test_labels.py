"""What people said of answers, as files hold it; and a biased judge, a few labels, the truth of a seeded simulation."""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from eval.errors import EvalError
from eval.judge.labels import (
    MIN_LABELS,
    LabelledAnswer,
    LabelledPair,
    load_human_labels,
    load_labelled,
    load_pairs,
    prediction_powered_interval,
)


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
    rows = [{"prompt": "p", "chosen": "same", "rejected": "same"}, *({"prompt": "p", "chosen": "c"} for _ in range(11))]
    with pytest.raises(EvalError, match=r"12 faulty rows: line 1: `chosen` and `rejected` are the same.* and 2 more"):
        load_pairs(write(tmp_path / "p.jsonl", *rows))


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


def trial(rng: np.random.Generator, num_questions: int, num_labels: int) -> tuple[dict[str, float], dict[str, float]]:
    """Answers that are right with probability 0.6; the judge passes all of those and 40% of the wrong ones too."""
    truth = rng.random(num_questions) < 0.6
    passed = truth | (rng.random(num_questions) < 0.4)
    scores = {str(i): float(passed[i]) for i in range(num_questions)}
    labels = {str(i): float(truth[i]) for i in rng.choice(num_questions, num_labels, replace=False)}
    return scores, labels


@pytest.mark.parametrize("num_labels", [MIN_LABELS, 100])
def test_the_interval_covers_the_truth_that_the_judges_mean_misses(num_labels: int) -> None:
    rng = np.random.default_rng(0)
    covered, missed, narrower = 0, 0, 0
    for _ in range(200):
        scores, labels = trial(rng, 600, num_labels)
        interval = prediction_powered_interval(scores, labels)
        assert interval is not None
        covered += interval.low <= 0.6 <= interval.high
        judged = float(np.mean(list(scores.values())))
        missed += abs(judged - 0.6) > 1.96 * np.sqrt(judged * (1 - judged) / 600)
        share = float(np.mean(list(labels.values())))
        narrower += interval.high - interval.low < 2 * 1.96 * np.sqrt(share * (1 - share) / num_labels)
    assert covered >= 0.9 * 200
    assert missed == 200  # the judge's own mean is 0.76
    assert narrower > 0.9 * 200  # and the labels alone say less


def test_the_mean_takes_the_judges_bias_off() -> None:
    # 40 labelled and 400 other answers. The judge passes everything that is right and half of what is wrong.
    labels = {f"l{i}": float(i < 20) for i in range(40)}
    scores = {f"l{i}": float(i < 30) for i in range(40)} | {f"u{i}": float(i < 300) for i in range(400)}
    interval = prediction_powered_interval(scores, labels)
    assert interval is not None
    # The judge's share is 0.75 among both, so whatever its weight the correction is the labelled answers' own 0.5.
    assert interval.mean == pytest.approx(0.5)
    assert 0.3 < interval.low < 0.5 < interval.high < 0.7


def test_too_few_labels_give_no_interval_and_unscored_answers_are_no_labels() -> None:
    scores: dict[str, float | None] = {str(i): float(i % 2) for i in range(100)}
    labels = {str(i): float(i % 2) for i in range(MIN_LABELS)}
    assert prediction_powered_interval(scores, labels) is not None
    assert prediction_powered_interval({**scores, "0": None}, labels) is None
    assert prediction_powered_interval(scores, {**labels, "0": 0.0, "elsewhere": 1.0}) is not None
    assert prediction_powered_interval(scores, dict(list(labels.items())[1:])) is None


@pytest.mark.parametrize(
    ("labelled_truth", "labelled_score", "other_scores"),
    [
        ([1.0] * 30, [1.0] * 30, [1.0] * 100),  # nothing varies
        ([1.0] * 30, [1.0] * 20 + [0.0] * 10, [1.0, 0.0] * 50),  # only the judge does
        ([1.0] * 20 + [0.0] * 10, [1.0] * 30, [1.0] * 100),  # only people do
        ([1.0] * 20 + [0.0] * 10, [1.0] * 20 + [0.0] * 10, [1.0, 0.0] * 50),  # the judge made no error yet
        ([1.0] * 20 + [0.0] * 10, [1.0] * 15 + [0.0] * 15, []),  # everything is labelled
    ],
)
def test_where_nothing_varies_the_labels_alone_speak_and_are_not_believed_too_far(
    labelled_truth: list[float], labelled_score: list[float], other_scores: list[float]
) -> None:
    labels = {f"l{i}": value for i, value in enumerate(labelled_truth)}
    scores = {f"l{i}": value for i, value in enumerate(labelled_score)}
    scores |= {f"u{i}": value for i, value in enumerate(other_scores)}
    interval = prediction_powered_interval(scores, labels)
    assert interval is not None
    assert interval.mean == pytest.approx(np.mean(labelled_truth))
    assert interval.high - interval.low > 0.1  # Wilson: 30 of 30 are 0.89 to 1
    assert 0 <= interval.low <= interval.high <= 1


def test_the_bounds_stay_within_the_scale() -> None:
    labels = {f"l{i}": float(i != 0) for i in range(40)}
    scores = {f"l{i}": float(i > 1) for i in range(40)} | {f"u{i}": float(i > 3) for i in range(60)}
    interval = prediction_powered_interval(scores, labels, alpha=0.01)
    assert interval is not None
    assert interval.high == 1.0


def test_warnings_are_not_silenced_for_the_whole_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "ppi_py"]:
        monkeypatch.delitem(sys.modules, name)
    before = list(warnings.filters)
    scores = {str(i): float(i % 3 == 0) for i in range(100)}
    prediction_powered_interval(scores, {str(i): float(i % 2) for i in range(40)})
    assert "ppi_py" in sys.modules
    assert warnings.filters == before
