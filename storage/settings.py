"""Settings: one frozen class says each one's name, bounds and default, and a wrong value is refused in plain words.

@settings(RagError)
class SearchSettings:
    candidates: Annotated[int, Field(ge=1, le=1000)] = 100
    "How many passages the later steps see."

SearchSettings(candidates=0)  # RagError: candidates must be a whole number from 1 to 1000, not 0

The same class is a section of the YAML config, and the text below a field is its line in docs/configuration.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, dataclass_transform
from urllib.parse import urlsplit

import pydantic.dataclasses
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from storage.errors import ArbiterError, did_you_mean

T = TypeVar("T")


def _no_truth(value: object) -> object:
    if isinstance(value, bool):
        raise PydanticCustomError("number_type", "a truth value is no number")
    return value


# Behind the bounds of a number: Python takes True for 1.
NUMBER = BeforeValidator(_no_truth)
Count = Annotated[int, Field(ge=1), NUMBER]
Whole = Annotated[int, Field(ge=0), NUMBER]
Above0 = Annotated[float, Field(gt=0), NUMBER]
NotNegative = Annotated[float, Field(ge=0), NUMBER]
Share = Annotated[float, Field(ge=0, le=1), NUMBER]


def _one_spelling(name: str) -> str:
    folder = Path(name).expanduser()
    return str(folder.resolve()) if folder.is_dir() else name


# A hub id, or a folder, which has one spelling wherever it was named from.
ModelName = Annotated[str, Field(min_length=1), AfterValidator(_one_spelling)]


def _http_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    if not is_whole:
        raise ValueError(f"must be a URL as http://HOST:PORT/v1, not {text!r}")
    return text


HttpUrl = Annotated[str, AfterValidator(_http_url)]

_Schema = Mapping[str, Any]
_KINDS = {
    "boolean": "true or false",
    "null": "null",
    "object": "a section of keys",
    "string": "text",
    "password": "text",
    "path": "a path",
}
_BOUNDS = {
    "minimum": "of at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
    "multipleOf": "a multiple of",
}
_SHOWN = 4
_MOST_SHOWN = 100


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, Field))
def settings(error: type[ArbiterError] | None = None) -> Callable[[type[T]], type[T]]:
    """A decorator: a frozen, slotted dataclass that raises `error` for values out of their bounds.

    Without `error` they are checked only where they are part of something that is: a config. `__post_init__` raises
    ValueError for values that do not fit each other, beginning with the name of one.
    """

    def decorate(cls: type[T]) -> type[T]:
        config = ConfigDict(extra="forbid", allow_inf_nan=False)
        if error is None:
            plain: Any = dataclasses.dataclass(frozen=True, slots=True)(cls)
            plain.__pydantic_config__ = config
            return plain  # type: ignore[no-any-return]
        made: Any = pydantic.dataclasses.dataclass(frozen=True, slots=True, config=config)(cls)
        check = made.__init__

        def __init__(self: T, *args: Any, **kwargs: Any) -> None:
            try:
                check(self, *args, **kwargs)
            except ValidationError as fault:
                raise error("; ".join(faults_of(fault, TypeAdapter(made).json_schema()))) from fault

        made.__init__ = __init__
        return made  # type: ignore[no-any-return]  # pydantic's decorator loses the class

    return decorate


def part(whole: object, kind: type[T]) -> T:
    """The fields of `kind` out of a value of a class that adds to it."""
    return kind(**{item.name: getattr(whole, item.name) for item in dataclasses.fields(kind)})  # type: ignore[arg-type]


def faults_of(error: ValidationError, schema: _Schema) -> list[str]:
    """What is wrong, one line a fault: the key, what it must be, and the value. `schema` is the validated class's."""
    found: dict[str, list[str]] = {}
    for fault in error.errors():
        where, node = _walk(schema, fault["loc"], is_tagged=True)
        key = ".".join(map(str, where))
        match fault["type"]:
            case "extra_forbidden" | "unexpected_keyword_argument":
                # Another kind of a choice may have the key.
                where, node = _walk(schema, fault["loc"][:-1], is_tagged=True)
                key = ".".join(map(str, (*where, fault["loc"][-1])))
                lines = [f"{key}: unknown key{_nearest(str(fault['loc'][-1]), node, schema)}"]
            case "value_error":
                lines = [_placed(key, line, node) for line in str(fault["ctx"]["error"]).splitlines()]
            case "missing":
                lines = [f"{key}: missing; it must be {words(node, schema)}"]
            case _:
                lines = [f"{key} must be {words(node, schema)}{_but_is(fault['input'], node, schema)}"]
        found.setdefault(key, []).extend(line for line in lines if line not in found.get(key, []))
    # Of a choice of kinds pydantic names every one that the value is not; the deepest fault is the one to mend.
    deepest = [key for key in found if not any(other.startswith(f"{key}.") for other in found)]
    return [line for key in deepest for line in found[key]]


def words(node: _Schema, root: _Schema) -> str:
    """What a value of a JSON schema must be, for a person: "a whole number from 1 to 20 or null"."""
    node = _resolved(node, root)
    if "anyOf" in node:
        kinds = list(dict.fromkeys(words(branch, root) for branch in node["anyOf"]))
        kinds = [kind for kind in kinds if kind != "a whole number" or "a number" not in kinds]
        return " or ".join([", ".join(kinds[:-1]), kinds[-1]]) if len(kinds) > 1 else kinds[0]
    if "enum" in node:
        return f"one of {', '.join(map(str, node['enum']))}"
    if "const" in node:
        return str(node["const"])
    if node.get("type") in ("integer", "number"):
        return f"a {'whole ' if node['type'] == 'integer' else ''}number{_bounds(node)}"
    if node.get("type") == "array":
        return f"a list of {words(node['items'], root)}" if "type" in node.get("items", {}) else "a list"
    if names := list(node.get("properties", ())):
        return f"a section of keys ({', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"
    return _KINDS.get(str(node.get("format") or node.get("type")), "a value")


def find(schema: _Schema, keys: Sequence[str | int]) -> _Schema | None:
    """The schema of the value at `keys`, None where there is no such key."""
    where, node = _walk(schema, keys)
    return node if len(where) == len(keys) else None


def branches(node: _Schema, root: _Schema) -> list[_Schema]:
    """The kinds that a value may be, null aside; itself where there is no choice."""
    return [
        _resolved(branch, root)
        for branch in node.get("anyOf", node.get("oneOf", [node]))
        if branch.get("type") != "null"
    ]


def _walk(root: _Schema, keys: Sequence[str | int], is_tagged: bool = False) -> tuple[list[str | int], _Schema]:
    """As far down as the keys lead. Where there is a choice of kinds, pydantic's keys are tagged with the kind."""
    where: list[str | int] = []
    node, is_tag = root, False
    for key in keys:
        kinds = branches(node, root)
        is_tag = is_tagged and len(kinds) > 1 and not is_tag
        if is_tag:  # of kinds that say in a key which they are, the one that is meant
            node = next((kind for kind in kinds if _says(kind, key)), node)
        below = None if is_tag else next((found for kind in kinds if (found := _below(kind, key)) is not None), None)
        if below is not None:
            where.append(key)
            node = _resolved(below, root)
    return where, node


def _says(kind: _Schema, name: str | int) -> bool:
    return any(value.get("const") == name for value in kind.get("properties", {}).values())


def _below(node: _Schema, key: str | int) -> _Schema | None:
    if isinstance(key, int):
        found = node.get("items")
    else:
        found = node.get("properties", {}).get(key, node.get("additionalProperties"))
    return found if isinstance(found, Mapping) else None


def _resolved(node: _Schema, root: _Schema) -> _Schema:
    found: _Schema = root["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
    return found


def _bounds(node: _Schema) -> str:
    if "minimum" in node and "maximum" in node:
        return f" from {node['minimum']:g} to {node['maximum']:g}"
    found = [f"{phrase} {node[bound]:g}" for bound, phrase in _BOUNDS.items() if bound in node]
    return f" {' and '.join(found)}" if found else ""


def _but_is(value: object, node: _Schema, root: _Schema) -> str:
    if any(kind.get("format") == "password" for kind in branches(node, root)):
        return ""
    return ", not empty" if value is None else f", not {value!r:.{_MOST_SHOWN}}"


def _placed(key: str, line: str, node: _Schema) -> str:
    """A fault of a whole section, which begins with the name of one of its keys or does not."""
    if not key:
        return line
    first = line.partition(" ")[0]
    between = "." if first.partition(".")[0] in node.get("properties", {}) else " " if first == "must" else ": "
    return f"{key}{between}{line}"


def _nearest(name: str, node: _Schema, root: _Schema) -> str:
    known = [key for branch in branches(node, root) for key in branch.get("properties", {})]
    return did_you_mean(name, known) or f" (there is {', '.join(known)})"
