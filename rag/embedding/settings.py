"""How the embedder runs: which runtime, how exactly, and what stands before a text."""

from __future__ import annotations

from typing import Literal

from rag.errors import RagError
from storage.settings import Count, settings

Backend = Literal["torch", "openvino"]
Precision = Literal["float32", "bfloat16", "int8"]

PRECISIONS: dict[Backend, tuple[Precision, ...]] = {
    "torch": ("float32", "bfloat16"),
    "openvino": ("float32", "bfloat16", "int8"),
}


@settings(RagError)
class EmbedderSettings:
    """How the embedder runs."""

    backend: Backend = "torch"
    """What runs the model; docs/experiments/embedding compares them."""
    precision: Precision = "float32"
    """The numbers it computes with: torch has no int8."""
    query_prefix: str | None = None
    """What stands before a question; null is what the model is known to want, '' nothing."""
    passage_prefix: str | None = None
    """What stands before a passage; the same."""
    threads: Count | None = None
    """Batches that run at once; null measures it with the first ones."""

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS[self.backend]:
            raise ValueError(
                f"precision must be {' or '.join(PRECISIONS[self.backend])} with the backend {self.backend!r}, "
                f"not {self.precision!r}"
            )
