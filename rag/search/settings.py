"""How a search ranks: a frozen value, so that it hashes, prints and goes into a scorecard with its arm."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rag.errors import RagError
from storage.settings import NUMBER, ModelName, Share, settings

Mode = Literal["dense", "bm25", "hybrid"]
Fusion = Literal["minmax", "rrf"]

MAX_TOP_K = 1_000

TopK = Annotated[int, Field(ge=1, le=MAX_TOP_K), NUMBER]


@settings(RagError)
class SearchSettings:
    """The steps of a search, in their order; null, 0 or false leaves a step out."""

    mode: Mode = "hybrid"
    """Which rankings are made: by vectors, by words (BM25), or both, fused."""
    fusion: Fusion = "minmax"
    """How two rankings become one."""
    dense_weight: Share = 0.4
    """The vectors' share of a fusion."""
    candidates: TopK = 100
    """How many passages the later steps see."""
    reranker: ModelName | None = None
    """A sentence-transformers CrossEncoder, by model id or folder, which ranks the candidates again."""
    threshold: float | None = None
    """Passages with a lower score are dropped; of a fusion, with a lower cosine, since a fused score only orders one
    query's passages."""
    distinct: bool = False
    """Whether passages are dropped whose text nearly repeats that of a better one."""
    mmr: Share | None = None
    """Weighs likeness to the query (1) against unlikeness to what was chosen already (0)."""
    neighbours: Annotated[int, Field(ge=0, le=20), NUMBER] = 0
    """Widens each passage by so many chunks on either side."""
