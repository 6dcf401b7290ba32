"""`POST /v1/chat/completions`, whole and streamed: `app.include_router(chat_routes(), prefix="/v1")`."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from router.answering.answerer import Answerer, Prepared
from router.answering.citations import filename_of
from router.errors import EngineUnavailable
from serving.chat.request import ChatRequest, read_chat_request
from serving.http.body import read_json
from serving.http.entry import served_by
from serving.http.errors import error_body

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionChunk

_log = logging.getLogger("arbiter.http")


def chat_routes() -> APIRouter:
    """The route, answering through whatever is current when a request comes in."""
    router = APIRouter()

    @router.post("/chat/completions")
    async def chat_completions(request: Request) -> Response:
        asked = read_chat_request(await read_json(request))
        served = served_by(request)
        arm = served.arm(asked.model)
        request.scope["arm"] = arm.name
        prepared = await served.answerer.prepare(arm, asked.messages, asked.options)
        headers = served.headers(arm)
        if asked.is_stream:
            return await _streamed(served.answerer, prepared, asked, headers)
        answer = await served.answerer.answer(prepared)
        body = answer.completion.model_dump(mode="json", exclude_none=True)
        body["model"] = arm.name
        for choice in body["choices"]:
            text = choice["message"].setdefault("content", "")
            choice["message"]["annotations"] = [c.annotation() for c in prepared.cite(text)]
        body["arbiter"] = _retrieved(prepared)
        return JSONResponse(body, headers=headers)

    return router


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
            yield f"data: {json.dumps(error_body(error))}\n\n"
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
        "query": prepared.query,
        "retrieval_ms": round(prepared.retrieval_ms, 1),
        "passages": [
            {
                "file_id": p.document_id,
                "filename": filename_of(p),
                "title": p.title,
                "source": p.source,
                "page": p.page,
                "headings": list(p.headings),
                "rank": p.rank,
                "score": p.score,
                "text": p.text,
            }
            for p in prepared.passages
        ],
    }
