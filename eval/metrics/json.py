"""Scores of structured answers: is the answer JSON, is it the right object, and how many of its values are right.

JSON_SCORER.score([(question, record)])  # {"json_valid": [1.0], "json_f1": [0.8], "json_exact": [0.0]}
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator

from eval.answers import AnswerRecord
from eval.questions import Question
from eval.scorer import Scorer

# Chat models like to put code into a fence; what stands inside is the answer.
_FENCE = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", re.DOTALL | re.IGNORECASE)

# A JSON object or array; None stands for a text that is neither.
Parsed = dict[str, object] | list[object] | None


def parse_json(text: str) -> Parsed:
    """The object or array that the whole text is, in a code fence or not; None for anything else."""
    fenced = _FENCE.fullmatch(text)
    try:
        # NaN and infinities are no JSON, and no `int` takes them.
        value = json.loads(fenced[1] if fenced else text, parse_float=_number, parse_constant=int)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def json_exact(answer: Parsed, gold: Parsed) -> float:
    """1.0 when both are the same JSON value, whatever the order of the keys, else 0.0."""
    return float(answer is not None and _canonical(answer) == _canonical(gold))


def json_f1(answer: Parsed, gold: Parsed) -> float:
    """Slot F1: the harmonic mean of precision and recall over pairs of key and value that are exactly the same (the
    measure of slot filling, as in Coope et al. 2020). A nested key is its path; the elements of an array are a bag; an
    empty object or array is a value.
    """
    if answer is None:
        return 0.0
    said, wanted = Counter(_slots(answer)), Counter(_slots(gold))
    common = (said & wanted).total()
    return 2 * common / (said.total() + wanted.total())


def _score(question: Question, record: AnswerRecord) -> tuple[float | None, ...]:
    golds = [gold for gold in map(parse_json, question.answers) if gold is not None]
    if not golds:
        return None, None, None
    answer = parse_json(record.text)
    f1, exact = (max(metric(answer, gold) for gold in golds) for metric in (json_f1, json_exact))
    return float(answer is not None), f1, exact


# `json_valid` is 1.0 when the answer is a JSON object or array, the others take the best over the golds that are;
# unscored where no gold is.
JSON_SCORER = Scorer(("json_valid", "json_f1", "json_exact"), _score)


def _slots(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Every leaf with the keys that lead to it."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _slots(inner, f"{path}.{json.dumps(key)}")
    elif isinstance(value, list) and value:
        for inner in value:
            yield from _slots(inner, f"{path}[]")
    else:
        yield path, _canonical(value)


def _canonical(value: object) -> str:
    """One text for equal values; 1 and true are not the same."""
    return json.dumps(value, sort_keys=True)


def _number(text: str) -> float:
    # 1 and 1.0 are the same number.
    value = float(text)
    return int(value) if value.is_integer() else value
