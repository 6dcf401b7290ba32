"""An embedder known by its name alone, for commands on an index that seldom embed.

index = Index.open(home, "faq", NamedEmbedder(state.embedder, make_embedder))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag.embedding.embedder import Embedder
from rag.errors import RagError


@dataclass(frozen=True, slots=True)
class NamedEmbedder:
    """The embedder that an index names. The real one is made when something is embedded, and must be the one named."""

    name: str
    make: Callable[[], Embedder]

    @property
    def dimension(self) -> int:
        return self._real().dimension

    @property
    def max_tokens(self) -> int | None:
        return self._real().max_tokens

    def embed(self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None) -> NDArray[np.float32]:
        return self._real().embed(texts, progress=progress)

    def embed_query(self, query: str) -> NDArray[np.float32]:
        return self._real().embed_query(query)

    def token_spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return self._real().token_spans(texts)

    def count_tokens(self, text: str) -> int:
        return self._real().count_tokens(text)

    def _real(self) -> Embedder:
        embedder = self.make()
        if embedder.name != self.name:
            raise RagError(
                f"the index was built with embedder {self.name!r}, not {embedder.name!r}; "
                "give the config that names it with --config"
            )
        return embedder
