"""The evaluation's exceptions, and how a message says a long text."""

from __future__ import annotations

from storage.errors import ArbiterError


class EvalError(ArbiterError):
    """Base of everything the evaluation raises; the message is one line a person can act on."""


def one_line(text: str, length: int) -> str:
    """At most `length` characters on one line, cut at the end."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"
