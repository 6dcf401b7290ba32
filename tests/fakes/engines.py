"""Engines for tests: one that answers from a function, and an openai client whose HTTP ends in a function."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import httpx2
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from rag.passage import Passage
from rag.search.settings import SearchSettings
from router.answering.engine import EngineRequest, HttpEngine, Place

Reply = Callable[[EngineRequest], str]


async def placed(hold: Callable[[str], AbstractAsyncContextManager[Place]] | None, model: str) -> Place:
    """Where a model is asked."""
    assert hold is not None, "somebody else's engine has one place for all"
    async with hold(model) as place:
        return place


def completion(
    text: str, *, model: str = "m", prompt_tokens: int = 7, generated_tokens: int = 3, cached_tokens: int | None = None
) -> ChatCompletion:
    return ChatCompletion.model_validate(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": model,
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": generated_tokens,
                "total_tokens": prompt_tokens + generated_tokens,
                "prompt_tokens_details": None if cached_tokens is None else {"cached_tokens": cached_tokens},
            },
        }
    )


def chunk(text: str | None, *, finish: str | None = None, usage: bool = False, model: str = "m") -> ChatCompletionChunk:
    choices = [] if usage else [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]
    return ChatCompletionChunk.model_validate(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": model,
            "choices": choices,
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10} if usage else None,
        }
    )


class ScriptedEngine:
    """Answers with `reply(request)`, whole or word by word; keeps every request. A raised exception is passed on.

    Whole answers report `cached_tokens`, unless it is None.
    """

    def __init__(self, reply: Reply, *, cached_tokens: int | None = None) -> None:
        self.reply = reply
        self.cached_tokens = cached_tokens
        self.requests: list[EngineRequest] = []

    def hold(self, _model: str) -> AbstractAsyncContextManager[Place]:
        return nullcontext(Place("http://engine.test/v1"))

    async def complete(self, request: EngineRequest) -> ChatCompletion:
        self.requests.append(request)
        return completion(self.reply(request), model=request.model, cached_tokens=self.cached_tokens)

    async def stream(self, request: EngineRequest) -> AsyncIterator[ChatCompletionChunk]:
        self.requests.append(request)
        words = self.reply(request).split(" ")
        for i, word in enumerate(words):
            yield chunk(word if i == 0 else f" {word}", model=request.model)
        yield chunk(None, finish="stop", model=request.model)
        yield chunk(None, usage=True, model=request.model)


class Wire:
    """An HttpEngine whose bytes end here: `bodies` are the raw request bodies, in order."""

    def __init__(
        self, status: int = 200, body: dict[str, Any] | None = None, *, fault: Exception | None = None
    ) -> None:
        self.bodies: list[bytes] = []
        self._status, self._body, self._fault = status, body, fault
        client = httpx2.AsyncClient(transport=httpx2.MockTransport(self._handle))
        self.engine = HttpEngine("http://engine.test/v1", client=client)

    def _handle(self, request: httpx2.Request) -> httpx2.Response:
        self.bodies.append(request.content)
        if self._fault is not None:
            raise self._fault
        if self._body is not None:
            return httpx2.Response(self._status, json=self._body)
        asked = json.loads(request.content)
        if asked.get("stream"):
            events = [chunk("Ni"), chunk("ne"), chunk(None, finish="stop"), chunk(None, usage=True)]
            lines = [f"data: {event.model_dump_json(exclude_unset=True)}\n\n" for event in events]
            text = "".join([*lines, "data: [DONE]\n\n"])
            return httpx2.Response(200, text=text, headers={"content-type": "text/event-stream"})
        return httpx2.Response(200, json=completion("Nine").model_dump(mode="json"))


class FixedRetriever:
    """Finds the same passages for every query and keeps the queries."""

    def __init__(self, *passages: Passage) -> None:
        self.passages = passages
        self.queries: list[tuple[str, int]] = []

    def search(self, query: str, k: int, *, settings: SearchSettings | None = None) -> tuple[Passage, ...]:
        self.queries.append((query, k))
        return self.passages[:k]


def passage(text: str, *, document: str = "d1", rank: int = 1, title: str = "", **metadata: object) -> Passage:
    return Passage(
        chunk_id=f"{document}-{rank}",
        document_id=document,
        title=title,
        text=text,
        score=1.0 - rank / 10,
        rank=rank,
        metadata=metadata,
    )
