"""What a chat request asks for: a JSON body in, a `ChatRequest` or an `Invalid` that names the field out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from serving.errors import Invalid

# Passed on as they are; the engine validates their values and its refusal is passed back.
_FORWARDED = frozenset(
    [
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
    ]
)
# Labels for the caller's own books; they change nothing about an answer.
_LABELS = frozenset({"user", "metadata"})
_ROLES = frozenset({"system", "developer", "user", "assistant"})


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A valid request; `messages` hold plain text, `options` override the arm's sampling under their OpenAI names."""

    model: str
    messages: tuple[Mapping[str, object], ...]
    options: Mapping[str, object]
    is_stream: bool
    has_usage_chunk: bool


def read_chat_request(body: object) -> ChatRequest:
    """Validate a decoded JSON body. A field that cannot be honoured is refused by name, never ignored."""
    if not isinstance(body, dict):
        raise Invalid("the body must be a JSON object")
    given = {key: value for key, value in body.items() if value is not None}
    model = given.pop("model", "auto")
    if not isinstance(model, str):
        raise Invalid(f"model must be a string, not {model!r}", param="model")
    messages = _messages(given.pop("messages", None))
    is_stream = _flag(given.pop("stream", False), "stream")
    stream_options = given.pop("stream_options", {})
    if not isinstance(stream_options, dict) or set(stream_options) - {"include_usage"}:
        raise Invalid("stream_options can hold include_usage only", param="stream_options")
    if stream_options and not is_stream:
        raise Invalid("stream_options needs stream=true", param="stream_options")
    options = _options(given)
    return ChatRequest(
        model=model,
        messages=messages,
        options=options,
        is_stream=is_stream,
        has_usage_chunk=_flag(stream_options.get("include_usage", False), "stream_options.include_usage"),
    )


def _options(given: dict[str, object]) -> dict[str, object]:
    # The newer name of max_tokens.
    if "max_completion_tokens" in given:
        given["max_tokens"] = given.pop("max_completion_tokens")
    options = {}
    for name, value in given.items():
        if name in _FORWARDED:
            options[name] = value
        elif name not in _LABELS and not _is_neutral(name, value):
            raise Invalid(f"{name} is not supported; leave it out", param=name, code="unsupported_parameter")
    return options


def _is_neutral(name: str, value: object) -> bool:
    """Values that ask for what happens anyway; some clients always send them."""
    neutral: dict[str, tuple[object, ...]] = {
        "tools": ([],),
        "tool_choice": ("none", "auto"),
        "store": (False,),
        "modalities": (["text"],),
        "service_tier": ("auto", "default"),
    }
    return value in neutral.get(name, ())


def _messages(messages: object) -> tuple[Mapping[str, object], ...]:
    if not isinstance(messages, list) or not messages:
        raise Invalid("messages must be a list of at least one message", param="messages")
    read = tuple(_message(message, f"messages[{i}]") for i, message in enumerate(messages))
    if not any(message["role"] == "user" for message in read):
        raise Invalid("messages hold no user message; add one with the question", param="messages")
    return read


def _message(message: object, where: str) -> dict[str, object]:
    if not isinstance(message, dict):
        raise Invalid(f"{where} must be an object with role and content", param=where)
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise Invalid(f"{where}.role {role!r} is not supported; use {', '.join(sorted(_ROLES))}", param=f"{where}.role")
    text = _text(message.get("content"), f"{where}.content")
    # Few chat templates know the newer name of the system role.
    return {"role": "system" if role == "developer" else role, "content": text}


def _text(content: object, where: str) -> str:
    if isinstance(content, list):
        for part in content:
            if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
                raise Invalid(f"{where} holds a part that is not text; only text can be answered", param=where)
        content = "\n".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise Invalid(f"{where} must be text, not {type(content).__name__}", param=where)
    try:
        content.encode()
    except UnicodeEncodeError as error:
        raise Invalid(f"{where} holds half of a surrogate pair; send valid Unicode", param=where) from error
    return content


def _flag(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise Invalid(f"{where} must be true or false, not {value!r}", param=where)
    return value
