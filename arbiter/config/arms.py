"""The section of an arm, and the standard arms and adapters that every config begins with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from rag.search.settings import SearchSettings, TopK
from router.answering.arm import Sampling
from router.answering.condense import Condense
from storage.errors import ArbiterError
from storage.settings import settings


@settings(ArbiterError)
class ArmConfig:
    """One arm: which adapter, index and prompt it answers with."""

    adapter: str | None = None
    """A key under `adapters`; null is the base model."""
    index: Literal["documents", "examples"] | None = None
    """What it retrieves from: the documents, the training rows, or nothing."""
    prompt: str = "answer"
    """`answer`, `fewshot`, or a key under `prompts`."""
    top_k: TopK | None = None
    """How many passages it retrieves; null is the index's `top_k` or `example_top_k`."""
    condense: Condense = "recent"
    """What is searched for a follow-up question: the `last` message, also what the `recent` exchange names, or what the
    `model` makes of the conversation."""
    retrieval: SearchSettings | None = None
    """A ranking of its own in place of `index.retrieval`."""
    sampling: Sampling | None = None
    """A sampling of its own in place of `sampling`."""


STANDARD_ARMS: Mapping[str, Mapping[str, object]] = {
    "base": {},
    "fewshot": {"index": "examples", "prompt": "fewshot"},
    "rag": {"index": "documents"},
    "tuned": {"adapter": "closed_book"},
    "tuned_rag": {"adapter": "closed_book", "index": "documents"},
    "hybrid": {"adapter": "raft", "index": "documents"},
}
# Closed-book rows are short, so a third pass over them is cheap.
STANDARD_ADAPTERS: Mapping[str, Mapping[str, object]] = {"closed_book": {"epochs": 3}, "raft": {"passages": 2}}
