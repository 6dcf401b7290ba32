"""The OpenAI-compatible HTTP API over the answering path.

GET /v1/models   POST /v1/chat/completions   GET /health   GET /ready   GET / (the decision's report)
"""

from __future__ import annotations

import hmac
import json
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.answerer import Answerer, Prepared, cite
from router.arm import Arm
from router.errors import EngineUnavailable, RouterError
from serving.chat_request import ChatRequest, read_chat_request
from serving.http_errors import ApiError, error_body, error_response, to_api_error

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionChunk

AUTO = "auto"
_MAX_BODY_BYTES = 8 * 2**20
_REQUEST_ID = re.compile(r"[\w.-]{1,64}")
_log = logging.getLogger("arbiter.http")


@dataclass(frozen=True, slots=True)
class Served:
    """What an app serves: the arms of one run, and the decision among them. `api_key` None asks for no key."""

    answerer: Answerer
    arms: Mapping[str, Arm]
    decided_arm: str
    decision_id: str
    confidence: float
    base_model: str
    is_ready: Callable[[], bool]
    created: int
    report: Path | None = None
    api_key: str | None = None

    def arm(self, model: str) -> Arm:
        """The arm of a request's `model`: auto, an arm's name, or `base:adapter` for an adapter without retrieval."""
        if model == AUTO:
            return self.arms[self.decided_arm]
        if model in self.arms:
            return self.arms[model]
        base, _, adapter = model.rpartition(":")
        if base == self.base_model and adapter in {arm.adapter for arm in self.arms.values()}:
            return Arm(name=model, adapter=adapter, top_k=0)
        names = ", ".join([AUTO, *self.arms])
        raise ApiError(404, f"no model {model!r}; this server has {names}", param="model", code="model_not_found")

    def models(self) -> list[dict[str, object]]:
        """OpenAI's model list, with vLLM's `root` and `parent`."""
        return [self.model(name) for name in (AUTO, *self.arms)]

    def model(self, name: str) -> dict[str, object]:
        """One entry of the model list."""
        arm = self.arm(name)
        return {
            "id": name,
            "object": "model",
            "created": self.created,
            "owned_by": "arbiter",
            "root": arm.adapter or self.base_model,
            "parent": self.base_model if arm.adapter else None,
        }


def create_app(served: Served) -> FastAPI:
    """The application; everything it needs is in `served`."""
    app = FastAPI(title="Arbiter", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(_Accounting)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready")
    async def ready() -> Response:
        if served.is_ready():
            return JSONResponse({"status": "ready"})
        return error_response(ApiError(503, "the engine is starting or restarting", code="engine_unavailable"))

    @app.get("/")
    async def report() -> Response:
        if served.report is None or not served.report.is_file():
            raise ApiError(404, "no report; the API is under /v1")
        return FileResponse(served.report, media_type="text/html")

    @app.get("/v1/models")
    async def models(request: Request) -> dict[str, object]:
        _authorize(request, served.api_key)
        return {"object": "list", "data": served.models()}

    @app.get("/v1/models/{name:path}")
    async def model(request: Request, name: str) -> dict[str, object]:
        _authorize(request, served.api_key)
        return served.model(name)

    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        _authorize(request, served.api_key)
        asked = read_chat_request(await _json(request))
        arm = served.arm(asked.model)
        request.scope["arm"] = arm.name
        prepared = await served.answerer.prepare(arm, asked.messages, asked.options)
        headers = {
            "x-arbiter-arm": arm.name,
            "x-arbiter-decision": served.decision_id,
            "x-arbiter-confidence": f"{served.confidence:.3f}",
        }
        if asked.is_stream:
            return await _streamed(served.answerer, prepared, asked, headers)
        answer = await served.answerer.answer(prepared)
        body = answer.completion.model_dump(mode="json", exclude_none=True)
        body["model"] = arm.name
        for choice in body["choices"]:
            text = choice["message"].setdefault("content", "")
            choice["message"]["annotations"] = [c.annotation() for c in cite(text, prepared.passages)]
        body["arbiter"] = _retrieved(prepared)
        return JSONResponse(body, headers=headers)

    @app.exception_handler(HTTPException)
    async def http_error(_request: Request, error: HTTPException) -> Response:
        return error_response(ApiError(error.status_code, f"{error.detail}; the API is under /v1"))

    @app.exception_handler(RequestValidationError)
    async def validation_error(_request: Request, error: RequestValidationError) -> Response:
        return error_response(ApiError(422, str(error.errors()[0]["msg"])))

    @app.exception_handler(Exception)
    async def any_error(_request: Request, error: Exception) -> Response:
        return error_response(to_api_error(error))

    # Registered one by one: the handler of Exception alone would also log a traceback for each of them.
    for expected in (ApiError, RouterError):
        app.add_exception_handler(expected, any_error)
    return app


async def _streamed(
    answerer: Answerer, prepared: Prepared, asked: ChatRequest, headers: Mapping[str, str]
) -> StreamingResponse:
    chunks = answerer.stream(prepared)
    # The first chunk is awaited before the status line goes out, so an engine that is away is a 503 and not a torn
    # stream.
    try:
        first = await anext(chunks)
    except StopAsyncIteration as error:
        raise EngineUnavailable("the engine ended the stream before it began") from error

    async def events() -> AsyncIterator[str]:
        try:
            if event := _event(first, prepared, asked):
                yield event
            async for chunk in chunks:
                if event := _event(chunk, prepared, asked):
                    yield event
        except Exception as error:
            _log.warning("stream broke off arm=%s: %s", prepared.arm.name, error)
            yield f"data: {json.dumps(error_body(to_api_error(error)))}\n\n"
            return
        yield "data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream", headers=dict(headers))


def _event(chunk: ChatCompletionChunk, prepared: Prepared, asked: ChatRequest) -> str | None:
    """One server-sent event; None for the usage chunk of a request that did not ask for it."""
    body = chunk.model_dump(mode="json", exclude_none=True)
    if not body["choices"] and not asked.has_usage_chunk:
        return None
    body["model"] = prepared.arm.name
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"


def _retrieved(prepared: Prepared) -> dict[str, object]:
    return {
        "arm": prepared.arm.name,
        "kind": prepared.arm.kind,
        "retrieval_ms": round(prepared.retrieval_ms, 1),
        "passages": [
            {
                "file_id": p.document_id,
                "filename": p.title or p.document_id,
                "rank": p.rank,
                "score": p.score,
                "text": p.text,
            }
            for p in prepared.passages
        ],
    }


def _authorize(request: Request, api_key: str | None) -> None:
    if api_key is None:
        return
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(token.encode(), api_key.encode()):
        raise ApiError(401, "wrong or missing API key; send Authorization: Bearer KEY", code="invalid_api_key")


async def _json(request: Request) -> object:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _MAX_BODY_BYTES:
            raise ApiError(413, f"the body is over {_MAX_BODY_BYTES} bytes; send less text")
    try:
        return json.loads(bytes(body))
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not valid JSON: {error}") from error


class _Accounting:
    """Gives every response its request id, and every request one line in the log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        started, status = time.perf_counter(), 0

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-arbiter-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            ms = 1000 * (time.perf_counter() - started)
            _log.info(
                "%s %s status=%d arm=%s request_id=%s ms=%.0f",
                scope["method"], scope["path"], status, scope.get("arm", "-"), request_id, ms,
            )  # fmt: skip
