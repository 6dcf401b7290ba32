"""What a row says, whatever format it is in, and the value that a format is.

Given(question="When?", answers=["nine"])
Format("alpaca", fits, read)
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from unicodedata import normalize

_MEDIA = ("images", "image", "videos", "video", "audios", "audio")

Row = Mapping[str, Any]
"""A row as it stands in its file: values by column."""

Columns = Mapping[str, str]
"""Part of a row -> the column that holds it: `{"question": "Frage", "answer": "Antwort"}`."""

Message = Mapping[str, object]
"""One chat message, `{"role": ..., "content": ...}`."""


# As tables write them.
_TRUTHS = {"true": True, "false": False}


class LeftOut(ValueError):
    """A row that is sound and of no use here, such as one that calls tools: it is left out and counted."""


@dataclass(frozen=True, slots=True)
class Context:
    """A text that came with a question; `is_gold` says whether it holds the answer."""

    text: str
    title: str = ""
    is_gold: bool = True

    @property
    def id(self) -> str:
        """What the text is called as a document: the same wherever it is given."""
        # As many digits as keep a million texts apart.
        return f"passage-{hashlib.sha256(self.text.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True)
class Given:
    """What a row says, unchecked. `history` holds the messages before the question, and `learned` the places in it of
    answers that are to be learned as well; `contexts` are the texts that came with it, `rejected` is the answer that
    was not chosen; `is_wanted` says whether somebody liked the answer, None for one that nobody rated. `cut` is why
    what follows of the row was left out.
    """

    question: object
    answers: object
    id: object = None
    document_ids: object = None
    metadata: object = field(default_factory=dict)
    history: tuple[Message, ...] = ()
    learned: tuple[int, ...] = ()
    rejected: str | None = None
    contexts: tuple[Context, ...] = ()
    is_wanted: bool | None = None
    cut: str = ""


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write rows.

    `fits(columns, sample)` gives the columns that hold its parts, or None where a file of these columns is of another
    format; `sample` holds its first rows. `read(row, parts)` gives what a row says, mostly one thing. It raises
    ValueError with what is wrong with the row, LeftOut where nobody could correct it.
    """

    name: str
    fits: Callable[[Collection[str], Sequence[Row]], Columns | None]
    read: Callable[[Row, Columns], Iterator[Given]]


def named(columns: Collection[str], *names: str) -> str | None:
    """The first of the names that is a column, whatever case, blanks and hyphens it is written with."""
    known: dict[str, str] = {}
    for column in columns:
        known.setdefault(plain_name(column), column)
    return next((known[name] for name in names if name in known), None)


@lru_cache(maxsize=1024)  # every row has the columns of its file
def plain_name(column: str) -> str:
    """The column's name as it is compared: "User Input", "userInput" and "user_input" are one."""
    spread = "".join(f"_{c}" if c.isupper() and i and column[i - 1].islower() else c for i, c in enumerate(column))
    return "_".join(normalize("NFC", spread).lower().replace("-", " ").replace("_", " ").split())


def values_of(sample: Sequence[Row], column: str) -> list[Any]:
    """What stands in a column of the sample, read as the list or object that its text spells."""
    return [spelt(row[column]) for row in sample if row.get(column) not in (None, "")]


def spelt(value: Any) -> Any:
    """The list or object that a text spells, in JSON or as Python prints it; anything else as it is."""
    text = value.strip() if isinstance(value, str) else ""
    if len(text) > 1 and text[0] + text[-1] in ("[]", "{}"):
        for read in (json.loads, ast.literal_eval):
            try:
                return read(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
    return value


def unique(values: Iterable[Any]) -> list[Any]:
    """Every value once, in their order, whatever they are."""
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def value_at(row: Row, column: str) -> Any:
    """What stands in a column, or in `outer.inner` within an object; None where nothing does."""
    if column in row:
        return row[column]
    outer, _, inner = column.partition(".")
    held = spelt(row.get(outer)) if inner else None
    return value_at(held, inner) if isinstance(held, Mapping) else None


def others(row: Row, *used: str | None) -> dict[str, Any]:
    """What stands in the columns that no part is taken from: metadata, under whatever the row's own `metadata` says."""
    rest = {name: value for name, value in row.items() if name not in used and value not in (None, "")}
    own = spelt(rest.pop("metadata", None))
    if isinstance(own, Mapping):
        return {**rest, **own}
    return rest if own is None else {**rest, "metadata": own}


def refuse_media(row: Row) -> None:
    """Raises LeftOut for a row that shows more than text."""
    if seen := next((name for name in _MEDIA if row.get(name)), None):
        raise LeftOut(f"it is about {seen}, and arms read text")


def rating(row: Row) -> bool | None:
    """Whether the answer of a row is wanted, by a thumb up or down: TRL's `label`, LLaMA-Factory's `kto_tag`."""
    found = next((row[name] for name in ("label", "kto_tag") if row.get(name) is not None), None)
    return _TRUTHS.get(str(found).strip().lower()) if isinstance(found, bool | str) else None


def text_in(row: Row, column: str | None) -> str:
    """A column's text, numbers as text; '' where there is none. Raises ValueError for a list or an object."""
    value = row.get(column) if column is not None else None
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"`{column}` must be a text")
    return json.dumps(value)


def unfit_text(text: str) -> str | None:
    """What is wrong with a text that databases and models do not take, if anything."""
    if "\x00" in text:
        return "a text holds a NUL character; take it out"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "a text holds half of a character; take it out"
    return None
