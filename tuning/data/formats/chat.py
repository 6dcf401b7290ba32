"""Conversations: OpenAI's fine-tuning files, ShareGPT's, TRL's, and OpenAI Evals' (`input` and `ideal`)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from tuning.data.formats.given import Columns, Format, Given, Row, named, others, rating, refuse_unfit, spelt, values_of
from tuning.data.formats.messages import are_messages, last_exchange, question_of, read_messages, with_system

_NAMES = ("messages", "conversations", "conversation", "dialogue", "dialog", "chat")


def _fits_chat(columns: Collection[str], sample: Sequence[Row]) -> Columns | None:
    found = named(columns, *_NAMES)
    return {"messages": found} if found and _has_messages(sample, found) and not _is_from(sample, found) else None


def _fits_sharegpt(columns: Collection[str], sample: Sequence[Row]) -> Columns | None:
    found = named(columns, *_NAMES)
    return {"messages": found} if found and _is_from(sample, found) else None


def _fits_evals(columns: Collection[str], _: Sequence[Row]) -> Columns | None:
    parts = {"messages": "input", "answer": "ideal"}
    return parts if set(parts.values()) <= set(columns) else None


def _read(row: Row, parts: Columns) -> Iterator[Given]:
    refuse_unfit(row)
    system = named(row, "system", "system_prompt")
    turns = with_system(row.get(system) if system else None, read_messages(row.get(parts["messages"])))
    history, question, answer = last_exchange(turns)
    metadata = others(row, "id", system, parts["messages"])
    yield Given(question, [answer], id=row.get("id"), history=history, metadata=metadata, is_wanted=rating(row))


def _read_evals(row: Row, parts: Columns) -> Iterator[Given]:
    asked = row.get(parts["messages"])
    history, question = question_of(read_messages(asked)) if not isinstance(asked, str) else ((), asked)
    metadata = others(row, "id", *parts.values())
    yield Given(question, row.get(parts["answer"]), id=row.get("id"), history=history, metadata=metadata)


def _has_messages(sample: Sequence[Row], column: str) -> bool:
    """Whether the rows hold conversations; a list that should be one is read as one, to say what is wrong with it."""
    return any(isinstance(value, list) for value in values_of(sample, column))


def _is_from(sample: Sequence[Row], column: str) -> bool:
    values: list[Any] = [value for value in values_of(sample, column) if are_messages(value)]
    return bool(values) and "from" in spelt(values[0])[0]


CHAT = Format("chat messages", _fits_chat, _read)
SHAREGPT = Format("ShareGPT conversations", _fits_sharegpt, _read)
OPENAI_EVALS = Format("OpenAI Evals samples", _fits_evals, _read_evals)
