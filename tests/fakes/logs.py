"""What was logged during a test, as a fixture.

pytest's own plugin adds its handlers to each logger that stands apart, three times a test; torch has twenty of those.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


class Logged(logging.Handler):
    """Keeps every record that reaches the root logger."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def text(self) -> str:
        """All of it, a traceback too."""
        return "\n".join(map(self.format, self.records))


@pytest.fixture
def logged() -> Iterator[Logged]:
    root, handler = logging.getLogger(), Logged()
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)


@pytest.fixture
def logged_requests(logged: Logged) -> Iterator[Logged]:
    """Every request to the server too, which has a line at INFO."""
    logger = logging.getLogger("arbiter.http")
    level = logger.level
    logger.setLevel(logging.INFO)
    yield logged
    logger.setLevel(level)
