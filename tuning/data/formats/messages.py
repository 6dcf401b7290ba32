"""Conversations in any of their spellings as messages of ours, and the exchange at their end.

messages = read_messages([{"from": "human", "value": "When?"}, {"from": "gpt", "value": "At nine."}])
history, question, answer = last_exchange(messages)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuning.data.formats.given import LeftOut, Message, spelt

ROLES = {name: name for name in ("system", "developer", "user", "assistant")} | {
    **dict.fromkeys(("human",), "user"),
    **dict.fromkeys(("gpt", "model", "ai", "chatgpt"), "assistant"),
}
_TOOLS = ("tool", "function", "function_call", "function_response", "observation", "tool_call", "tool_response")
HEAD = ("system", "developer")
_TAKING_TURNS = ("user", "assistant")


@dataclass(frozen=True, slots=True)
class Turn:
    """A message, and whether it is to learn: OpenAI's files may say `weight` 0, LLaMA-Factory's `loss_weight`."""

    role: str
    content: str
    is_learned: bool = True

    @property
    def message(self) -> Message:
        """As it is sent."""
        return {"role": self.role, "content": self.content}


def are_messages(value: Any) -> bool:
    """Whether this is a list of messages, role and content or from and value."""
    found = spelt(value)
    is_list = isinstance(found, list) and bool(found) and all(isinstance(message, Mapping) for message in found)
    return is_list and all({"role", "from"} & message.keys() for message in found)


def read_messages(value: Any) -> tuple[Turn, ...]:
    """The turns of a list of messages, blank system messages left out.

    Raises ValueError for what is no conversation; LeftOut where a tool is called or something else than text is said.
    """
    found = spelt(value)
    found = [found] if isinstance(found, Mapping) else found
    if not isinstance(found, list) or not found:
        raise ValueError("no messages: a conversation is a list of objects {role, content}, with one at least")
    turns = [_turn(message) for message in found]
    return tuple(turn for turn in turns if turn.content.strip() or turn.role not in HEAD)


def with_system(system: Any, turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """The conversation under the system message that a column of its own holds, unless it has one."""
    is_needed = isinstance(system, str) and system.strip() and not any(turn.role in HEAD for turn in turns)
    return (Turn("system", system), *turns) if is_needed else tuple(turns)


def history_of(system: Any, before: Any) -> tuple[Message, ...]:
    """Messages before a question: a list of them, or LLaMA-Factory's pairs of question and answer, under `system`.

    Raises ValueError for anything else.
    """
    found = spelt(before) or ()
    if are_messages(found):
        turns = read_messages(found)
    elif all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in found):
        turns = tuple(Turn(role, str(said)) for pair in found for role, said in zip(_TAKING_TURNS, pair, strict=True))
    else:
        raise ValueError("`history` must be a list of messages, or of pairs of a question and its answer")
    return tuple(turn.message for turn in with_system(system, turns))


def last_exchange(turns: Sequence[Turn]) -> tuple[tuple[Message, ...], str, str]:
    """The messages before the last question, the question, and the answer to learn: the last one of some weight.

    Raises ValueError where there is none, or it answers no user.
    """
    if not any(turn.role == "assistant" for turn in turns):
        raise ValueError("no assistant message, so there is nothing to learn")
    last = max((i for i, turn in enumerate(turns) if turn.role == "assistant" and turn.is_learned), default=None)
    if last is None:
        raise ValueError("every assistant message has weight 0, so there is nothing to learn")
    if any(turn.role == "user" for turn in turns[last + 1 :]) and all(turn.is_learned for turn in turns):
        raise ValueError("the conversation ends with a user's message that nobody answers; take it away or answer it")
    history, question = question_of(turns[:last])
    if not turns[last].content.strip():
        raise ValueError("the assistant's last message is blank")
    return history, question, turns[last].content


def earlier_answers(turns: Sequence[Turn]) -> tuple[tuple[tuple[Message, ...], str], ...]:
    """Of the answers of some weight before the last one: the messages up to the user's that is answered, and the text.

    What an assistant says unasked is answered by nobody, and only read.
    """
    learned = [i for i, turn in enumerate(turns) if turn.role == "assistant" and turn.is_learned][:-1]
    asked = [i for i in learned if i and turns[i - 1].role == "user" and turns[i].content.strip()]
    return tuple((tuple(turn.message for turn in turns[:i]), turns[i].content) for i in asked)


def question_of(turns: Sequence[Turn]) -> tuple[tuple[Message, ...], str]:
    """A prompt as the messages before its question, and the question. Raises ValueError where it ends with none."""
    if not turns or turns[-1].role != "user":
        said = f"{turns[-1].role}'s" if turns else "first of all"
        raise ValueError(f"the message before the answer is {said}, not a user's: roles take turns")
    if not turns[-1].content.strip():
        raise ValueError("the user's last message is blank")
    return tuple(turn.message for turn in turns[:-1]), turns[-1].content


def _turn(message: Any) -> Turn:
    if not isinstance(message, Mapping):
        raise ValueError(f"{message!r:.40} is no message; one is an object {{role, content}}")
    role = message.get("role", message.get("from"))
    if role in _TOOLS or message.get("tool_calls") or message.get("function_call"):
        raise LeftOut("a tool is called, and no arm calls any")
    if not isinstance(role, str) or role.strip().lower() not in ROLES:
        known = ", ".join(ROLES)
        raise ValueError(
            f"no message has the role {role!r:.40}; roles are {known}" if role else "a message has no role"
        )
    content = message.get("content", message.get("value"))
    weight = message.get("weight", message.get("loss_weight"))
    return Turn(ROLES[role.strip().lower()], _text(content), weight is None or bool(weight))


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
