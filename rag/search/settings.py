"""How a search ranks: a frozen value, so that it hashes, prints and goes into a scorecard with its arm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from rag.errors import RagError

Mode = Literal["dense", "bm25", "hybrid"]
Fusion = Literal["minmax", "rrf"]

MAX_TOP_K = 1_000


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """The steps of a search, in their order; None, 0 or False leaves a step out.

    `mode` says which rankings are made: by vectors, by words (BM25), or both, fused by `fusion` with the share
    `dense_weight`, 0 to 1, for the vectors. `candidates` is how many passages the later steps see. `reranker` is a
    model id or folder of a sentence-transformers CrossEncoder, which ranks them again. `threshold` drops passages with
    a lower score (of a fusion: a lower cosine, since a fused score only orders one query's passages), `distinct` those
    whose text nearly repeats that of a better one. `mmr`, 0 to 1, weighs likeness to the query (1) against unlikeness
    to what was chosen already (0). `neighbours` widens each passage by so many chunks on either side.
    """

    mode: Mode = "hybrid"
    fusion: Fusion = "minmax"
    dense_weight: float = 0.4
    candidates: int = 100
    reranker: str | None = None
    threshold: float | None = None
    distinct: bool = False
    mmr: float | None = None
    neighbours: int = 0

    def __post_init__(self) -> None:
        for name, choices in (("mode", ("dense", "bm25", "hybrid")), ("fusion", ("minmax", "rrf"))):
            if getattr(self, name) not in choices:
                raise RagError(f"{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}")
        for name in ("dense_weight", "mmr"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise RagError(f"{name} must be from 0 to 1, not {value!r}")
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise RagError(f"threshold must be a finite number, not {self.threshold!r}")
        if not 1 <= self.candidates <= MAX_TOP_K:
            raise RagError(f"candidates must be from 1 to {MAX_TOP_K}, not {self.candidates!r}")
        if not 0 <= self.neighbours <= 20:
            raise RagError(f"neighbours must be from 0 to 20, not {self.neighbours!r}")
