"""`POST /v1/chat/completions`, whole and streamed: `add_surface(app, chat_routes())`."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import asdict
from functools import cache
from typing import Literal

# The client does so when it is first used; then the first chat, and all requests beside it, would wait for it.
import openai.resources.chat.completions  # noqa: F401  # for that alone
from fastapi import APIRouter, Request
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response, StreamingResponse

from router.answering.answerer import Answerer, Prepared
from router.answering.citations import filename_of
from router.errors import EngineUnavailable
from serving.chat.request import ChatBody
from serving.errors import ClientGone
from serving.http.body import ApiRoute
from serving.http.entry import served_by
from serving.http.errors import error_body, refusals
from serving.http.routes import surface

_log = logging.getLogger("arbiter.http")


class FoundPassage(BaseModel):
    """A passage that the model was shown."""

    file_id: str
    filename: str
    title: str
    source: str
    page: int | None
    headings: list[str]
    rank: int
    score: float
    text: str


class ShownProposal(BaseModel):
    """What a proposer of a mixture said, or why it said nothing."""

    arm: str
    text: str
    error: str | None


class Retrieved(BaseModel):
    """Which arm answered, which model it chose if it has several, and what it was shown; of a mixture also what its
    proposers were.
    """

    arm: str
    kind: str
    chosen: str | None = None
    query: str
    retrieval_ms: float
    passages: list[FoundPassage]
    proposals: list[ShownProposal]
    proposing_ms: float

    @classmethod
    def of(cls, prepared: Prepared) -> Retrieved:
        """What was found for a prepared answer."""
        shown = [
            FoundPassage.model_validate({**asdict(p), "file_id": p.document_id, "filename": filename_of(p)})
            for p in prepared.passages
        ]
        arm = prepared.arm
        return cls(
            arm=arm.name,
            kind=arm.kind,
            chosen=prepared.chosen,
            query=prepared.query,
            retrieval_ms=round(prepared.retrieval_ms, 1),
            passages=shown,
            proposals=[ShownProposal(arm=one.arm, text=one.text, error=one.error) for one in prepared.proposals],
            proposing_ms=round(prepared.proposing_ms, 1),
        )


class CitedPassage(BaseModel):
    """A passage that an answer rests on, at `index` of it; `quote` stands word for word in the passage."""

    type: Literal["file_citation"]
    file_id: str
    filename: str
    index: int
    rank: int
    page: int | None = None
    quote: str | None = None
    start: int | None = None
    end: int | None = None


class Reply(ChatCompletionMessage):
    """OpenAI's message, with citations."""

    annotations: list[CitedPassage]  # type: ignore[assignment]


class ReplyChoice(Choice):
    """OpenAI's choice."""

    message: Reply


class Completion(ChatCompletion):
    """OpenAI's chat completion, and what it was made from."""

    choices: list[ReplyChoice]  # type: ignore[assignment]
    arbiter: Retrieved


_RESPONSES = {
    200: {
        "model": Completion,
        "description": "The answer, or with `stream` its chunks as server-sent events that end with `data: [DONE]`. "
        "The headers `x-arbiter-arm`, `x-arbiter-decision` and `x-arbiter-confidence` say who answered and why, "
        "`x-arbiter-chosen` which model an arm with topics chose for the question.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    **refusals(400, 404, 413),
}


@cache
def chat_routes() -> APIRouter:
    """The route, answering through whatever is current when a request comes in."""
    router = surface(tag="chat", route_class=ApiRoute)

    @router.post("/chat/completions", responses=_RESPONSES)
    async def chat_completions(request: Request, asked: ChatBody) -> Response:
        """Answer a conversation with the decided arm, or with one that `model` names."""
        return await _while_connected(request, _answered(request, asked))

    return router


async def _while_connected(request: Request, answering: Coroutine[None, None, Response]) -> Response:
    """The response, given up when the client leaves: the engine stops when its connection is closed in turn."""
    # The body is read, so what comes next is that the client has gone.
    answered, gone = asyncio.ensure_future(answering), asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait((answered, gone), return_when=asyncio.FIRST_COMPLETED)
        if answered.done():
            return answered.result()
        raise ClientGone("the client left before it was answered")
    finally:
        answered.cancel()
        gone.cancel()
        await asyncio.gather(answered, gone, return_exceptions=True)


async def _answered(request: Request, asked: ChatBody) -> Response:
    served = served_by(request)
    arm = served.arm(asked.model)
    request.scope["arm"] = arm.name
    prepared = await served.answerer.prepare(arm, asked.conversation, asked.options)
    headers = served.headers(arm) | ({"x-arbiter-chosen": prepared.chosen} if prepared.chosen is not None else {})
    if asked.stream:
        return await _streamed(served.answerer, prepared, asked, headers)
    answer = await served.answerer.answer(prepared)
    reply = answer.completion.model_dump(mode="json", exclude_none=True)
    reply["model"] = arm.name
    for choice in reply["choices"]:
        text = choice["message"].setdefault("content", "")
        choice["message"]["annotations"] = [c.annotation() for c in prepared.cite(text)]
    reply["arbiter"] = Retrieved.of(prepared).model_dump()
    return JSONResponse(reply, headers=headers)


async def _streamed(
    answerer: Answerer, prepared: Prepared, asked: ChatBody, headers: Mapping[str, str]
) -> StreamingResponse:
    chunks = answerer.stream(prepared)
    # The first chunk is awaited before the status line goes out, so an engine that is away is a 503 and not a torn
    # stream.
    if (first := await anext(chunks, None)) is None:
        raise EngineUnavailable("the engine ended the stream before it began")

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


def _event(chunk: ChatCompletionChunk, prepared: Prepared, asked: ChatBody) -> str | None:
    """One server-sent event; None for the usage chunk of a request that did not ask for it."""
    body = chunk.model_dump(mode="json", exclude_none=True)
    if not body["choices"] and not asked.stream_options.include_usage:
        return None
    body["model"] = prepared.arm.name
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
