"""JSON Schemas that come with requests, and items checked against them, in a process of its own.

A pattern can hold the interpreter for hours, and `anyOf` in `anyOf` takes exponential time: such a process is ended.

find_fault({"required": ["question"]}, [{}])  # Fault(item=0, place="", message="'question' is a required property")
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# Of a whole run's items, which are at most one body or file of 8 MiB.
_LIMIT_S = 30
_MAX_MEMORY_BYTES = 2 * 2**30


class Fault(NamedTuple):
    """What is wrong: at a place in an item, or with the schema itself when `item` is None."""

    item: int | None
    place: str
    message: str


def find_fault(schema: Mapping[str, Any], items: Sequence[Mapping[str, Any]] = ()) -> Fault | None:
    """The first fault of the schema or of an item, None without one."""
    asked = json.dumps({"schema": schema, "items": items})
    try:
        # As a file and isolated: this module's package need not be imported, nor anything of the working directory.
        command = [sys.executable, "-I", __file__]
        done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=_LIMIT_S, check=True)
    except subprocess.SubprocessError:
        # Also ended by the limits of its own.
        return Fault(None, "", f"takes over {_LIMIT_S} s or {_MAX_MEMORY_BYTES // 2**20} MiB to follow; simplify it")
    found = json.loads(done.stdout)
    return None if found is None else Fault(*found)


def _check(schema: dict[str, Any], items: list[dict[str, Any]]) -> Fault | None:
    import jsonschema
    import referencing
    from referencing.jsonschema import DRAFT202012

    def follow(part: referencing.Resource[Any], resolver: Any) -> None:
        if isinstance(part.contents, dict) and "$ref" in part.contents:
            resolver.lookup(part.contents["$ref"])
        for inner in part.subresources():
            follow(inner, resolver.in_subresource(inner))

    draft = jsonschema.Draft202012Validator
    try:
        draft.check_schema(schema, format_checker=jsonschema.FormatChecker(formats=["regex"]))
        # With a registry of its own the validator fetches nothing: a schema must not make the server call addresses.
        registry: referencing.Registry[Any] = referencing.Registry()
        whole = DRAFT202012.create_resource(schema)
        follow(whole, registry.resolver_with_root(whole))
        validator = draft(schema, registry=registry)
        for number, item in enumerate(items):
            for fault in validator.iter_errors(item):
                place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in fault.absolute_path)
                return Fault(number, place, fault.message[:300])
    except jsonschema.SchemaError as error:
        return Fault(None, "", f"is no JSON Schema: {error.message[:300]}")
    except Exception as error:
        return Fault(None, "", f"cannot be followed: {str(error)[:300] or type(error).__name__}")
    return None


if __name__ == "__main__":
    # Also for a server that is killed meanwhile.
    resource.setrlimit(resource.RLIMIT_CPU, (_LIMIT_S, _LIMIT_S))
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
    json.dump(_check(**json.load(sys.stdin)), sys.stdout)
