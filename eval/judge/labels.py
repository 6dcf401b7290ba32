"""What people said of answers: rows to certify a judge on, and labels that correct a judge's scores of a run.

load_labelled(Path("labels.csv"))         {"question", "response", "reference", "label": 0 or 1, "arm"}
load_pairs(Path("pairs.jsonl"))           preference pairs in any format of tuning/data/formats/preferences.py
labels = load_human_labels(path)["rag"]   {"arm": "rag", "question_id": "q7", "label": 1}

A label is a number from 0 to 1, or a word like yes, no, correct or incorrect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from eval.errors import EvalError
from storage.errors import listed
from storage.jsonl import sound_rows
from tuning.data.examples import in_full, texts_of
from tuning.data.formats.given import Columns, value_at
from tuning.data.formats.registry import inner_columns
from tuning.data.pairs import load_pairs as read_pairs
from tuning.data.table_files import read_table
from tuning.errors import TuningError

_WORDS = dict.fromkeys(("yes", "y", "true", "t", "correct", "right", "pass", "passed", "good"), 1.0)
_WORDS |= dict.fromkeys(("no", "n", "false", "f", "incorrect", "wrong", "fail", "failed", "bad"), 0.0)

# What `columns` may set.
_PARTS = ("question", "response", "reference", "label", "arm")

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
    """Two responses to one prompt, a conversation in full, of which a person chose one."""

    prompt: str
    chosen: str
    rejected: str


@dataclass(frozen=True, slots=True)
class _HumanLabel:
    arm: _Text
    question_id: Annotated[str, Field(min_length=1, coerce_numbers_to_str=True)]
    label: Annotated[float, BeforeValidator(_label)]


def load_labelled(path: Path, columns: Columns | None = None) -> tuple[LabelledAnswer, ...]:
    """Rows `{question | user_input, response, reference | answers[], label, arm}` of a file of any kind, the label 0 or
    1, the arm if any; `columns` says which column holds which of these.

    Raises EvalError naming the line of every faulty row (the first ten), and when there is no row at all; StorageError
    when there is no such file.
    """
    like = '{"question": ..., "response": ..., "reference": ..., "label": 1}'
    rows, unit = _rows(path, LabelledAnswer, columns)
    return sound_rows(path, rows, called="rows", like=like, error=EvalError, unit=unit)


def load_pairs(path: Path, columns: Columns | None = None) -> tuple[LabelledPair, ...]:
    """Preference pairs as `tuning.data.pairs` reads them. Raises EvalError as `load_labelled`."""
    try:
        pairs = read_pairs(path, columns)
    except TuningError as error:
        raise EvalError(str(error)) from error
    return tuple(LabelledPair(in_full(pair.prompt), pair.chosen, pair.rejected) for pair in pairs)


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

    found, unit = _rows(path, _HumanLabel)
    rows = ((line, add(row)) for line, row in found)
    like = '{"arm": ..., "question_id": ..., "label": 1}'
    sound_rows(path, rows, called="labels", like=like, error=EvalError, unit=unit)
    return labels


def _rows(path: Path, kind: type[Row], columns: Columns | None = None) -> tuple[list[tuple[int, Row | str]], str]:
    """Every row of a file with its number, or what is wrong with it in its place, and what the numbers count. Raises
    EvalError for a column that was set and is not there.
    """
    table, given = read_table(path), columns or {}
    if strange := next((part for part in given if part not in _PARTS), None):
        raise EvalError(f"no part of a labelled row is called {strange!r}; parts are {', '.join(_PARTS)}")
    raws = [row for _, row in table.rows if not isinstance(row, str)]
    if raws and (lost := next((name for name in given.values() if name not in inner_columns(raws)), None)):
        there = listed(inner_columns(raws), separator=", ")
        raise EvalError(f"{path}: no column {lost!r}, only {there}; correct columns")
    adapter = TypeAdapter(kind)

    def read(raw: Mapping[str, object] | str) -> Row | str:
        if isinstance(raw, str):
            return raw
        set_ones = {part: value_at(raw, column) for part, column in given.items()}
        try:
            return adapter.validate_python({**raw, **set_ones})
        except ValidationError as error:
            return "; ".join(map(_fault, error.errors()))

    return [(number, read(raw)) for number, raw in table.rows], table.unit


def _fault(fault: ErrorDetails) -> str:
    said = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:
        return said
    value = "" if fault["type"] == "missing" else f", not {fault['input']!r:.60}"
    return f"`{fault['loc'][0]}`: {said}{value}"
