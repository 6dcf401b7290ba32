"""Conversations in any of their spellings as messages of ours, and the exchange at their end.

messages = read_messages([{"from": "human", "value": "When?"}, {"from": "gpt", "value": "At nine."}])
exchange = last_exchange(messages)
exchange.history, exchange.question, exchange.answer
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tuning.data.formats.given import LeftOut, Message, spelt

ROLES = {name: name for name in ("system", "developer", "user", "assistant")} | {
    **dict.fromkeys(("human", "prompter", "customer"), "user"),
    **dict.fromkeys(("gpt", "model", "ai", "chatgpt", "bot", "chatbot", "agent"), "assistant"),
}
_TOOLS = ("tool", "function", "function_call", "function_response", "observation", "tool_call", "tool_response")
_TOOL_CALLED = "a tool is called, and no arm calls any"
HEAD = ("system", "developer")
_TAKING_TURNS = ("user", "assistant")
_ROLE, _CONTENT = ("role", "from", "sender", "speaker"), ("content", "value", "text", "parts")
# An exchange as one object: ms-swift's {human, assistant}, prompt flow's {inputs, outputs}.
_ASKED = ("human", "user", "question", "query", "input", "inputs", "prompt")
_SAID = ("assistant", "gpt", "ai", "answer", "response", "output", "outputs", "bot")


@dataclass(frozen=True, slots=True)
class Turn:
    """A message, and whether it is to learn, None where that was not said: OpenAI's files may say `weight` 0,
    LLaMA-Factory's `loss_weight`.
    """

    role: str
    content: str
    is_learned: bool | None = None

    @property
    def message(self) -> Message:
        """As it is sent."""
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question with its answer, after what was said before; `learned` are the places in the history of answers that
    are to be learned as well.
    """

    history: tuple[Message, ...]
    question: str
    answer: str
    learned: tuple[int, ...]


def are_messages(value: Any) -> bool:
    """Whether this is a list of messages, role and content or from and value."""
    found = spelt(value)
    is_list = isinstance(found, list) and bool(found) and all(isinstance(message, Mapping) for message in found)
    return is_list and all(any(key in message for key in _ROLE) for message in found)


def are_exchanges(value: Any) -> bool:
    """Whether this is a list of objects that hold a question and its answer each."""
    found = spelt(value)
    return isinstance(found, list) and bool(found) and all(map(_exchanged, found))


def role_of(message: Mapping[str, Any]) -> str:
    """The role of a message in our words, '' where it is none of ours."""
    return ROLES.get(str(_first(message, _ROLE)).strip().lower(), "")


def read_messages(value: Any) -> tuple[Turn, ...]:
    """The turns of a list of messages or of whole exchanges, blank system messages left out.

    Raises ValueError for what is no conversation; LeftOut where a tool is called or something else than text is said.
    """
    found = spelt(value)
    found = [found] if isinstance(found, Mapping) else found
    if not isinstance(found, list) or not found:
        raise ValueError("no messages: a conversation is a list of objects {role, content}, with one at least")
    turns = [turn for message in found for turn in (_exchanged(message) or (_turn(message),))]
    return tuple(turn for turn in turns if turn.content.strip() or turn.role not in HEAD)


def before_tools(value: Any) -> tuple[Any, str]:
    """The messages up to the last answer before a tool is called, and why the others are left out; all messages and ''
    where none is called, or nothing was answered before.
    """
    found = spelt(value)
    if not isinstance(found, list):
        return value, ""
    first = next((i for i, message in enumerate(found) if _is_tools(message)), len(found))
    answers = [i for i, message in enumerate(found[:first]) if _is_answer(message)]
    return (found[: answers[-1] + 1], _TOOL_CALLED) if answers and first < len(found) else (value, "")


def with_system(system: Any, turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """The conversation under the system message that a column of its own holds, unless it has one."""
    held = _first(system, _CONTENT) if isinstance(system, Mapping) else system  # Vertex AI's has a role of its own
    text = str(held) if isinstance(held, int | float) else _text(held)
    is_needed = text.strip() and not any(turn.role in HEAD for turn in turns)
    return (Turn("system", text), *turns) if is_needed else tuple(turns)


def history_of(system: Any, before: Any, *, is_learned: bool = False) -> tuple[tuple[Message, ...], tuple[int, ...]]:
    """Messages before a question, and the places of answers in it that are to be learned: a list of messages, or of
    exchanges as pairs or objects, under `system`. An answer is learned where its weight says so, or `is_learned` does
    where none is given.

    Raises ValueError for anything else.
    """
    if not before and not system:
        return (), ()
    found = spelt(before) or ()
    if are_messages(found) or are_exchanges(found):
        turns = read_messages(found)
    elif isinstance(found, list | tuple) and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in found):
        turns = tuple(Turn(role, str(said)) for pair in found for role, said in zip(_TAKING_TURNS, pair, strict=True))
    else:
        raise ValueError("`history` must be a list of messages, or of pairs of a question and its answer")
    turns = with_system(system, turns)
    return tuple(turn.message for turn in turns), _learned(turns, is_learned=is_learned)


def last_exchange(turns: Sequence[Turn]) -> Exchange:
    """What the last answer of some weight answers, after all that was said before it. Earlier answers to a user are to
    be learned as well, unless their weight is 0.

    Raises ValueError where there is none, or it answers no user.
    """
    if not any(turn.role == "assistant" for turn in turns):
        raise ValueError("no assistant message, so there is nothing to learn")
    is_learned = [turn.role == "assistant" and turn.is_learned is not False for turn in turns]
    last = max((i for i, learned in enumerate(is_learned) if learned), default=None)
    if last is None:
        raise ValueError("every assistant message has weight 0, so there is nothing to learn")
    if any(turn.role == "user" for turn in turns[last + 1 :]) and all(turn.is_learned is not False for turn in turns):
        raise ValueError("the conversation ends with a user's message that nobody answers; take it away or answer it")
    history, question = question_of(turns[:last])
    if not turns[last].content.strip():
        raise ValueError("the assistant's last message is blank")
    return Exchange(history, question, turns[last].content, _learned(turns[: last - 1], is_learned=True))


def question_of(turns: Sequence[Turn]) -> tuple[tuple[Message, ...], str]:
    """A prompt as the messages before its question, and the question. Raises ValueError where it ends with none."""
    if not turns or turns[-1].role != "user":
        said = f"{turns[-1].role}'s" if turns else "first of all"
        raise ValueError(f"the message before the answer is {said}, not a user's: roles take turns")
    if not turns[-1].content.strip():
        raise ValueError("the user's last message is blank")
    return tuple(turn.message for turn in turns[:-1]), turns[-1].content


def _learned(turns: Sequence[Turn], *, is_learned: bool) -> tuple[int, ...]:
    """The places of answers to a user that are to be learned."""
    return tuple(
        i
        for i, (asked, said) in enumerate(pairwise(turns), start=1)
        if asked.role == "user" and said.role == "assistant" and asked.content.strip() and said.content.strip()
        if (is_learned if said.is_learned is None else said.is_learned)
    )


def _exchanged(item: Any) -> tuple[Turn, ...]:
    """The two turns of an object that holds a question and its answer; none for another."""
    if not isinstance(item, Mapping) or any(key in item for key in _ROLE):
        return ()
    asked, said = _first(item, _ASKED), _first(item, _SAID)
    texts = [_first(value, (*_ASKED, *_SAID)) if isinstance(value, Mapping) else value for value in (asked, said)]
    if not all(isinstance(text, str) for text in texts):
        return ()
    return tuple(Turn(role, text) for role, text in zip(_TAKING_TURNS, texts, strict=True))


def _is_tools(message: Any) -> bool:
    """Whether a message calls a tool, or is what one gave."""
    if not isinstance(message, Mapping):
        return False
    is_call = bool(message.get("tool_calls") or message.get("function_call"))
    return is_call or str(_first(message, _ROLE)).strip().lower() in _TOOLS


def _is_answer(message: Any) -> bool:
    """Whether it is an answer that may be learned."""
    is_said = isinstance(message, Mapping) and role_of(message) == "assistant"
    return is_said and bool(message.get("weight", message.get("loss_weight", 1)))


def _turn(message: Any) -> Turn:
    if not isinstance(message, Mapping):
        raise ValueError("a message is no object {role, content}")
    role = _first(message, _ROLE)
    if _is_tools(message):
        raise LeftOut(_TOOL_CALLED)
    if not (name := role_of(message)):
        known = ", ".join(ROLES)
        raise ValueError(
            f"no message has the role {role!r:.40}; roles are {known}" if role else "a message has no role"
        )
    weight = message.get("weight", message.get("loss_weight"))
    return Turn(name, _text(_first(message, _CONTENT)), None if weight is None else bool(weight))


def _first(item: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((item[name] for name in names if item.get(name) is not None), None)


def _text(content: Any) -> str:
    """Text, or parts of text joined as the HTTP API joins them."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(part, Mapping) for part in content):
        raise ValueError("the content of a message must be a text or a list of parts")
    texts = [part.get("text", part.get("value")) for part in content]
    if not all(isinstance(text, str) for text in texts) or any(part.get("type", "text") != "text" for part in content):
        raise LeftOut("a message holds something else than text")
    return "\n".join(map(str, texts))
