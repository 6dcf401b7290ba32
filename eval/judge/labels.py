"""What people said of answers: rows to certify a judge on, and labels that correct a judge's scores of a run.

load_labelled(Path("labels.jsonl"))       {"question", "response", "reference", "label": 0 or 1}
load_pairs(Path("pairs.jsonl"))           {"prompt", "chosen", "rejected"}
labels = load_human_labels(path)["rag"]   {"arm": "rag", "question_id": "q7", "label": 1}
prediction_powered_interval(dict(zip(scorecard.question_ids, arm.scores["judge_correctness"])), labels)

A label is a number from 0 to 1, or a word like yes, no, correct or incorrect.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from eval.errors import EvalError
from router.deciding.statistics import Interval, mean_interval
from storage.jsonl import scan_jsonl, sound_rows
from tuning.data.examples import texts_of

# The corrected interval is a normal approximation, whose usual rule of thumb this is; with 30 labels the simulation in
# tests/eval/judge/test_labels.py still covers.
MIN_LABELS = 30

_WORDS = dict.fromkeys(("yes", "y", "true", "t", "correct", "right", "pass", "passed", "good"), 1.0)
_WORDS |= dict.fromkeys(("no", "n", "false", "f", "incorrect", "wrong", "fail", "failed", "bad"), 0.0)

Row = TypeVar("Row")


def _label(value: object) -> float:
    try:
        number = float(_WORDS.get(str(value).strip().lower(), value))  # type: ignore[arg-type]  # what is none is caught
    except (TypeError, ValueError, OverflowError):
        number = -1.0
    if not 0 <= number <= 1:
        raise ValueError("must be a number from 0 to 1, or a word like yes, no, true, false, correct or incorrect")
    return number


def _verdict(value: object) -> bool:
    if (label := _label(value)) not in (0, 1):
        raise ValueError("must be 0 or 1, or a word like yes, no, correct or incorrect")
    return bool(label)


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must be a text that is not blank")
    return text


def _golds(value: object) -> tuple[str, ...]:
    golds = [text for text in texts_of(value if isinstance(value, list) else [value]) or () if text.strip()]
    if not golds:
        raise ValueError("must be a text or a number, or a list of them")
    return tuple(golds)


_Text = Annotated[str, AfterValidator(_not_blank)]


@dataclass(frozen=True, slots=True)
class LabelledAnswer:
    """A response that a person called right or wrong, with all accepted answers."""

    question: Annotated[_Text, Field(validation_alias=AliasChoices("question", "user_input"))]
    response: _Text
    references: Annotated[
        tuple[str, ...], BeforeValidator(_golds), Field(validation_alias=AliasChoices("reference", "answers"))
    ]
    is_correct: Annotated[bool, BeforeValidator(_verdict), Field(validation_alias="label")]


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """Two responses to one prompt, of which a person chose one."""

    prompt: _Text
    chosen: _Text
    rejected: _Text

    def __post_init__(self) -> None:
        if self.chosen == self.rejected:
            raise ValueError("`chosen` and `rejected` are the same text")


@dataclass(frozen=True, slots=True)
class _HumanLabel:
    arm: _Text
    question_id: Annotated[str, Field(min_length=1, coerce_numbers_to_str=True)]
    label: Annotated[float, BeforeValidator(_label)]


def load_labelled(path: Path) -> tuple[LabelledAnswer, ...]:
    """Rows `{question | user_input, response, reference | answers[], label}`, the label 0 or 1.

    Raises EvalError naming the line of every faulty row (the first ten), and when there is no row at all; StorageError
    when there is no such file.
    """
    like = '{"question": ..., "response": ..., "reference": ..., "label": 1}'
    return sound_rows(path, _rows(path, LabelledAnswer), called="rows", like=like, error=EvalError)


def load_pairs(path: Path) -> tuple[LabelledPair, ...]:
    """Rows `{prompt, chosen, rejected}`, all texts, the two responses different. Raises as `load_labelled`."""
    like = '{"prompt": ..., "chosen": ..., "rejected": ...}'
    return sound_rows(path, _rows(path, LabelledPair), called="rows", like=like, error=EvalError)


def load_human_labels(path: Path) -> dict[str, dict[str, float]]:
    """Arm -> question id -> label in [0, 1], from rows `{arm, question_id, label}`.

    Raises as `load_labelled`; two labels of one answer are a fault, too.
    """
    labels: dict[str, dict[str, float]] = {}

    def add(row: _HumanLabel | str) -> _HumanLabel | str:
        if isinstance(row, str):
            return row
        if row.question_id in labels.setdefault(row.arm, {}):
            return f"arm {row.arm!r} has a label for question {row.question_id!r} already; keep one"
        labels[row.arm][row.question_id] = row.label
        return row

    rows = ((line, add(row)) for line, row in _rows(path, _HumanLabel))
    like = '{"arm": ..., "question_id": ..., "label": 1}'
    sound_rows(path, rows, called="labels", like=like, error=EvalError)
    return labels


def prediction_powered_interval(
    judge_scores: Mapping[str, float | None], labels: Mapping[str, float], *, alpha: float = 0.05
) -> Interval | None:
    """The mean label of all judged answers with a (1 - alpha) interval, all in [0, 1]; PPI++ by the ppi-python package.

    `judge_scores` holds one arm's scores by question id, None where unscored; `labels` people's labels of some of them.
    The judge may be biased: its mean error on the labelled answers is taken off, and the weight of its scores is
    estimated (Angelopoulos, Duchi and Zrnic 2023, arXiv 2311.01453). The labelled answers must be a random sample, and
    answers independent: over several questions a document the interval is too narrow. Answers without a judge score do
    not count. None with fewer than `MIN_LABELS` labelled answers.
    """
    known = {question: score for question, score in judge_scores.items() if score is not None}
    labelled = [question for question in known if question in labels]
    if len(labelled) < MIN_LABELS:
        return None
    truth = np.array([labels[question] for question in labelled], dtype=np.float64)
    judged = np.array([known[question] for question in labelled], dtype=np.float64)
    rest = np.array([score for question, score in known.items() if question not in labels], dtype=np.float64)
    is_judge_blind = np.ptp(np.concatenate([judged, rest])) == 0
    # Where nothing varies the normal approximation has no width: a judge without an error on the labelled answers would
    # be believed to make none at all. The labels alone say how rare what they do not show may be.
    if not len(rest) or is_judge_blind or np.ptp(truth) == 0 or np.ptp(truth - judged) == 0:
        return mean_interval(list(truth), labelled, alpha=alpha)
    with warnings.catch_warnings():  # importing ppi_py silences every warning of the process
        from ppi_py import ppi_mean_ci, ppi_mean_pointestimate
    mean = float(ppi_mean_pointestimate(truth, judged, rest)[0])
    low, high = (float(bound[0]) for bound in ppi_mean_ci(truth, judged, rest, alpha=alpha))
    return Interval(*(min(max(value, 0.0), 1.0) for value in (mean, low, high)))


def _rows(path: Path, kind: type[Row]) -> Iterator[tuple[int, Row | str]]:
    """Every row of a file with its line, or what is wrong with it in its place."""
    read = TypeAdapter(kind).validate_python
    for line, raw in scan_jsonl(path):
        try:
            yield line, raw if isinstance(raw, str) else read(raw)
        except ValidationError as error:
            yield line, "; ".join(map(_fault, error.errors()))


def _fault(fault: ErrorDetails) -> str:
    said = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:
        return said
    value = "" if fault["type"] == "missing" else f", not {fault['input']!r:.60}"
    return f"`{fault['loc'][0]}`: {said}{value}"
