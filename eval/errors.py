"""The evaluation's exceptions, and how a message says what may be long."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from storage.errors import ArbiterError

_SHOWN = 10

Row = TypeVar("Row")


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


def sound_rows(path: Path, rows: Iterable[tuple[int, Row | str]], *, called: str, like: str) -> tuple[Row, ...]:
    """The rows of a file; `rows` holds what is wrong in place of a faulty one, each with its line.

    Raises EvalError with all faults (the first ten are listed), and when there is no row, which is `like` this.
    """
    found = list(rows)
    faults = [f"line {line}: {row}" for line, row in found if isinstance(row, str)]
    if faults:
        raise EvalError(f"{path}: {len(faults)} faulty {called}: {listed(faults)}")
    if not found:
        raise EvalError(f"{path} holds no {called}; add rows like {like}")
    return tuple(row for _, row in found if not isinstance(row, str))
