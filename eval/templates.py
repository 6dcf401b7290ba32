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

NAMESPACES = ("item", "sample")
_PLACE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_PATH = re.compile(r"[A-Za-z_][\w-]*(?:\.[\w-]+|\[\d+\])*")
_PART = re.compile(r"[\w-]+")


class TemplateError(EvalError, ValueError):
    """The template itself is not possible, whatever the values."""


class MissingValue(EvalError):
    """The template is fine, and the row it is rendered for does not have what it names."""


def references(template: str) -> tuple[str, ...]:
    """The paths a template names, such as `item.question`, in order. Raises TemplateError for anything else in it.

    A path starts with item or sample and goes on with names and list positions: `item.options[0]`, `item.options.0`.
    """
    paths = []
    for match in _PLACE.finditer(template):
        path = match.group(1).strip()
        if not _PATH.fullmatch(path):
            raise TemplateError(f"{match.group(0)!r} is no reference; write {{{{item.NAME}}}} or {{{{sample.NAME}}}}")
        if _PART.findall(path)[0] not in NAMESPACES or len(_PART.findall(path)) < 2:
            raise TemplateError(f"{match.group(0)!r} names neither item.NAME nor sample.NAME; those two are known")
        paths.append(path)
    rest = _PLACE.sub("", template)
    if "{{" in rest or "{%" in rest:
        raise TemplateError(f"{template[:80]!r} holds a brace that is not closed, or a statement; only references work")
    return tuple(paths)


def _checked(template: str) -> str:
    references(template)
    return template


Template = Annotated[str, AfterValidator(_checked)]


def look_up(path: str, values: Mapping[str, object]) -> object:
    """The value at a path. Raises MissingValue naming the part that is not there."""
    found: object = values
    for part in _PART.findall(path):
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif isinstance(found, Sequence) and not isinstance(found, str) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            raise MissingValue(f"{path} is not there: no {part!r} in this row")
    return found


def render(template: str, values: Mapping[str, object]) -> str:
    """The template with every reference replaced; values that are not text are written as JSON.

    What a value holds is not looked at again, so a row cannot bring a template of its own. Raises TemplateError, and
    MissingValue where a value is not there or null.
    """
    references(template)

    def value_of(match: re.Match[str]) -> str:
        path = match.group(1).strip()
        value = look_up(path, values)
        if value is None:
            raise MissingValue(f"{path} is null in this row")
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    return _PLACE.sub(value_of, template)
