"""The one answering path: retrieve, render, ask the engine, cite.

Evaluation and the HTTP API both answer through `Answerer`, so what is measured is what is served.

    prepared = await answerer.prepare(arm, [{"role": "user", "content": "When does the loan desk open?"}])
    answer = await answerer.answer(prepared)
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rag.passage import Passage
from router.arm import Arm
from router.engine import Engine, EngineRequest
from router.errors import EngineUnavailable, RouterError
from router.prompts import Message

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

# A passage is cited when at least this share of the answer's content words stands in it. Half keeps short exact answers
# (one or two words) strict and forgives a word of the model's own in longer ones.
CITATION_SUPPORT = 0.5
_WORD = re.compile(r"\w+")
_MARKER = re.compile(r"\[(\d+)\]")
_FUNCTION_WORDS = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "but",
        "by",
        "for",
        "from",
        "has",
        "have",
        "in",
        "is",
        "it",
        "its",
        "of",
        "on",
        "or",
        "that",
        "the",
        "this",
        "to",
        "was",
        "were",
        "will",
        "with",
    ]
)


class Retriever(Protocol):
    """What the answerer needs from an index."""

    def search(self, query: str, k: int) -> tuple[Passage, ...]:
        """Up to k passages, best first."""
        ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that is sent to the engine, and what was retrieved on the way."""

    arm: Arm
    request: EngineRequest
    passages: tuple[Passage, ...]
    retrieval_ms: float


@dataclass(frozen=True, slots=True)
class Citation:
    """A passage that supports the answer; `index` is the character position the citation stands at."""

    document_id: str
    filename: str
    index: int

    def annotation(self) -> dict[str, object]:
        """OpenAI's `file_citation` shape."""
        return {"type": "file_citation", "file_id": self.document_id, "filename": self.filename, "index": self.index}


@dataclass(frozen=True, slots=True)
class Answer:
    """A collected answer; `completion` is the engine's own object, for everything not repeated here."""

    text: str
    citations: tuple[Citation, ...]
    passages: tuple[Passage, ...]
    prompt_tokens: int
    generated_tokens: int
    retrieval_ms: float
    latency_ms: float
    completion: ChatCompletion


class Answerer:
    """Holds one engine and the open indexes; arms are arguments, so any number of them share it."""

    def __init__(self, engine: Engine, indexes: Mapping[str, Retriever], base_model: str) -> None:
        """`base_model` is the engine's name for the model without an adapter."""
        self._engine = engine
        self._indexes = indexes
        self._base_model = base_model

    async def prepare(
        self, arm: Arm, messages: Sequence[Message], options: Mapping[str, object] | None = None
    ) -> Prepared:
        """Retrieve for the last user message and render the engine request; `options` overrides the arm's sampling.

        Raises RouterError when no message is the user's or the arm's index is not open.
        """
        query = next((str(m["content"]) for m in reversed(messages) if m["role"] == "user"), None)
        if query is None:
            raise RouterError("messages hold no user message; add one with the question")
        started = time.perf_counter()
        passages: tuple[Passage, ...] = ()
        if arm.index is not None:
            index = self._indexes.get(arm.index)
            if index is None:
                raise RouterError(f"arm {arm.name!r} needs index {arm.index!r}, which is not open; run: arbiter index")
            if query.strip():
                passages = await asyncio.to_thread(index.search, query, arm.top_k)
        retrieval_ms = 1000 * (time.perf_counter() - started)
        request = EngineRequest(
            model=arm.adapter or self._base_model,
            messages=arm.prompt.render(messages, passages),
            options={**arm.sampling.options(), **(options or {})},
        )
        return Prepared(arm=arm, request=request, passages=passages, retrieval_ms=retrieval_ms)

    async def answer(self, prepared: Prepared) -> Answer:
        """The whole answer. Raises EngineUnavailable or EngineRejected."""
        started = time.perf_counter()
        completion = await self._engine.complete(prepared.request)
        latency_ms = prepared.retrieval_ms + 1000 * (time.perf_counter() - started)
        if not completion.choices:
            raise EngineUnavailable("the engine answered without any choice")
        text = completion.choices[0].message.content or ""
        usage = completion.usage
        return Answer(
            text=text,
            citations=cite(text, prepared.passages),
            passages=prepared.passages,
            prompt_tokens=usage.prompt_tokens if usage else 0,
            generated_tokens=usage.completion_tokens if usage else 0,
            retrieval_ms=prepared.retrieval_ms,
            latency_ms=latency_ms,
            completion=completion,
        )

    async def stream(self, prepared: Prepared) -> AsyncIterator[ChatCompletionChunk]:
        """The engine's chunks as they come; a choice's last delta also carries its `annotations`."""
        texts: dict[int, str] = {}
        async for chunk in self._engine.stream(prepared.request):
            for choice in chunk.choices:
                texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
                if choice.finish_reason is not None:
                    citations = cite(texts[choice.index], prepared.passages)
                    if citations:
                        # `annotations` is no declared field of the delta; OpenAI's objects keep extra fields as they
                        # are.
                        choice.delta.annotations = [c.annotation() for c in citations]  # type: ignore[attr-defined]
            yield chunk


def cite(text: str, passages: Sequence[Passage]) -> tuple[Citation, ...]:
    """The passages an answer rests on: those it marks `[n]`, else those that hold at least half of its content words.

    One citation a document, in rank order; an answer that no passage supports has none.
    """
    marked = {int(number) for number in _MARKER.findall(text)}
    words = _content_words(text)
    cited: dict[str, Citation] = {}
    for number, passage in enumerate(passages, start=1):
        supported = bool(words) and len(words & _content_words(passage.text)) / len(words) >= CITATION_SUPPORT
        if (number in marked) if marked else supported:
            filename = passage.title or passage.document_id
            cited.setdefault(passage.document_id, Citation(passage.document_id, filename, index=len(text)))
    return tuple(cited.values())


def _content_words(text: str) -> set[str]:
    return {word for word in _WORD.findall(text.lower()) if word not in _FUNCTION_WORDS}
