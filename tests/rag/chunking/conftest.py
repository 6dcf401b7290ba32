"""A tokenizer without a model: words and signs, long words in pieces of four letters."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pytest

Spans = Callable[[Sequence[str]], list[list[tuple[int, int]]]]


@pytest.fixture
def words() -> Spans:
    """Every word, with its signs, is a token."""
    return lambda texts: [[match.span() for match in re.finditer(r"\S+", text)] for text in texts]


@pytest.fixture(scope="session")
def pieces() -> Spans:
    """Up to four letters, or one sign, are a token."""
    return lambda texts: [[match.span() for match in re.finditer(r"\w{1,4}|[^\w\s]", text)] for text in texts]
