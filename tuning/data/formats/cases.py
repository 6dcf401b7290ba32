"""Test cases of evaluation tools: DeepEval's goldens and promptfoo's tests."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from tuning.data.formats.contexts import contexts_of
from tuning.data.formats.given import Columns, Format, Given, LeftOut, Row, named, others, spelt, unique, values_of
from tuning.data.promptfoo_config import case_of

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
# A variable in a check, as Nunjucks writes it.
_VARIABLE = re.compile(r"\{\{\s*(?:vars\.)?(\w+)\s*\}\}")
_ASKED = ("question", "query", "input", "user_input", "prompt", "message", "text")


def _fits_goldens(columns: Collection[str], _: Sequence[Row]) -> Columns | None:
    question, answer = named(columns, "input"), named(columns, "expected_output")
    if question is None or answer is None:
        return None
    context = named(columns, "context")
    return {"question": question, "answer": answer, **({"context": context} if context else {})}


def _read_golden(row: Row, parts: Columns) -> Iterator[Given]:
    told = spelt(row.get(parts["context"])) if "context" in parts else None
    # DeepEval's own tables have | between texts.
    contexts = contexts_of(told.split("|") if isinstance(told, str) else told or [])
    if contexts is None:
        raise ValueError(f"`{parts['context']}` must be a list of texts")
    yield Given(
        row.get(parts["question"]),
        row.get(parts["answer"]),
        id=row.get("id"),
        metadata=others(row, "id", *parts.values()),
        contexts=contexts,
    )


def _fits_promptfoo(columns: Collection[str], sample: Sequence[Row], within: str = "vars.") -> Columns | None:
    given = [value for value in values_of(sample, "vars") if isinstance(value, Mapping)] if "vars" in columns else []
    if not given:
        return None
    answer = "answers" if "answers" in columns else "assert"
    if "question" in columns:  # that was set
        return {"question": "question", "answer": answer}
    keys = dict.fromkeys(key for variables in given for key in variables)
    asked = named(keys, *_ASKED) or _asked_of(keys, given, sample)
    if asked is None:
        there = ", ".join(f"{within}{key}" for key in keys)
        raise ValueError(
            f"which of {there} is the question? Say so (limits.columns.question=COLUMN, with import "
            "--columns question=COLUMN)"
        )
    return {"question": f"{within}{asked}", "answer": answer}


def _asked_of(keys: Collection[str], given: Sequence[Mapping[str, Any]], sample: Sequence[Row]) -> str | None:
    """The one variable that tests differ in and that no check compares with."""
    golds = [gold for row in sample for check in _checks(row.get("assert")) for gold in _compared(check)]
    left = [key for key in keys if key not in _VARIABLE.findall(repr(golds))]
    varied = [key for key in left if len({repr(variables.get(key)) for variables in given}) > 1]
    return left[0] if len(left) == 1 else varied[0] if len(varied) == 1 else None


def _fits_promptfoo_table(columns: Collection[str], sample: Sequence[Row]) -> Columns | None:
    """promptfoo's CSV: a column a variable, and checks in `__expected`, `__expected1`, ..."""
    checks = next((column for column in columns if column.startswith("__expected")), None)
    if checks is None:
        return None
    parts = _fits_promptfoo(("vars", "assert"), [case_of(row) for row in sample], within="")
    return parts and {**parts, "answer": checks}


def _read_case_row(row: Row, parts: Columns) -> Iterator[Given]:
    yield from _read_case(case_of(row), {"question": f"vars.{parts['question']}", "answer": "assert"})


def _read_case(row: Row, parts: Columns) -> Iterator[Given]:
    name = parts["question"].removeprefix("vars.")
    given = row.get("vars")
    given = {**given, name: row[name]} if isinstance(given, Mapping) and parts["question"] in row else given
    if not isinstance(given, Mapping) or given.get(name) is None:
        raise ValueError(f"no `{parts['question']}`")
    metadata = others(row, "id", "vars", "assert", *parts.values())
    # A list in a variable is a test for each of its values.
    names = list(given)
    values = [value if isinstance(value, list) else [value] for value in given.values()]
    for combined in product(*values):
        case = dict(zip(names, combined, strict=True))
        golds = _golds(row, parts["answer"], case)
        asked = case.pop(name)
        if isinstance(asked, str) and asked.startswith("file://"):
            raise ValueError(f"`{parts['question']}` names {asked!r}, which is not there or holds no text")
        yield Given(asked, golds, id=row.get("id") if len(values) == 1 else None, metadata={**case, **metadata})


def _golds(row: Row, answer: str, case: Mapping[str, Any]) -> list[Any]:
    """The answers of a test: those that a column of its own holds, else those that its checks compare with. Raises
    LeftOut where every check is a rule.
    """
    if answer != "assert":
        return [row.get(answer)] if not isinstance(row.get(answer), list) else row[answer]
    golds = [_filled(gold, case) for check in _checks(row.get("assert")) for gold in _compared(check)]
    if not (found := [gold for gold in golds if gold is not None]):
        raise LeftOut(f"no check holds an answer ({', '.join((*_GOLD, *_GOLDS))})")
    return unique(found)


def _filled(gold: Any, case: Mapping[str, Any]) -> Any:
    """The answer with the variables in it; None for a program, and for a template that does more."""
    if not isinstance(gold, str):
        return gold
    text = _VARIABLE.sub(lambda found: str(case.get(found[1], found[0])), gold)
    return None if text.startswith("file://") or "{{" in text or "{%" in text else text.strip()


def _checks(value: Any) -> Iterator[Mapping[str, Any]]:
    for check in value if isinstance(value, list) else [value] if isinstance(value, Mapping) else []:
        if isinstance(check, Mapping):
            yield from _checks(check.get("assert")) if check.get("type") == "assert-set" else (check,)


def _compared(check: Mapping[str, Any]) -> list[Any]:
    kind, value = check.get("type"), check.get("value")
    if kind in _GOLDS:
        return value if isinstance(value, list) else str(value).split(",") if value is not None else []
    return [value] if kind in _GOLD and value is not None and not isinstance(value, Mapping | list) else []


GOLDENS = Format("DeepEval goldens", _fits_goldens, _read_golden)
PROMPTFOO_TABLE = Format("promptfoo tests", _fits_promptfoo_table, _read_case_row)
PROMPTFOO = Format("promptfoo tests", _fits_promptfoo, _read_case)
