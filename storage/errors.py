"""What can go wrong, for a person to act on: the root of every package's exceptions, and how their messages say it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ArbiterError(Exception):
    """Something the user can act on. The message is one line: what, which value, what to do next."""


class StorageError(ArbiterError):
    """A file, a folder or a database cannot be read or written."""


class UnfitValue(ArbiterError):
    """A value that the database can keep nowhere, such as a text with a NUL for PostgreSQL."""


def listed(items: Iterable[str], *, separator: str = "; ", shown: int = 10) -> str:
    """The first items, and how many more there are."""
    found = list(items)
    more = f" and {len(found) - shown} more" if len(found) > shown else ""
    return separator.join(found[:shown]) + more


def reason_of(error: OSError, rights: str = "+r") -> str:
    """Why a file or folder cannot be read; where rights are what it lacks, how to give them."""
    reason = error.strerror or str(error)
    return f"{reason}; its owner can allow it: chmod {rights}" if isinstance(error, PermissionError) else reason


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The known name that is most like this one, in brackets behind a space; '' where none is."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
