"""What people said of answers: rows to certify a judge on, and labels that correct a judge's scores of a run.

load_labelled(Path("labels.jsonl"))       {"question", "response", "reference", "label": 0 or 1, "arm"}
load_pairs(Path("pairs.jsonl"))           {"prompt", "chosen", "rejected"}
labels = load_human_labels(path)["rag"]   {"arm": "rag", "question_id": "q7", "label": 1}

A label is a number from 0 to 1, or a word like yes, no, correct or incorrect.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from eval.errors import EvalError
from storage.jsonl import scan_jsonl, sound_rows
from tuning.data.examples import texts_of

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
    """A response that a person called right or wrong, with all accepted answers, and the arm that gave it."""

    question: Annotated[_Text, Field(validation_alias=AliasChoices("question", "user_input"))]
    response: _Text
    references: Annotated[
        tuple[str, ...], BeforeValidator(_golds), Field(validation_alias=AliasChoices("reference", "answers"))
    ]
    is_correct: Annotated[bool, BeforeValidator(_verdict), Field(validation_alias="label")]
    arm: _Text | None = None


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
    """Rows `{question | user_input, response, reference | answers[], label, arm}`, the label 0 or 1, the arm if any.

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
