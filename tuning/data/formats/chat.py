"""Conversations: OpenAI's fine-tuning files, ShareGPT's, TRL's, Vertex AI's, and those whose answer stands beside them,
as in OpenAI Evals (`input` and `ideal`) and Inspect (`input` and `target`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from tuning.data.formats.given import (
    Columns,
    Format,
    Given,
    Row,
    named,
    others,
    rating,
    refuse_media,
    spelt,
    values_of,
)
from tuning.data.formats.messages import (
    are_exchanges,
    are_messages,
    before_tools,
    last_exchange,
    question_of,
    read_messages,
    role_of,
    with_system,
)

_NAMES = ("messages", "conversations", "conversation", "dialogue", "dialog", "chat")
# What may as well hold something else.
_MAYBE = ("turns", "contents")
_SYSTEM = ("system", "system_prompt", "system_instruction")
_ASKED = ("input", "messages", "prompt", "question")
# What holds the answer where a conversation ends with the user's message.
_IDEAL = (
    *("ideal", "target", "answer", "answers", "solution", "reference", "reference_answer", "ground_truth"),
    *("expected_output", "expected", "gold"),
)


def _fits_chat(columns: Collection[str], sample: Sequence[Row]) -> Columns | None:
    found = named(columns, *_NAMES)
    if found and _has_messages(sample, found) and not _is_from(sample, found):
        return {"messages": found}
    maybe = named(columns, *_MAYBE)
    is_one = maybe is not None and any(are_messages(one) or are_exchanges(one) for one in values_of(sample, maybe))
    return {"messages": maybe} if maybe and is_one else None


def _fits_sharegpt(columns: Collection[str], sample: Sequence[Row]) -> Columns | None:
    found = named(columns, *_NAMES)
    return {"messages": found} if found and _is_from(sample, found) else None


def _fits_asked(columns: Collection[str], sample: Sequence[Row]) -> Columns | None:
    if {"input", "ideal"} <= set(columns):
        return {"messages": "input", "answer": "ideal"}
    asked, answer = named(columns, *_ASKED), named(columns, *_IDEAL)
    values = [value for value in values_of(sample, asked) if are_messages(value)] if asked and answer else []
    is_asked = bool(values) and all(role_of(value[-1]) == "user" for value in values)
    return {"messages": asked, "answer": answer} if is_asked and asked and answer else None


def _read(row: Row, parts: Columns) -> Iterator[Given]:
    refuse_media(row)
    system = named(row, *_SYSTEM)
    messages, cut = before_tools(row.get(parts["messages"]))
    found = last_exchange(with_system(row.get(system) if system else None, read_messages(messages)))
    yield Given(
        found.question,
        [found.answer],
        id=row.get("id"),
        history=found.history,
        learned=found.learned,
        metadata=others(row, "id", system, parts["messages"]),
        is_wanted=rating(row),
        cut=cut,
    )


def _read_asked(row: Row, parts: Columns) -> Iterator[Given]:
    refuse_media(row)
    asked, system = row.get(parts["messages"]), named(row, *_SYSTEM)
    turns = with_system(row.get(system) if system else None, read_messages(asked) if are_messages(asked) else ())
    history, question = question_of(turns) if are_messages(asked) else (tuple(turn.message for turn in turns), asked)
    metadata = others(row, "id", system, *parts.values())
    yield Given(question, row.get(parts["answer"]), id=row.get("id"), history=history, metadata=metadata)


def _has_messages(sample: Sequence[Row], column: str) -> bool:
    """Whether the rows hold conversations; a list that should be one is read as one, to say what is wrong with it."""
    return any(isinstance(value, list) for value in values_of(sample, column))


def _is_from(sample: Sequence[Row], column: str) -> bool:
    values: list[Any] = [value for value in values_of(sample, column) if are_messages(value)]
    return bool(values) and "from" in spelt(values[0])[0]


CHAT = Format("chat messages", _fits_chat, _read)
SHAREGPT = Format("ShareGPT conversations", _fits_sharegpt, _read)
ASKED = Format("conversations with the answer beside them", _fits_asked, _read_asked)
