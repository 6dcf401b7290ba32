"""Stores and embeddings as other packages have them, for tests of what may go wrong with those."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore


class LetterEmbeddings(Embeddings):
    """Counts of a, b and c, plus `base`, of any length; questions count half."""

    def __init__(self, *, scale: float = 1.0, base: float = 0.0) -> None:
        self.scale = scale
        self.base = base

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[self.scale * (self.base + text.count(letter)) for letter in "abc"] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return [0.5 * value for value in self.embed_documents([text])[0]]


class ShortStore(InMemoryVectorStore):
    """Finds only the first few of what it is asked for, as an approximate index with small settings does."""

    at_most = 3

    def similarity_search_by_vector(self, embedding: list[float], k: int = 4, **rest: Any) -> list[Document]:
        return super().similarity_search_by_vector(embedding, min(k, self.at_most), **rest)


class CountingStore(InMemoryVectorStore):
    """Counts what it is sent."""

    num_added = 0

    def add_texts(self, texts: Iterable[str], *args: Any, **rest: Any) -> list[str]:
        given = list(texts)
        self.num_added += len(given)
        return super().add_texts(given, *args, **rest)


class BrokenStore(InMemoryVectorStore):
    """Takes vectors and fails at every search."""

    def __init__(self, embedding: Embeddings, *, password: str = "") -> None:
        super().__init__(embedding)
        self.password = password

    def similarity_search_by_vector(self, embedding: Sequence[float], k: int = 4, **rest: Any) -> list[Document]:
        raise ConnectionError(f"refused for {self.password}\nat line 7")


class TextOnlyStore(InMemoryVectorStore):
    """Lacks what LangChain leaves to a store's choice."""

    def similarity_search_by_vector(self, embedding: list[float], k: int = 4, **rest: Any) -> list[Document]:
        raise NotImplementedError

    def delete(self, ids: Sequence[str] | None = None, **rest: Any) -> None:
        raise NotImplementedError


def open_without_a_name_for_it(vectors: Embeddings, *, size: int) -> InMemoryVectorStore:
    """A factory whose parameter for the embeddings has a name of its own."""
    assert size == 3
    return InMemoryVectorStore(vectors)


def open_number(embedding: Embeddings) -> int:
    """No store."""
    return 5
