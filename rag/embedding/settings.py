"""How the embedder runs: how exactly, how much at once, and what stands before a text."""

from __future__ import annotations

from typing import Literal

from rag.errors import RagError
from storage.settings import Count, settings

Precision = Literal["float32", "bfloat16"]


@settings(RagError)
class EmbedderSettings:
    """How the embedder runs."""

    precision: Precision = "float32"
    """The numbers that products are made of; docs/experiments/embedding compares them."""
    query_prefix: str | None = None
    """What stands before a question; null is what the model is known to want, '' nothing."""
    passage_prefix: str | None = None
    """What stands before a passage; the same."""
    threads: Count | None = None
    """Batches that run at once; null is one for each core."""
