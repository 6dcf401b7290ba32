"""Pairs of answers of which one was preferred: TRL's, LLaMA-Factory's and Axolotl's, OpenAI's, Anthropic's."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from tuning.data.formats.given import Columns, Format, Given, Row, named, others, plain_name, spelt, text_in
from tuning.data.formats.messages import Turn, are_messages, question_of, read_messages, with_system

_CHOSEN = ("chosen", "chosen_messages", "chosen_response", "response_chosen", "accepted", "preferred")
_REJECTED = (
    "rejected",
    "rejected_messages",
    "rejected_response",
    "rejected_answer",
    "response_rejected",
    "dispreferred",
)
_PROMPT = (
    "prompt",
    "question",
    "instruction",
    "query",
    "messages",
    "conversations",
    "conversation",
    "input",
    "user_input",
)
_CONVERSATIONS = ("messages", "conversations", "conversation")
# Anthropic's hh-rlhf: one text a side, the whole conversation in it.
_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")


def _fits_pairs(columns: Collection[str], _: Sequence[Row]) -> Columns | None:
    chosen, rejected = named(columns, *_CHOSEN), named(columns, *_REJECTED)
    prompt = named(columns, *_PROMPT)
    if chosen is None and rejected is not None and prompt is not None and plain_name(prompt) in _CONVERSATIONS:
        return {"prompt": prompt, "rejected": rejected}  # ms-swift's: the chosen answer ends the conversation
    if chosen is None or rejected is None:
        return None
    return {**({"prompt": prompt} if prompt else {}), "chosen": chosen, "rejected": rejected}


def _fits_openai(columns: Collection[str], _: Sequence[Row]) -> Columns | None:
    names = {"prompt": "input", "chosen": "preferred_output", "rejected": "non_preferred_output"}
    return names if set(names.values()) <= set(columns) else None


def _read(row: Row, parts: Columns) -> Iterator[Given]:
    prompt, more = parts.get("prompt"), None
    before = _prompt(row.get(prompt)) if prompt is not None else ()
    # Alpaca's way to write a prompt in two columns.
    if prompt is not None and prompt.lower() == "instruction" and (more := named(row, "input")) and text_in(row, more):
        before = (Turn("user", f"{before[0].content}\n\n{text_in(row, more)}"),) if before else ()
    rejected = _side(row, parts["rejected"])
    if "chosen" in parts:
        chosen = _side(row, parts["chosen"])
    else:
        before, chosen = before[:-1], before[-1:]
    if not chosen or not rejected:
        raise ValueError("a side says nothing")
    if [turn.message for turn in chosen[:-1]] != [turn.message for turn in rejected[:-1]]:
        raise ValueError("the two sides differ in more than their last message")
    system = named(row, "system", "system_prompt")
    turns = with_system(row.get(system) if system else None, _joined(before, chosen[:-1]))
    if not turns:
        raise ValueError("no prompt")
    if chosen[-1].role != "assistant" or rejected[-1].role != "assistant":
        raise ValueError("the last message of both sides must be the assistant's")
    history, question = question_of(turns)
    # To answer nothing is an answer, and may well have been rejected.
    if not chosen[-1].content.strip():
        raise ValueError(f"`{parts.get('chosen', prompt)}` is blank")
    if chosen[-1].content.strip() == rejected[-1].content.strip():
        raise ValueError(f"`{parts.get('chosen', prompt)}` and `{parts['rejected']}` are the same")
    yield Given(
        question,
        [chosen[-1].content],
        id=row.get("id"),
        history=history,
        rejected=rejected[-1].content,
        metadata={**_tools(row.get(prompt or "")), **others(row, "id", system, more, *parts.values())},
    )


def _prompt(value: Any) -> tuple[Turn, ...]:
    held = spelt(value)
    found = held["messages"] if isinstance(held, Mapping) and "messages" in held else value  # OpenAI's
    if are_messages(found):
        return read_messages(found)
    if found is not None and not isinstance(found, str):
        raise ValueError("the prompt must be a text or a list of messages")
    return _spoken(found) or ((Turn("user", found),) if found and found.strip() else ())


def _tools(asked: Any) -> dict[str, Any]:
    """The tools that OpenAI's prompts may bring."""
    held = spelt(asked)
    return {"tools": held["tools"]} if isinstance(held, Mapping) and held.get("tools") else {}


def _side(row: Row, column: str) -> tuple[Turn, ...]:
    """A side as messages; a text is the assistant's."""
    value = row.get(column)
    if value is None:
        raise ValueError(f"no `{column}`")
    if not isinstance(value, str) or are_messages(value):
        return read_messages(value)
    return _spoken(value) or (Turn("assistant", value),)


def _spoken(text: str | None) -> tuple[Turn, ...]:
    """The turns of a text that says who speaks; none for another."""
    if not text or not text.lstrip().startswith("Human: ") or "\n\nAssistant:" not in text:
        return ()
    _, *said = _SPEAKER.split(text.strip())
    pairs = zip(said[::2], said[1::2], strict=True)
    turns = [Turn("user" if who == "Human" else "assistant", words.strip()) for who, words in pairs]
    # A prompt ends where the assistant is to speak.
    return tuple(turns[:-1] if turns[-1].role == "assistant" and not turns[-1].content else turns)


def _joined(prompt: tuple[Turn, ...], shared: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """The prompt, and what both sides say before their last message, where that is not the prompt again."""
    is_repeated = bool(prompt) and any(turn.content == prompt[-1].content for turn in shared)
    return shared if is_repeated else (*prompt, *shared)


OPENAI_PAIRS = Format("OpenAI's preference pairs", _fits_openai, _read)
PAIRS = Format("preference pairs", _fits_pairs, _read)
