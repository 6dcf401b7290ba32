"""Faults that are collected, so that all of them are said at once.

faults = Faults()
documents = faults.attempt(lambda: load_documents(path), ())
faults.raise_any()
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from storage.errors import ArbiterError

T = TypeVar("T")


class Faults:
    """Errors for a person, in the order in which they were met."""

    def __init__(self) -> None:
        self.found: list[ArbiterError] = []

    def attempt(self, work: Callable[[], T], otherwise: T) -> T:
        """What `work` gives, or `otherwise` with its error kept."""
        try:
            return work()
        except ArbiterError as error:
            self.found.append(error)
            return otherwise

    def raise_any(self) -> None:
        """Raise the one fault as it is, several as one ArbiterError."""
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            raise ArbiterError(f"{len(self.found)} faults: {'; '.join(map(str, self.found))}")
