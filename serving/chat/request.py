"""What a chat request asks for: the fields of its body, which pydantic checks, and what they mean to the engine.

A field that cannot be honoured is refused by name, never ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from serving.http.body import Fields


class TextPart(BaseModel):
    """A part of a message; only text can be answered."""

    type: Literal["text"]
    text: str


def _joined(content: object) -> object:
    if not isinstance(content, list):
        return content
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise ValueError("holds a part that is not text; only text can be answered")
    return "\n".join(part["text"] for part in content)


class ChatMessage(BaseModel):
    """One message. Further fields, such as those of a reply that is sent back, change nothing."""

    model_config = ConfigDict(strict=True, frozen=True)

    # Few chat templates know the newer name of the system role.
    role: Annotated[
        Literal["system", "developer", "user", "assistant"],
        AfterValidator(lambda role: "system" if role == "developer" else role),
    ]
    content: Annotated[str, BeforeValidator(_joined, json_schema_input_type=str | list[TextPart])]


class StreamOptions(Fields):
    """What a stream brings besides the answer."""

    include_usage: bool = False


def check_asked(messages: list[Any]) -> list[Any]:
    """Messages, or templates of such, of which one is the user's."""
    if not any(message.role == "user" for message in messages):
        raise ValueError("no message is the user's; add one with the question")
    return messages


def _only(*values: object) -> AfterValidator:
    """For a field of which some values ask for what happens anyway; some clients always send them."""

    def check(value: object) -> object:
        if value not in values:
            raise PydanticCustomError("extra_forbidden", "not supported")
        return value

    return AfterValidator(check)


class Conversation(Fields):
    """What is asked, how it is answered, and what changes nothing. A field that is null counts as left out."""

    # At most as many as OpenAI takes. FailFast: of a million wrong ones the first is enough.
    messages: Annotated[
        list[ChatMessage], Field(min_length=1, max_length=2048), FailFast(), AfterValidator(check_asked)
    ]
    model: Annotated[str, Field(description="`auto`, an arm, or `base:adapter`.")] = "auto"
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    max_completion_tokens: Annotated[int | None, Field(description="The newer name of max_tokens.")] = None
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
    def _need_stream(cls, options: StreamOptions, known: ValidationInfo) -> StreamOptions:
        if options.model_fields_set and not known.data.get("stream"):
            raise ValueError("needs stream=true")
        return options


_EXAMPLE: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "When does the desk open?"}]}


class ChatBody(Conversation, json_schema_extra={"examples": [_EXAMPLE]}):
    """The body of `POST /v1/chat/completions`.

    Its own fields are passed on as they are: the engine validates the values, and its refusal is passed back.
    """

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: Any = None
    seed: int | None = None
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: dict[str, Any] | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, Any] | None = None

    @property
    def conversation(self) -> list[dict[str, object]]:
        """The messages in plain text."""
        return [message.model_dump() for message in self.messages]

    @property
    def options(self) -> dict[str, object]:
        """What overrides the arm's sampling, under the engine's names."""
        given = {name: value for name, value in self if name not in Conversation.model_fields and value is not None}
        return given if self.max_completion_tokens is None else given | {"max_tokens": self.max_completion_tokens}
