"""The body of a chat completion as the gateway sends it to an engine, and what of its text may be said while it grows.

A field that cannot be honoured is refused by name, never ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from serving.http.body import Fields


class Message(Fields):
    """One message of plain text."""

    role: str
    content: str


class StreamOptions(Fields):
    """What a stream brings besides the answer."""

    include_usage: bool = False


class PlainText(Fields):
    """The only form of an answer there is."""

    type: Literal["text"]


def _as_tuple(stop: object) -> object:
    return (stop,) if isinstance(stop, str) else tuple(stop) if isinstance(stop, list) else stop or ()


class EngineBody(Fields):
    """What is asked of the model. What is left out or null is as the model's generation settings say, or usual."""

    model: str
    messages: Annotated[list[Message], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    stop: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_as_tuple)] = ()
    n: Literal[1] | None = None
    response_format: PlainText | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def drawing(self) -> dict[str, Any]:
        """What is said of how tokens are drawn."""
        names = {"temperature", "top_p", "frequency_penalty", "presence_penalty", "seed"}
        return self.model_dump(include=names, exclude_none=True)


class Text:
    """A text that grows token by token and ends before the first of `stops`.

    text = Text(tokenizer, stops=["\\n"])
    text.add(31) -> what may be said now: no half of a character, nothing that may yet become a stop
    """

    def __init__(self, tokenizer: Any, stops: Sequence[str]) -> None:
        from tokenizers.decoders import DecodeStream

        self.is_stopped = False
        self._backend, self._stops = tokenizer.backend_tokenizer, stops
        self._stream = DecodeStream(skip_special_tokens=True)
        self._held = ""

    def add(self, token_id: int) -> str:
        """Take one more token in."""
        self._held += self._stream.step(self._backend, token_id) or ""
        found = [self._held.index(stop) for stop in self._stops if stop in self._held]
        if found:
            self.is_stopped = True
            self._held = self._held[: min(found)]
            return self.end()
        size = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        said, self._held = self._held[: len(self._held) - size], self._held[len(self._held) - size :]
        return said

    def end(self) -> str:
        """What was held back, once no more tokens come."""
        said, self._held = self._held, ""
        return said


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of a text may be the beginning of a stop."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
