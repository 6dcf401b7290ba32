"""Ways to cut the questions into groups: kind, collection, length, and whatever their metadata says.

[(cut.name, cut.value, len(cut.members)) for cut in cut_questions(questions)]
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from eval.questions import Question

MAX_VALUES = 12
_TERCILES, _QUARTILES = 3, 4
_NUMBERED = re.compile(r"[-_.:#@ ]*\d+$")


@dataclass(frozen=True, slots=True)
class Cut:
    """The positions of the questions that have `value` for `name`."""

    name: str
    value: str
    members: tuple[int, ...]


def cut_questions(questions: Sequence[Question], min_questions: int = 1) -> tuple[Cut, ...]:
    """The cuts with at least `min_questions` questions: by kind, collection and length, then by every metadata key.

    A number with more than 12 different values is cut at its quartiles, anything else with 2 to 12 values by value.
    Kinds and collections may have more values; the 12 most frequent are kept. A cut that holds all questions, or the
    same ones as an earlier cut, is left out.
    """
    kinds = [_as_value(question.metadata.get("kind")) for question in questions]
    found = [
        *_by_value("kind", kinds),
        *_by_value("collection", [collection_of(question) for question in questions]),
        *_by_quantile("length in words", [len(question.text.split()) for question in questions], _TERCILES),
    ]
    keys = dict.fromkeys(key for question in questions for key in question.metadata)
    for key in (key for key in keys if key not in ("kind", "collection")):
        found += _by_key(key, [question.metadata.get(key) for question in questions])
    seen = {tuple(range(len(questions)))}
    kept = []
    for cut in found:
        if len(cut.members) >= min_questions and cut.members not in seen:
            seen.add(cut.members)
            kept.append(cut)
    return tuple(kept)


def collection_of(question: Question) -> str | None:
    """Where the question's answer lies: its own metadata `collection`, else the collection of its first gold document.

    That is the folder in the document's id (`loans/fees` -> `loans`), else the id without the number at its end
    (`guide-012` -> `guide`). None when nothing is known.
    """
    named = _as_value(question.metadata.get("collection"))
    if named is not None or not question.document_ids:
        return named
    document = question.document_ids[0]
    folder, slash, _ = document.rpartition("/")
    return folder if slash else _NUMBERED.sub("", document) or None


def _by_key(key: str, values: Sequence[object]) -> list[Cut]:
    numbers = [_as_number(value) for value in values]
    texts = [_as_value(value) for value in values]
    num_distinct = len({text for text in texts if text is not None})
    if num_distinct <= MAX_VALUES:
        return _by_value(key, texts)
    is_numeric = all(number is not None or text is None for number, text in zip(numbers, texts, strict=True))
    return _by_quantile(key, numbers, _QUARTILES) if is_numeric else []


def _by_value(name: str, values: Sequence[str | None]) -> list[Cut]:
    """The most frequent values first; empty for a single value."""
    counts = Counter(value for value in values if value is not None)
    if len(counts) < 2:
        return []
    frequent = sorted(counts, key=lambda value: (-counts[value], value))[:MAX_VALUES]
    return [Cut(name, value, tuple(i for i, v in enumerate(values) if v == value)) for value in frequent]


def _by_quantile(name: str, values: Sequence[float | None], parts: int) -> list[Cut]:
    """Parts of about equal size, from low to high; equal values stay together, so there may be fewer parts."""
    known = [value for value in values if value is not None]
    if len(set(known)) < parts:
        return []
    shares = np.arange(1, parts + 1) / parts
    highs = sorted({float(high) for high in np.quantile(known, shares, method="inverted_cdf")})
    cuts = []
    for low, high in pairwise([-math.inf, *highs]):
        inside = {i: v for i, v in enumerate(values) if v is not None and low < v <= high}
        ends = dict.fromkeys((_shown(min(inside.values())), _shown(max(inside.values()))))
        cuts.append(Cut(name, " to ".join(ends), tuple(inside)))
    return cuts


def _as_number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def _as_value(value: object) -> str | None:
    """A metadata value as one category; lists, objects and blanks are none."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    number = _as_number(value)
    if number is not None:
        return _shown(number)
    return value.strip() or None if isinstance(value, str) else None


def _shown(number: float) -> str:
    return f"{int(number):,}" if float(number).is_integer() else f"{number:.4g}"
