"""HTTP errors in OpenAI's shape, and the one table from exceptions to statuses."""

from __future__ import annotations

from starlette.responses import JSONResponse

from rag.errors import RagError
from router.errors import EngineRejected, EngineUnavailable, RouterError
from serving.errors import NotPromotable, UnknownDecision
from storage.errors import ArbiterError

RETRY_AFTER_S = 2


class ApiError(Exception):
    """A refusal of one request. `param` names the field at fault, `code` is for programs."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code


def to_api_error(error: Exception) -> ApiError:
    """What a client is told about an exception: trouble of the engine, an index or the disk is 503, a refusal 4xx."""
    match error:
        case ApiError():
            return error
        case EngineUnavailable():
            return ApiError(503, str(error), code="engine_unavailable")
        case EngineRejected():
            return ApiError(error.status, str(error), param=error.param)
        case RouterError():
            return ApiError(400, str(error))
        case RagError():
            return ApiError(503, str(error), code="index_unavailable")
        case UnknownDecision():
            return ApiError(404, str(error), code="decision_not_found")
        case NotPromotable():
            return ApiError(409, str(error), code="not_promotable")
        case ArbiterError():
            return ApiError(503, str(error), code="unavailable")
        case _:
            return ApiError(500, "the server failed on this request; its log has the reason", code="internal_error")


def error_body(error: ApiError) -> dict[str, object]:
    """`{"error": {"message", "type", "param", "code"}}`."""
    kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
    return {"error": {"message": str(error), "type": kind, "param": error.param, "code": error.code}}


def error_response(error: ApiError) -> JSONResponse:
    """The response to a refused or failed request."""
    headers = {"Retry-After": str(RETRY_AFTER_S)} if error.status in (429, 503) else None
    return JSONResponse(error_body(error), status_code=error.status, headers=headers)
