"""What every route does with a body: read its JSON, check its fields.

body = read_model(CreateEval, await read_json(request))
"""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from serving.errors import Invalid, TooLarge

MAX_BODY_BYTES = 8 * 2**20

Model = TypeVar("Model", bound=BaseModel)
Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(max_length=64)],
        Annotated[str, StringConstraints(max_length=512)],
    ],
    "OpenAI's labels for the caller's own books",
]


class Fields(BaseModel):
    """Fields of a request: unknown ones are refused by name, and types are not guessed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


async def read_json(request: Request) -> object:
    """The decoded body, at most 8 MiB. Raises Invalid."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise TooLarge(f"the body is over {MAX_BODY_BYTES} bytes; send less text")
    try:
        return json.loads(bytes(body))
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the body is not valid JSON: {error}") from error


async def read_storable(request: Request) -> object:
    """A decoded body that can be written out again as it came in. Raises Invalid."""
    body = await read_json(request)
    check_storable(body)
    return body


def check_storable(value: object, *, name: str = "the body", param: str | None = None) -> None:
    """Refuse what was decoded from JSON and is none: NaN, halves of surrogate pairs. Raises Invalid."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise Invalid(f"{name} holds half of a surrogate pair; send valid Unicode", param=param) from error
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{name} is not valid JSON: {error}", param=param) from error


def read_model(model: type[Model], value: object, *, at: str = "") -> Model:
    """A decoded value as `model`; `at` is where the value stands in the body. Raises Invalid naming the field."""
    if not isinstance(value, dict):
        raise Invalid(f"{at or 'the body'} must be a JSON object", param=at or None)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        param = field_path(at, fault["loc"])
        raise Invalid(f"{param}: {_words(fault)}", param=param) from error


def field_path(at: str, location: tuple[int | str, ...]) -> str:
    """`testing_criteria[0].operation` for ("testing_criteria", 0, "operation")."""
    path = at
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f"{'.' if path else ''}{part}"
    return path


def _words(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        return "not supported; leave it out"
    if fault["type"] == "missing":
        return "missing"
    message = str(fault["msg"]).removeprefix("Value error, ")
    return message[0].lower() + message[1:]
