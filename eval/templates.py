"""Templates of evals: text with `{{item.question}}` or `{{sample.output_text}}` in it, and nothing that is executed.

render("Q: {{item.question}}", {"item": {"question": "When?"}})  # "Q: When?"
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator

from eval.errors import EvalError

_PLACE = re.compile(r"\{\{\s*(.*?)\s*\}\}", re.DOTALL)
_PATH = re.compile(r"(?:item|sample)(?:\.[\w-]+|\[\d+\])+")
_PART = re.compile(r"[\w-]+")


class TemplateError(EvalError, ValueError):
    """The template itself is not possible, whatever the values."""


def references(template: str) -> tuple[str, ...]:
    """The paths a template names, such as `item.question`, in order. Raises TemplateError for anything else in it.

    A path starts with item or sample and goes on with names and list positions: `item.options[0]`, `item.options.0`.
    """
    paths = _PLACE.findall(template)
    for path in paths:
        if not _PATH.fullmatch(path):
            raise TemplateError(f"'{{{{{path}}}}}' is no reference; write {{{{item.NAME}}}} or {{{{sample.NAME}}}}")
    rest = _PLACE.sub("", template)
    if "{{" in rest or "{%" in rest:
        raise TemplateError(f"{template[:80]!r} holds a brace that is not closed, or a statement; only references work")
    return tuple(paths)


def _checked(template: str) -> str:
    references(template)
    return template


Template = Annotated[str, AfterValidator(_checked)]


def look_up(path: str, values: Mapping[str, object]) -> object:
    """The value at a path. Raises EvalError naming the part that is not there."""
    found: object = values
    for part in _PART.findall(path):
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif isinstance(found, Sequence) and not isinstance(found, str) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            raise EvalError(f"{path} is not there: no {part!r} in this row")
    return found


def render(template: str, values: Mapping[str, object]) -> str:
    """The template with every reference replaced; values that are not text are written as JSON.

    What a value holds is not looked at again, so a row cannot bring a template of its own. Raises TemplateError, and
    EvalError where a value is not there or null.
    """
    references(template)

    def value_of(match: re.Match[str]) -> str:
        value = look_up(match[1], values)
        if value is None:
            raise EvalError(f"{match[1]} is null in this row")
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    return _PLACE.sub(value_of, template)
