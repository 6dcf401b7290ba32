"""What a chat request asks for: the fields of its body in, a `ChatRequest` or an `Invalid` that names the field out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from serving.http.body import Fields, read_model

# Passed on as they are; the engine validates their values and its refusal is passed back.
_FORWARDED = (
    "temperature",
    "top_p",
    "max_tokens",
    "stop",
    "seed",
    "n",
    "logprobs",
    "top_logprobs",
    "response_format",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A valid request; `messages` hold plain text, `options` override the arm's sampling under their OpenAI names."""

    model: str
    messages: tuple[Mapping[str, object], ...]
    options: Mapping[str, object]
    is_stream: bool
    has_usage_chunk: bool


class TextPart(BaseModel):
    """A part of a message; only text can be answered."""

    type: Literal["text"]
    text: str


def _joined(content: object) -> object:
    if isinstance(content, list):
        for part in content:
            if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
                raise ValueError("holds a part that is not text; only text can be answered")
        content = "\n".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise ValueError(f"must be text, not {type(content).__name__}")
    try:
        content.encode()
    except UnicodeEncodeError as error:
        raise ValueError("holds half of a surrogate pair; send valid Unicode") from error
    return content


class ChatMessage(BaseModel):
    """One message. Further fields, such as those of a reply that is sent back, change nothing."""

    model_config = ConfigDict(strict=True, frozen=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_joined, json_schema_input_type=str | list[TextPart])]


class StreamOptions(Fields):
    """What a stream brings besides the answer."""

    include_usage: bool = False


def _asks(messages: list[ChatMessage]) -> list[ChatMessage]:
    if not any(message.role == "user" for message in messages):
        raise ValueError("hold no user message; add one with the question")
    return messages


def _only(*values: object) -> AfterValidator:
    """For a field of which some values ask for what happens anyway; some clients always send them."""

    def check(value: object) -> object:
        if value not in values:
            raise PydanticCustomError("extra_forbidden", "not supported")
        return value

    return AfterValidator(check)


class ChatBody(Fields):
    """The body of `POST /v1/chat/completions`. A field that is null counts as left out."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"model": "auto", "messages": [{"role": "user", "content": "When does the desk open?"}]}]
        }
    )

    messages: Annotated[list[ChatMessage], Field(min_length=1), AfterValidator(_asks)]
    model: Annotated[str, Field(description="`auto`, an arm, or `base:adapter`.")] = "auto"
    stream: bool = False
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: Annotated[int | None, Field(description="The newer name of max_tokens.")] = None
    stop: Any = None
    seed: int | None = None
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: dict[str, Any] | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, Any] | None = None
    user: Annotated[Any, Field(description="A label for the caller's own books.")] = None
    metadata: Annotated[Any, Field(description="Labels for the caller's own books.")] = None
    tools: Annotated[Any, _only([])] = None
    tool_choice: Annotated[Any, _only("none", "auto")] = None
    store: Annotated[Any, _only(False)] = None
    modalities: Annotated[Any, _only(["text"])] = None
    service_tier: Annotated[Any, _only("auto", "default")] = None

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, given: Any) -> Any:
        return {name: value for name, value in given.items() if value is not None} if isinstance(given, dict) else given

    @field_validator("stream_options")
    @classmethod
    def _need_stream(cls, options: StreamOptions | None, known: ValidationInfo) -> StreamOptions | None:
        if options is not None and options.model_fields_set and not known.data.get("stream"):
            raise ValueError("needs stream=true")
        return options

    def request(self) -> ChatRequest:
        """The request in the engine's terms."""
        options = {name: value for name, value in self if name in _FORWARDED and value is not None}
        if self.max_completion_tokens is not None:
            options["max_tokens"] = self.max_completion_tokens
        return ChatRequest(
            model=self.model,
            # Few chat templates know the newer name of the system role.
            messages=tuple(
                {"role": "system" if message.role == "developer" else message.role, "content": message.content}
                for message in self.messages
            ),
            options=options,
            is_stream=self.stream,
            has_usage_chunk=self.stream_options is not None and self.stream_options.include_usage,
        )


def read_chat_request(body: object) -> ChatRequest:
    """Validate a decoded JSON body. A field that cannot be honoured is refused by name, never ignored."""
    return read_model(ChatBody, body).request()
