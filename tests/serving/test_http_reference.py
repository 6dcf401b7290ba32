"""docs/http.md is what the routes say of themselves. Write it anew with: WRITE_DOCS=1 python -m pytest THIS FILE"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from fakes.everything import open_everything

PAGE = Path(__file__).parents[2] / "docs/http.md"
_LIMITS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "minLength": "from", "maxLength": "to"}


def reference(schema: dict[str, Any]) -> str:
    """A section for each tag, an entry for each route."""
    sections: dict[str, list[str]] = {}
    for path, operations in schema["paths"].items():
        for method, route in operations.items():
            sections.setdefault(route["tags"][0], []).append(_entry(method.upper(), path, route, schema))
    return "\n".join(f"## {tag}\n\n" + "\n".join(entries) for tag, entries in sections.items())


def _entry(method: str, path: str, route: dict[str, Any], schema: dict[str, Any]) -> str:
    lines = [f"**`{method} {path}`** {route['description']}"]
    query = [p for p in route.get("parameters", []) if p["in"] == "query"]
    if query:
        lines.append("- query: " + ", ".join(f"`{p['name']}` {_type(p['schema'], schema)}" for p in query))
    for kind, content in route.get("requestBody", {}).get("content", {}).items():
        body = _followed(content["schema"], schema)
        lines.append(f"- {'form' if 'form' in kind else 'body'}: {_fields(body, schema)}")
        for example in body.get("examples", []):
            lines.append(f"- example: `{json.dumps(example)}`")
    answers = [f"{status} {_answer(response)}".strip() for status, response in sorted(route["responses"].items())]
    lines.append("- answers: " + ", ".join(answer for answer in answers if not answer.startswith("default")))
    return "\n".join(lines) + "\n"


def _fields(body: dict[str, Any], schema: dict[str, Any]) -> str:
    required = body.get("required", [])
    return ", ".join(
        f"`{name}`{'' if name in required else '?'} {_type(field, schema)}".rstrip()
        for name, field in body.get("properties", {}).items()
    )


def _answer(response: dict[str, Any]) -> str:
    shapes = [content["schema"].get("$ref", "").rpartition("/")[2] for content in response.get("content", {}).values()]
    return "".join(f"`{shape}`" for shape in shapes if shape and shape != "ErrorBody")


def _type(field: dict[str, Any], schema: dict[str, Any]) -> str:
    """A field's type in a word or two, its limits and its default."""
    if kinds := field.get("anyOf") or field.get("oneOf"):
        names = [_type(kind, schema) for kind in kinds if kind.get("type") != "null"]
        return " or ".join(dict.fromkeys(names))
    if "$ref" in field:
        body = _followed(field, schema)
        return f"{{{_fields(body, schema)}}}" if body.get("properties") else "object"
    words = [str(field.get("type", ""))]
    if "const" in field or "enum" in field:
        words = ["|".join(f"`{value}`" for value in [field["const"]] if "const" in field)] if "const" in field else []
        words = words or ["\\|".join(f"`{value}`" for value in field["enum"])]
    if "items" in field and (inner := _type(field["items"], schema)):
        words = [f"[{inner}]"]
    limits = [
        ("minimum", ">="),
        ("exclusiveMinimum", ">"),
        ("maximum", "<="),
        ("minLength", "from"),
        ("maxLength", "to"),
    ]
    words += [f"{sign} {field[name]}" for name, sign in limits if name in field]
    if "maxItems" in field:
        words.append(f"at most {field['maxItems']}")
    return " ".join(word for word in words if word)


def _followed(field: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = field.get("$ref", "").rpartition("/")[2]
    return schema["components"]["schemas"][name] if name else field


@pytest.mark.slow
def test_the_page_is_what_the_routes_say(tmp_path: Path) -> None:
    with open_everything(tmp_path) as app:
        routes = reference(app.openapi())
    head, _, written = PAGE.read_text(encoding="utf-8").partition("\n## ")
    if "WRITE_DOCS" in os.environ:
        PAGE.write_text(f"{head}\n{routes}", encoding="utf-8")
    else:
        assert f"## {written}" == routes
