"""A teacher in this process, and what it is asked about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eval.generation.teacher import Budget, ReplyCache, Teacher
from router.answering.engine import HttpEngine

Teachers = Callable[..., Teacher]


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ReplyCache]:
    with ReplyCache(tmp_path / "teacher.db") as opened:
        yield opened


@pytest.fixture
def teachers(cache: ReplyCache) -> Teachers:
    """Makes a teacher at a URL; it tries a failed request once more, at once."""

    def make(url: str, budget: Budget | None = None, *, timeout_s: float = 20.0, identity: str = "t") -> Teacher:
        http = HttpEngine(url, timeout_s=timeout_s)
        return Teacher(http, "large", identity, cache, budget or Budget(), retries=1, pause_s=0.001)

    return make
