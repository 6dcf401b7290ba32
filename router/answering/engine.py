"""Whatever generates text: any OpenAI-compatible URL, a vLLM process or somebody else's server.

engine = HttpEngine("http://127.0.0.1:8000/v1")
completion = await engine.complete(EngineRequest(model="base", messages=(...), options={"max_tokens": 32}))
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from router.answering.prompts import Message
from router.errors import EngineRejected, EngineUnavailable

if TYPE_CHECKING:
    from openai.types import Completion
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

# The engine's state, not the request's fault. 404 among them: arms name only adapters that were loaded, so an unknown
# model is a restarted engine that has not got them back yet.
_PASSING_STATUSES = frozenset({404, 408, 409, 429})
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One chat completion in OpenAI terms; `options` holds the sampling fields under their OpenAI names, `extra` fields
    that only some engines know.
    """

    model: str
    messages: tuple[Message, ...]
    options: Mapping[str, object] = field(default_factory=dict)
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TextRequest:
    """The same of a text, or of its tokens, as they are: no chat template is put around them."""

    model: str
    text: str | tuple[int, ...]
    options: Mapping[str, object] = field(default_factory=dict)
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model is asked, the name that it has there if not its own, and the messages that go before all others."""

    url: str
    model: str | None = None
    before: tuple[Mapping[str, object], ...] = ()


class HttpEngine:
    """What generates text, behind the official openai client; one connection pool for all URLs, no retries of its own.

    Retrying belongs to the caller: an evaluation waits for a restarting engine, a chat request says 503 at once.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str = "none",
        timeout_s: float = 120.0,
        hold: Callable[[str], AbstractAsyncContextManager[Place]] | None = None,
        client: Any = None,
    ) -> None:
        """`hold` says where a model is asked while its block lasts, `url` for all by default; `timeout_s` bounds one
        whole request. `client` is an httpx-like async client for tests.
        """
        import httpx2
        import openai

        self.url = url.rstrip("/")
        self._timeout_s, self._api_key, self._http = timeout_s, api_key, client
        self._hold = hold or (lambda _: nullcontext(Place(self.url)))
        self._clients: dict[str, openai.AsyncOpenAI] = {}
        # What an engine can do to us; anything else is our own mistake and stays an exception of its own.
        self._faults = (openai.OpenAIError, httpx2.HTTPError)

    def hold(self, model: str) -> AbstractAsyncContextManager[Place]:
        """Where a model is asked; an engine that is started for it is up while the block lasts, and what is measured in
        it is the answer alone. Raises EngineUnavailable.
        """
        return self._hold(model)

    async def complete(self, request: EngineRequest) -> ChatCompletion:
        """The whole completion. Raises EngineUnavailable or EngineRejected."""
        async with self.hold(request.model) as place:
            try:
                completion: ChatCompletion = await self._client(place.url).chat.completions.create(
                    **_body(request, place)
                )
            except self._faults as error:
                raise self._translated(error, place.url) from error
        _refuse_prose(completion, place.url)
        completion.model = request.model
        return completion

    async def complete_text(self, request: TextRequest) -> Completion:
        """The whole completion of a text. Raises EngineUnavailable or EngineRejected."""
        async with self.hold(request.model) as place:
            # Tokens that are given as such are gone through one by one.
            body = {"model": place.model or request.model, "prompt": "", **request.options}
            extra = {"prompt": request.text, **request.extra}
            try:
                completion: Completion = await self._client(place.url).completions.create(**body, extra_body=extra)
            except self._faults as error:
                raise self._translated(error, place.url) from error
        _refuse_prose(completion, place.url)
        return completion

    async def stream(self, request: EngineRequest) -> AsyncIterator[ChatCompletionChunk]:
        """The completion's chunks as they come, usage on the last. Raises EngineUnavailable or EngineRejected."""
        async with self.hold(request.model) as place:
            body = {**_body(request, place), "stream": True, "stream_options": {"include_usage": True}}
            try:
                chunks = await self._client(place.url).chat.completions.create(**body)
                async with chunks:
                    async for chunk in chunks:
                        chunk.model = request.model
                        yield chunk
            except self._faults as error:
                raise self._translated(error, place.url) from error

    async def close(self) -> None:
        """Give the connections back."""
        for client in self._clients.values():
            await client.close()

    def _client(self, url: str) -> Any:
        import openai

        url = url.rstrip("/")
        if url not in self._clients:
            address = urlsplit(url)
            if self._http is None and address.hostname in _LOOPBACK:
                # The environment's proxies must not see requests to loopback. Certificates take 25 ms to read. Engines
                # of several URLs come and go: one pool closes what their ends have left open.
                self._http = openai.DefaultAsyncHttpxClient(trust_env=False, verify=address.scheme == "https")
            self._clients[url] = openai.AsyncOpenAI(
                base_url=url, api_key=self._api_key, timeout=self._timeout_s, max_retries=0, http_client=self._http
            )
        return self._clients[url]

    def _translated(self, error: Exception, url: str) -> Exception:
        import openai

        if isinstance(error, openai.APIStatusError):
            status = error.status_code
            body = error.body if isinstance(error.body, dict) else {}
            message = str(body.get("message") or error.message)
            if 400 <= status < 500 and status not in _PASSING_STATUSES:
                param = body.get("param")
                return EngineRejected(message, status=status, param=str(param) if param else None)
            return EngineUnavailable(f"the engine at {url} answered {status}: {message}")
        if isinstance(error, openai.APITimeoutError):
            return EngineUnavailable(f"the engine at {url} did not answer within {self._timeout_s:g} s")
        if isinstance(error, openai.APIError):
            return EngineUnavailable(f"the engine at {url} cannot be reached: {error}")
        return EngineUnavailable(f"the engine at {url} broke off: {type(error).__name__}: {error}")


def _refuse_prose(completion: object, url: str) -> None:
    """The client gives what is no JSON as text."""
    if isinstance(completion, str):
        raise EngineUnavailable(f"the engine at {url} answered no JSON; its URL must be that of an API, ending in /v1")


def _body(request: EngineRequest, place: Place) -> dict[str, Any]:
    # Messages that are given as such are gone through one by one, in which time the server answers nobody else.
    return {
        "model": place.model or request.model,
        "messages": [],
        "extra_body": {"messages": [*place.before, *request.messages], **request.extra},
        **request.options,
    }
