"""The one answering path: retrieve, choose the topic of a set, render, ask the engine, cite.

Evaluation and the HTTP API both answer through `Answerer`, so what is measured is what is served.

    prepared = await answerer.prepare(arm, [{"role": "user", "content": "When does the loan desk open?"}])
    answer = await answerer.answer(prepared)

A mixture's proposers go the same path, while it is prepared; its answer counts what they took.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rag.passage import Passage
from router.answering.arm import Arm
from router.answering.citations import Citation, cite
from router.answering.condense import retrieval_query
from router.answering.engine import EngineRequest, HttpEngine
from router.answering.prompts import Message
from router.answering.proposals import Proposal, all_passages, failure_of, with_proposals
from router.errors import EngineUnavailable, RouterError
from storage.errors import ArbiterError

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

    from rag.index import Index
    from router.answering.topics import TopicChooser

_log = logging.getLogger("arbiter.answering")
# Proposals in flight at once, of all questions together: mixtures leave the engine to others, too.
_MAX_PROPOSALS = 16
# vLLM's own fields: the log-probability of each token of a prompt that ends in the answer.
_AS_PROMPT: Mapping[str, object] = {
    "prompt_logprobs": 0,
    "add_generation_prompt": False,
    "continue_final_message": True,
}


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that is sent to the engine, and what was retrieved on the way.

    `query` is what was searched, or a topic chosen by, '' for an arm that does neither; `retrieval_ms` includes what it
    took to find it. `chosen` is the engine's model that an arm with a set of adapters answers this question with: one
    of them, or the base; None for an arm that has the same for all. Of a mixture `proposals` holds what its proposers
    said, in `proposing_ms`; the passages that they were shown stand behind its own, which alone are in the request.
    """

    arm: Arm
    request: EngineRequest
    query: str
    passages: tuple[Passage, ...]
    retrieval_ms: float
    proposals: tuple[Proposal, ...] = ()
    proposing_ms: float = 0.0
    chosen: str | None = None

    def cite(self, text: str) -> tuple[Citation, ...]:
        """The passages that an answer to this rests on."""
        return cite(text, self.passages, self.query)


@dataclass(frozen=True, slots=True)
class Answer:
    """A collected answer; `completion` is the engine's own object, for everything not repeated here.

    `cached_tokens` are those of the prompt that the engine's prefix cache answered for, None where it does not say. All
    counts, those of `completion` too, and `latency_ms` include the proposals of a mixture.
    `chosen` is as in `Prepared`.
    """

    text: str
    citations: tuple[Citation, ...]
    passages: tuple[Passage, ...]
    prompt_tokens: int
    generated_tokens: int
    cached_tokens: int | None
    retrieval_ms: float
    latency_ms: float
    completion: ChatCompletion
    proposals: tuple[Proposal, ...] = ()
    chosen: str | None = None


@dataclass(frozen=True, slots=True)
class Answerer:
    """Holds one engine, its name for the model without an adapter, the open indexes, and what chooses among a set's
    adapters, by the set's name; arms are arguments, so any number of them share it.
    """

    engine: HttpEngine
    indexes: Mapping[str, Index]
    base_model: str
    topics: Mapping[str, TopicChooser] = field(default_factory=dict)
    _proposing: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(_MAX_PROPOSALS), init=False, repr=False, compare=False
    )

    async def prepare(
        self,
        arm: Arm,
        messages: Sequence[Message],
        options: Mapping[str, object] | None = None,
        *,
        proposals: Sequence[Proposal] | None = None,
    ) -> Prepared:
        """Retrieve for the last user message, choose its adapter where the arm has a set, and render the engine
        request; `options` overrides the arm's sampling.

        The proposers of a mixture are asked first, unless their `proposals` are given; they answer as they do alone,
        whatever the `options`. Raises RouterError when no message is the user's or the arm's index is not open, and
        what `propose` raises.
        """
        if not any(message["role"] == "user" for message in messages):
            raise RouterError("messages hold no user message; add one with the question")
        started = time.perf_counter()
        if proposals is None:
            proposals = await self.propose(arm, messages) if arm.proposers else ()
            proposing_ms = 1000 * (time.perf_counter() - started)
        else:  # they were asked at once
            proposing_ms = max((one.latency_ms for one in proposals), default=0.0)
        started = time.perf_counter()
        query = ""
        chosen: str | None = None
        passages: tuple[Passage, ...] = ()
        index = self.indexes.get(arm.index or "")
        if arm.index is not None and index is None:
            raise RouterError(f"arm {arm.name!r} needs index {arm.index!r}, which is not open; run: arbiter index")
        topics = self.topics.get(arm.adapter or "")
        if index is not None or topics is not None:
            query = await retrieval_query(messages, arm.condense, self.engine, self.base_model)
        if index is not None and query.strip():
            passages = await asyncio.to_thread(index.search, query, arm.top_k, settings=arm.retrieval)
        if topics is not None:
            name = await asyncio.to_thread(topics.choose, query) if query.strip() else None
            chosen = name or self.base_model
        retrieval_ms = 1000 * (time.perf_counter() - started)
        request = EngineRequest(
            model=chosen or arm.adapter or self.base_model,
            messages=arm.prompt.render(messages, passages, [one.text for one in proposals if one.text.strip()]),
            options={**arm.sampling.options(), **(options or {})},
        )
        return Prepared(
            arm=arm,
            request=request,
            query=query,
            passages=all_passages(passages, proposals),
            retrieval_ms=retrieval_ms,
            proposals=tuple(proposals),
            proposing_ms=proposing_ms if arm.proposers else 0.0,
            chosen=chosen,
        )

    async def propose(self, arm: Arm, messages: Sequence[Message]) -> tuple[Proposal, ...]:
        """What each proposer of a mixture answers, all asked at once. One that fails is a proposal with an `error`.

        Raises EngineUnavailable, EngineRejected or RouterError when all of them fail.
        """
        failed: dict[str, Exception] = {}

        async def one(proposer: Arm) -> Proposal:
            try:
                async with self._proposing:
                    answer = await self.answer(await self.prepare(proposer, messages))
            except ArbiterError as error:
                _log.warning("proposer failed arm=%s proposer=%s: %s", arm.name, proposer.name, error)
                failed[proposer.name] = error
                return Proposal(proposer.name, error=str(error))
            return Proposal(
                proposer.name,
                answer.text,
                passages=answer.passages if proposer.reads_documents else (),
                prompt_tokens=answer.prompt_tokens,
                generated_tokens=answer.generated_tokens,
                cached_tokens=answer.cached_tokens,
                latency_ms=answer.latency_ms,
            )

        proposals = await asyncio.gather(*map(one, arm.proposers))
        if len(failed) == len(proposals):
            raise failure_of(arm.name, [(one.name, failed[one.name]) for one in arm.proposers])
        return tuple(proposals)

    def hold(self, arm: Arm) -> AbstractAsyncContextManager[object]:
        """Has an arm's engine up while the block lasts, so that what is measured in it has no start of an engine in it.
        Of a mixture it is the one that its own answer comes from; that is prepared before the block, lest its proposers
        wait for engines while it keeps one from others.

        Raises EngineUnavailable.
        """
        return self.engine.hold(arm.adapter or self.base_model)

    async def answer(self, prepared: Prepared) -> Answer:
        """The whole answer. Raises EngineUnavailable or EngineRejected."""
        async with self.hold(prepared.arm):
            started = time.perf_counter()
            completion = await self.engine.complete(prepared.request)
            own_ms = prepared.retrieval_ms + 1000 * (time.perf_counter() - started)
        if not completion.choices:
            raise EngineUnavailable("the engine answered without any choice")
        for choice in completion.choices:
            if choice.message.content:
                choice.message.content = _sayable(choice.message.content)
        text = completion.choices[0].message.content or ""
        usage = completion.usage = with_proposals(completion.usage, prepared.proposals)
        details = usage.prompt_tokens_details if usage else None
        return Answer(
            text=text,
            citations=prepared.cite(text),
            passages=prepared.passages,
            prompt_tokens=usage.prompt_tokens if usage else 0,
            generated_tokens=usage.completion_tokens if usage else 0,
            cached_tokens=details.cached_tokens if details else None,
            retrieval_ms=prepared.retrieval_ms,
            latency_ms=prepared.proposing_ms + own_ms,
            completion=completion,
            proposals=prepared.proposals,
            chosen=prepared.chosen,
        )

    async def log_likelihood(self, arm: Arm, messages: Sequence[Message], text: str) -> float | None:
        """The log-probability of the whole prompt with `text` as the arm's answer; that of two answers to the same
        messages differs by the answers alone. None where the engine does not say it.

        Raises EngineUnavailable or EngineRejected.
        """
        prepared = await self.prepare(arm, messages, {"max_tokens": 1})
        said = (*prepared.request.messages, {"role": "assistant", "content": text})
        request = replace(prepared.request, messages=said, extra=_AS_PROMPT)
        async with self.hold(arm):
            completion = await self.engine.complete(request)
        return _sum_of_prompt(completion)

    async def stream(self, prepared: Prepared) -> AsyncIterator[ChatCompletionChunk]:
        """The engine's chunks as they come; a choice's last delta also carries its `annotations`."""
        texts: dict[int, str] = {}
        async for chunk in self.engine.stream(prepared.request):
            if chunk.usage is not None:
                chunk.usage = with_proposals(chunk.usage, prepared.proposals)
            for choice in chunk.choices:
                if choice.delta.content:
                    choice.delta.content = _sayable(choice.delta.content)
                texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
                if choice.finish_reason is not None and (citations := prepared.cite(texts[choice.index])):
                    # `annotations` is no declared field of the delta; OpenAI's objects keep extra fields as they are.
                    choice.delta.annotations = [c.annotation() for c in citations]  # type: ignore[attr-defined]
            yield chunk


def _sum_of_prompt(completion: ChatCompletion) -> float | None:
    """Over the tokens of vLLM's `prompt_logprobs`, of which the first has none."""
    tokens = getattr(completion, "prompt_logprobs", None)
    if not isinstance(tokens, list) or len(tokens) < 2:
        return None
    nothing: dict[str, float] = {}
    try:
        # Where only the prompt's own token is asked for, it is the only one.
        return math.fsum(next(iter(token.values()), nothing)["logprob"] for token in tokens if token is not None)
    except (AttributeError, LookupError, TypeError):
        return None


def _sayable(text: str) -> str:
    """Without half a surrogate pair, which JSON lets an engine say: it could be neither written nor sent on."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
