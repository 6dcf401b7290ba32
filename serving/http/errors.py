"""HTTP errors in OpenAI's shape, and the one table from exceptions to statuses."""

from __future__ import annotations

from typing import Any

from openai.types import ErrorObject
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from rag.errors import RagError
from router.errors import EngineRejected, EngineUnavailable, RouterError
from serving.errors import (
    ClientGone,
    Conflict,
    Invalid,
    Moved,
    NotFound,
    NotPromotable,
    Overloaded,
    TooLarge,
    Unauthorized,
)
from storage.errors import ArbiterError, UnfitValue

RETRY_AFTER_S = 2

# The first class that fits: its status, and the code of an error that brings none. A refusal is 4xx; trouble of the
# engine, an index or the disk is 503.
_STATUSES: tuple[tuple[type[Exception], int, str | None], ...] = (
    (Invalid, 400, None),
    (UnfitValue, 400, "invalid_value"),
    (Unauthorized, 401, "invalid_api_key"),
    (NotFound, 404, None),
    (NotPromotable, 409, "not_promotable"),
    (Conflict, 409, None),
    (Moved, 410, "moved"),
    (TooLarge, 413, None),
    (Overloaded, 429, None),
    # For the log alone, as nginx has it.
    (ClientGone, 499, None),
    (EngineUnavailable, 503, "engine_unavailable"),
    (RouterError, 400, None),
    (RagError, 503, "index_unavailable"),
    (ArbiterError, 503, "unavailable"),
    (Exception, 500, "internal_error"),
)
_MEANINGS: dict[int | str, str] = {
    400: "a field that cannot be honoured; `param` names it",
    401: "the API key is missing or wrong",
    404: "nothing has this id",
    409: "it cannot be done as things stand",
    413: "more than is taken",
    429: "too much waits; try again after `Retry-After`",
    # Also keeps FastAPI from documenting a 422 that is never sent.
    "default": "a mistake of the server; its log has the reason",
    503: "the engine, an index or the disk is away; try again after `Retry-After`",
}
_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


class ErrorBody(BaseModel):
    """OpenAI's error: `param` names the field at fault, `code` is for programs."""

    error: ErrorObject


def refusals(*statuses: int | str) -> dict[int | str, dict[str, Any]]:
    """The documentation of a route's refusals."""
    return {status: {"model": ErrorBody, "description": _MEANINGS[status]} for status in statuses}


def shown_as(kind: str, description: str) -> dict[int | str, dict[str, Any]]:
    """The documentation of an answer that is no JSON; its route has `response_class=Response`."""
    return {200: {"description": description, "content": {kind: {"schema": {"type": "string"}}}}}


def error_body(error: Exception) -> dict[str, object]:
    """`{"error": {"message", "type", "param", "code"}}`."""
    status, code = _status_and_code(error)
    message = str(error)
    if isinstance(error, HTTPException):
        message = f"{error.detail}; the API is under /v1"
    elif status == 500:
        message = "the server failed on this request; its log has the reason"
    return {
        "error": {
            "message": message,
            "type": _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error"),
            "param": getattr(error, "param", None),
            "code": getattr(error, "code", None) or code,
        }
    }


def error_response(error: Exception) -> JSONResponse:
    """The response to a refused or failed request."""
    status, _ = _status_and_code(error)
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status in (429, 503) else None
    return JSONResponse(error_body(error), status_code=status, headers=headers)


def _status_and_code(error: Exception) -> tuple[int, str | None]:
    if isinstance(error, HTTPException):
        return error.status_code, None
    status, code = next((status, code) for kind, status, code in _STATUSES if isinstance(error, kind))
    return error.status if isinstance(error, EngineRejected) else status, code
