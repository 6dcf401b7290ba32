"""Test cases of evaluation tools: DeepEval's goldens and promptfoo's tests."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from tuning.data.formats.given import Columns, Format, Given, LeftOut, Row, named, others, spelt, text_in, values_of

# https://www.promptfoo.dev/docs/configuration/expected-outputs: what holds an answer, and not a rule for one.
_GOLD = (
    "equals",
    "iequals",
    "similar",
    "factuality",
    "contains",
    "icontains",
    "starts-with",
    "model-graded-factuality",
)
_GOLDS = ("contains-any", "icontains-any")
_CHECK = re.compile(r"(?:(?P<kind>[a-z]+(?:-[a-z]+)*)(?:\([\d.]+\))?:)?(?P<value>.*)", re.DOTALL)
_ASKED = ("question", "query", "input", "user_input", "prompt", "message", "text")


def _fits_goldens(columns: Collection[str], _: Sequence[Row]) -> Columns | None:
    question, answer = named(columns, "input"), named(columns, "expected_output")
    if question is None or answer is None:
        return None
    context = named(columns, "context")
    return {"question": question, "answer": answer, **({"context": context} if context else {})}


def _read_golden(row: Row, parts: Columns) -> Iterator[Given]:
    contexts = spelt(row.get(parts["context"])) if "context" in parts else None
    contexts = [contexts] if isinstance(contexts, str) else contexts or []
    if not isinstance(contexts, list) or not all(isinstance(text, str) for text in contexts):
        raise ValueError(f"`{parts['context']}` must be a list of texts")
    yield Given(
        row.get(parts["question"]),
        row.get(parts["answer"]),
        id=row.get("id"),
        metadata=others(row, "id", *parts.values()),
        contexts=tuple(text for text in contexts if text.strip()),
    )


def _fits_promptfoo(columns: Collection[str], sample: Sequence[Row]) -> Columns | None:
    if "vars" not in columns or not any(isinstance(value, Mapping) for value in values_of(sample, "vars")):
        return None
    keys = [key for value in values_of(sample, "vars") if isinstance(value, Mapping) for key in value]
    only = set(keys).pop() if len(set(keys)) == 1 else None
    asked = named(keys, *_ASKED) or only
    return {"question": f"vars.{asked}", "answer": "assert"} if asked is not None else None


def _read_case(row: Row, parts: Columns) -> Iterator[Given]:
    given = row.get("vars")
    name = parts["question"].removeprefix("vars.")
    if not isinstance(given, Mapping) or given.get(name) is None:
        raise ValueError(f"no `{parts['question']}`")
    golds = [gold for check in _checks(row.get("assert")) for gold in _golds(check)]
    if not golds:
        raise LeftOut(f"no assert holds an answer ({', '.join((*_GOLD, *_GOLDS))})")
    metadata = others(row, "id", "vars", "assert")
    # A list in a variable is a test for each of its values.
    names = list(given)
    values = [value if isinstance(value, list) else [value] for value in given.values()]
    for combined in product(*values):
        case = dict(zip(names, combined, strict=True))
        asked = case.pop(name)
        if isinstance(asked, str) and asked.startswith("file://"):
            raise ValueError(f"`{parts['question']}` names a file, {asked!r}; put its text there")
        yield Given(asked, golds, id=row.get("id") if len(values) == 1 else None, metadata={**case, **metadata})


def _fits_promptfoo_table(columns: Collection[str], _: Sequence[Row]) -> Columns | None:
    """promptfoo's CSV: a column a variable, and checks in `__expected`, `__expected1`, ..."""
    checks = next((column for column in columns if column.startswith("__expected")), None)
    given = [column for column in columns if not column.startswith("__")]
    asked = named(given, *_ASKED) or (given[0] if len(given) == 1 else None)
    return {"question": asked, "answer": checks} if checks is not None and asked is not None else None


def _read_case_row(row: Row, parts: Columns) -> Iterator[Given]:
    cells = [text_in(row, column) for column in row if column.startswith("__expected")]
    checks = [_CHECK.fullmatch(cell.strip()) for cell in cells if cell.strip()]
    # Without a kind it is the answer to the letter.
    found = [{"type": check["kind"] or "equals", "value": check["value"]} for check in checks if check is not None]
    golds = [
        gold
        for check in found
        for gold in _golds({**check, "value": check["value"].split(",")} if check["type"] in _GOLDS else check)
    ]
    if not golds:
        raise LeftOut(f"no check holds an answer ({', '.join((*_GOLD, *_GOLDS))})")
    metadata = {name: value for name, value in others(row, parts["question"]).items() if not name.startswith("__")}
    yield Given(row.get(parts["question"]), [str(gold).strip() for gold in golds], metadata=metadata)


def _checks(value: Any) -> Iterator[Mapping[str, Any]]:
    for check in value if isinstance(value, list) else [value] if isinstance(value, Mapping) else []:
        if isinstance(check, Mapping):
            yield from _checks(check.get("assert")) if check.get("type") == "assert-set" else (check,)


def _golds(check: Mapping[str, Any]) -> list[Any]:
    kind, value = check.get("type"), check.get("value")
    if kind in _GOLDS and isinstance(value, list):
        return value
    return [value] if kind in _GOLD and value is not None else []


GOLDENS = Format("DeepEval goldens", _fits_goldens, _read_golden)
PROMPTFOO_TABLE = Format("promptfoo tests", _fits_promptfoo_table, _read_case_row)
PROMPTFOO = Format("promptfoo tests", _fits_promptfoo, _read_case)
