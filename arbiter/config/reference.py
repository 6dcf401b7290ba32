"""docs/configuration.md, written from the schema: `python -m arbiter.config.reference > docs/configuration.md`."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, get_args, get_origin, get_type_hints

import yaml
from pydantic import TypeAdapter

from arbiter.config.schema import Config
from arbiter.config.sections import STANDARD_ADAPTERS, STANDARD_ARMS
from storage.settings import words
from tuning.objectives.objective import ObjectiveSettings
from tuning.recipe import Recipe

# Sections that are of several kinds: what all of them have, and the key that says which one it is.
_FAMILIES: Mapping[type, str] = {Recipe: "method", ObjectiveSettings: "name"}

_HEAD = """\
# Configuration

Every key with its bounds, its default and its meaning. `python -m arbiter.config.reference` writes this page out of the
code; change the words where the setting stands.

A config is a YAML file of what differs from the defaults. The environment comes over the file, and `key=value` after a
command over both:

```sh
ARBITER_INDEX__TOP_K=4 arbiter run configs/demo.yaml data=my/folder limits.questions=60 arms.wide.index=documents
```

In the environment a key is `ARBITER_` and its parts in capitals, joined by two underscores. Values are read as YAML. An
unknown key is refused, in the environment too, where names that end in `KEY` are left to engines and judges;
`arbiter check` lists every fault at once. Arms and adapters that a config names are added to these; `null` takes one
away:

```yaml
"""


def reference() -> str:
    """The page as Markdown: how a config is given, and a table a section."""
    standard = {"arms": STANDARD_ARMS, "adapters": STANDARD_ADAPTERS}
    shown = yaml.safe_dump(standard, default_flow_style=None, sort_keys=False)
    sections = {kind: ".".join(path).replace(". ", " ") for path, kind in _sections((), Config, set())}
    return _HEAD + shown + "```\n" + "".join(_table(kind, sections) for kind in sections)


def _sections(path: tuple[str, ...], kind: type, seen: set[type]) -> Iterator[tuple[tuple[str, ...], type]]:
    """Every section with its keys, once and the outer one first; of the kinds of one section, what they share first."""
    seen.add(kind)
    family = _family(kind)
    if family is not kind:
        if family not in seen:
            yield from _sections(path, family, seen)
        path = (*path, f" of {_FAMILIES[family]} {_name_of(kind, family)}")
    yield path, kind
    for name, annotation in get_type_hints(kind).items():
        below = (*path, name, *(["NAME"] if get_origin(annotation) is dict else []))
        for section in _classes(annotation):
            if section not in seen:
                yield from _sections(below, section, seen)


def _classes(annotation: Any) -> list[type]:
    """The classes of the sections that a key takes; none where it takes plain values."""
    if dataclasses.is_dataclass(annotation):
        return [annotation]  # type: ignore[list-item]
    return [kind for argument in get_args(annotation) for kind in _classes(argument)]


def _table(kind: type, sections: Mapping[type, str]) -> str:
    path = sections[kind]
    lines = ["", f"## {path or 'Top level'}", "", *_text(kind.__doc__), ""]
    if path and " " not in path:
        lines += [f"In the environment: `ARBITER_{path.replace('.', '__').upper()}__KEY`.", ""]
    family = _family(kind)
    shared = _rows(family, sections) if family is not kind else []
    key = _FAMILIES.get(family)
    rows = [row for row in _rows(kind, sections) if row not in shared and not row.startswith(f"| `{key}` |")]
    head = ["| key | value | default | meaning |", "|---|---|---|---|"] if rows else []
    return "\n".join([*lines, *head, *rows, *([""] if rows else [])])


def _family(kind: type) -> type:
    """What a kind shares with others of one section; itself where there are none."""
    return next((family for family in _FAMILIES if issubclass(kind, family)), kind)


def _name_of(kind: type, family: type) -> str:
    """What the key that says which kind it is says."""
    return str(TypeAdapter(kind).json_schema()["properties"][_FAMILIES[family]]["default"])


def _rows(kind: type, sections: Mapping[type, str]) -> list[str]:
    """A line of the table for each key."""
    schema, meanings, lines = TypeAdapter(kind).json_schema(), _meanings(kind), []
    for name, annotation in get_type_hints(kind).items():
        value, default = words(schema["properties"][name], schema), _default(schema, name)
        meaning = meanings.get(name, "")
        for section in _classes(annotation)[:1]:
            section = _family(section)
            where, is_named = sections[section].partition(" ")[0], get_origin(annotation) is dict
            value = f"[{where}](#{where.replace('.', '').lower()})"
            default = "" if is_named or default != "`null`" else default
            meaning = meaning or _text(section.__doc__)[0]
        lines.append(f"| `{name}` | {value} | {default} | {meaning} |")
    return lines


def _default(schema: Mapping[str, Any], name: str) -> str:
    if name in schema.get("required", ()):
        return "required"
    default = schema["properties"][name].get("default", {})
    return f"`{json.dumps(default)}`" if isinstance(default, str | int | float | None) else ""


def _meanings(kind: type) -> dict[str, str]:
    """The text below each field, in the class and in those it adds to."""
    found = {}
    for base in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(base) and base is not Config:
            continue
        (body,) = ast.parse(inspect.getsource(base)).body
        assert isinstance(body, ast.ClassDef)
        for field, text in pairwise(body.body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                found[ast.unparse(field.target)] = " ".join(str(text.value.value).split())
    return found


def _text(doc: str | None) -> list[str]:
    """A docstring's paragraphs, a line each."""
    return [" ".join(paragraph.split()) for paragraph in inspect.cleandoc(doc or "").split("\n\n")]


if __name__ == "__main__":
    sys.stdout.write(reference())
