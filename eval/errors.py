"""The evaluation's exceptions, and how a message says what may be long."""

from __future__ import annotations

from collections.abc import Iterable

from storage.errors import ArbiterError

_SHOWN = 10


class EvalError(ArbiterError):
    """Base of everything the evaluation raises; the message is one line a person can act on."""


def listed(items: Iterable[str], *, separator: str = "; ", shown: int = _SHOWN) -> str:
    """The first items, and how many more there are."""
    found = list(items)
    more = f" and {len(found) - shown} more" if len(found) > shown else ""
    return separator.join(found[:shown]) + more


def one_line(text: str, length: int) -> str:
    """At most `length` characters on one line, cut at the end."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"
