"""Embeddings in LangChain's terms and in ours.

LangChainEmbedder(OpenAIEmbeddings(), name="text-embedding-3-small")  # as an index's embedder
ArbiterEmbeddings(embedder)                                           # as any chain's embeddings
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings
from numpy.typing import NDArray

from rag.embedding.embedder import Embedder
from rag.errors import RagError
from rag.langchain.factory import construct, describe_error, identity

# Four letters a token is the rule of thumb for English (https://platform.openai.com/tokenizer); a Chinese or Japanese
# character is about one token, and so is a punctuation mark.
_PIECE = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]{1,4}|[^\w\s]"
)


class LangChainEmbedder:
    """A LangChain `Embeddings` as an index's embedder. Vectors come out as float32 unit rows, whatever it gives."""

    max_tokens: int | None = None

    def __init__(self, embeddings: Embeddings, *, name: str, batch_size: int = 128) -> None:
        """`name` is the identity of the model: an index built under one name is refused under another."""
        self.name = name
        self._embeddings = embeddings
        self._batch_size = batch_size

    @cached_property
    def dimension(self) -> int:
        """Length of a vector, learned from one call."""
        return int(self._rows(lambda: self._embeddings.embed_documents(["dimension"]), 1).shape[1])

    def embed(self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None) -> NDArray[np.float32]:
        """Raises RagError when the model fails or gives no proper vectors."""
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        parts = []
        for start in range(0, len(texts), self._batch_size):
            batch = list(texts[start : start + self._batch_size])
            parts.append(self._unit_rows(partial(self._embeddings.embed_documents, batch), len(batch)))
            if progress:
                progress(min(start + self._batch_size, len(texts)), len(texts))
        if len({part.shape[1] for part in parts}) != 1:
            raise RagError(f"embeddings {self.name!r} gave vectors of different lengths; they must be of one model")
        return np.concatenate(parts)

    def embed_query(self, query: str) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self._unit_rows(lambda: [self._embeddings.embed_query(query)], 1)[0]
        return vector

    def token_spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """A token is taken to be up to four letters, one Chinese or Japanese character, or one mark."""
        return [[piece.span() for piece in _PIECE.finditer(text)] for text in texts]

    def _unit_rows(self, embed: Callable[[], list[list[float]]], count: int) -> NDArray[np.float32]:
        rows = self._rows(embed, count)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        if not np.isfinite(lengths).all() or not lengths.all():
            raise RagError(f"embeddings {self.name!r} gave a vector that is zero or not finite; it cannot be compared")
        unit: NDArray[np.float32] = (rows / lengths).astype(np.float32)
        return unit

    def _rows(self, embed: Callable[[], list[list[float]]], count: int) -> NDArray[np.float64]:
        try:
            rows = np.array(embed(), dtype=np.float64)
        except Exception as error:
            reason = describe_error(error, {})
            raise RagError(f"embeddings {self.name!r} failed ({reason}); see that they can be reached") from error
        if rows.ndim != 2 or len(rows) != count:
            raise RagError(f"embeddings {self.name!r} gave numbers of shape {rows.shape}, not one vector a text")
        return rows


class ArbiterEmbeddings(Embeddings):
    """One of our embedders for LangChain's chains and stores."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A unit vector for each passage."""
        rows: list[list[float]] = self._embedder.embed(texts).tolist()
        return rows

    def embed_query(self, text: str) -> list[float]:
        """The unit vector of a question."""
        row: list[float] = self._embedder.embed_query(text).tolist()
        return row


class KnownVectors(ArbiterEmbeddings):
    """Gives a store the vectors that an index has already, by the texts they are sent under; others are embedded."""

    vectors: Mapping[str, list[float]] = {}

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The known vectors, if all are."""
        if all(text in self.vectors for text in texts):
            return [self.vectors[text] for text in texts]
        return super().embed_documents(texts)


def open_embedder(factory: str, options: Mapping[str, Any], *, name: str | None = None) -> LangChainEmbedder:
    """The embedder that a config names: the dotted path of a LangChain `Embeddings` class or of a function giving one.

    Without a `name` it is called after the path and a hash of the options that are no secrets. Raises RagError.
    """
    embeddings = construct(factory, options)
    if not isinstance(embeddings, Embeddings):
        raise RagError(f"{factory!r} gave a {type(embeddings).__name__}; it must give LangChain Embeddings")
    return LangChainEmbedder(embeddings, name=name or f"{factory}@{identity(factory, options)}")
