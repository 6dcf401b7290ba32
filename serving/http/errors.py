"""HTTP errors in OpenAI's shape, and the one table from exceptions to statuses."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from rag.errors import RagError
from router.errors import EngineRejected, EngineUnavailable, RouterError
from serving.errors import (
    Conflict,
    Invalid,
    Moved,
    NotFound,
    NotPromotable,
    Overloaded,
    TooLarge,
    Unauthorized,
    UnknownDecision,
)
from storage.errors import ArbiterError

RETRY_AFTER_S = 2

# The first class that fits: its status, and the code of an error that brings none. A refusal is 4xx; trouble of the
# engine, an index or the disk is 503.
_STATUSES: tuple[tuple[type[Exception], int, str | None], ...] = (
    (Invalid, 400, None),
    (Unauthorized, 401, "invalid_api_key"),
    (UnknownDecision, 404, "decision_not_found"),
    (NotFound, 404, None),
    (NotPromotable, 409, "not_promotable"),
    (Conflict, 409, None),
    (Moved, 410, "moved"),
    (TooLarge, 413, None),
    (Overloaded, 429, None),
    (EngineUnavailable, 503, "engine_unavailable"),
    (RouterError, 400, None),
    (RagError, 503, "index_unavailable"),
    (ArbiterError, 503, "unavailable"),
    (Exception, 500, "internal_error"),
)
_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


def status_of(error: Exception) -> int:
    """The status that a client is told."""
    match error:
        case HTTPException():
            return error.status_code
        case EngineRejected():
            return error.status
        case _:
            return next(status for kind, status, _ in _STATUSES if isinstance(error, kind))


def error_body(error: Exception) -> dict[str, object]:
    """`{"error": {"message", "type", "param", "code"}}`."""
    status = status_of(error)
    message = str(error)
    if isinstance(error, HTTPException):
        message = f"{error.detail}; the API is under /v1"
    elif status == 500:
        message = "the server failed on this request; its log has the reason"
    code = next(code for kind, _, code in _STATUSES if isinstance(error, kind))
    return {
        "error": {
            "message": message,
            "type": _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error"),
            "param": getattr(error, "param", None),
            "code": getattr(error, "code", None) or (None if isinstance(error, HTTPException) else code),
        }
    }


def error_response(error: Exception) -> JSONResponse:
    """The response to a refused or failed request."""
    status = status_of(error)
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status in (429, 503) else None
    return JSONResponse(error_body(error), status_code=status, headers=headers)
