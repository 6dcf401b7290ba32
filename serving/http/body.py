"""What every route does with a body: read it while it is of a fair size, check its fields, name the one at fault.

router = surface("/files", "files", route_class=ApiRoute)     its routes take pydantic models
read_model(CreateEval, value)                the same for a value that came another way
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from serving.errors import Invalid, TooLarge

MAX_BODY_BYTES = 8 * 2**20

Model = TypeVar("Model", bound=BaseModel)
Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(max_length=64)],
        Annotated[str, StringConstraints(max_length=512)],
    ],
    Field(max_length=16),
    "OpenAI's labels for the caller's own books",
]
_NO_OBJECT = "the body must be a JSON object, sent with Content-Type: application/json"


class Fields(BaseModel):
    """Fields of a request: unknown ones are refused by name, and types are not guessed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ApiRoute(APIRoute):
    """A route whose JSON body is read whole before FastAPI sees it: at most 8 MiB, and such as can be written again."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def handle_read(request: Request) -> Response:
            raw = bytearray()
            try:
                async for piece in request.stream():
                    raw += piece
                    if len(raw) > MAX_BODY_BYTES:
                        raise TooLarge(f"the body is over {MAX_BODY_BYTES} bytes; send less text")
            except ClientDisconnect as error:
                raise Invalid("the body was broken off") from error
            # What FastAPI is given of it.
            request._body = bytes(raw)
            if raw and "json" in request.headers.get("content-type", ""):
                request._json = decode(request._body, "the body")
            return await handle(request)

        return handle_read


def decode(raw: bytes, name: str, *, param: str | None = None) -> Any:
    """The value of a JSON text that can be written again: no NaN, no halves of surrogate pairs. Raises Invalid."""
    try:
        value = from_json(raw.removeprefix(codecs.BOM_UTF8), allow_inf_nan=False)
        # 1e999 is read as infinite.
        json.dumps(value, allow_nan=False)
    except ValueError as error:
        raise Invalid(f"{name} is not valid JSON: {error}", param=param) from error
    return value


def read_model(model: type[Model], value: object) -> Model:
    """A decoded value as `model`. Raises Invalid naming the field."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _refusal(error.errors(include_url=False), value) from error


def to_invalid(error: RequestValidationError) -> Invalid:
    """FastAPI's fault in our words."""
    faults = [{**fault, "loc": fault["loc"][1:]} for fault in error.errors()]
    is_body = error.errors()[0]["loc"][0] == "body"
    return _refusal(faults, error.body if is_body else {})


def _refusal(faults: Sequence[Mapping[str, Any]], value: object) -> Invalid:
    fault = faults[0]
    kind, given, context = fault["type"], fault["input"], fault.get("ctx", {})
    param = field_path(fault["loc"], value)
    if not param:
        message = str(fault["msg"]) if isinstance(value, dict) else _NO_OBJECT
        return Invalid(message)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        param += f".{context['discriminator'].strip(chr(39))}"
        kind, given = ("literal_error" if "tag" in context else "missing"), context.get("tag")
    match kind:
        case "extra_forbidden":
            return Invalid(f"{param}: not supported; leave it out", param=param, code="unsupported_parameter")
        case "missing":
            return Invalid(f"{param}: missing", param=param)
        case "model_type" | "model_attributes_type" | "dict_type":
            return Invalid(f"{param}: must be an object", param=param)
        case "literal_error":
            known = context.get("expected_tags") or context["expected"]
            message = f"{param}: {given!r:.80} is not supported; use {known}"
            return Invalid(message, param=param, code="unsupported_value")
    words = str(fault["msg"]).removeprefix("Value error, ")
    words = f"{words[0].lower()}{words[1:]}"
    return Invalid(words if words.startswith(param) else f"{param}: {words}", param=param)


def field_path(location: Sequence[int | str], value: object) -> str:
    """`testing_criteria[0].operation` for ("testing_criteria", 0, "string_check", "operation").

    What names no place in `value` names a branch of a union there, and is left out.
    """
    path, node = "", value
    for number, part in enumerate(location, start=1):
        if isinstance(part, int):
            path += f"[{part}]"
            node = node[part] if isinstance(node, list) and part < len(node) else None
        elif isinstance(node, dict) and (part in node or (number == len(location) and part != "[key]")):
            path += f"{'.' if path else ''}{part}"
            node = node.get(part)
    return path
