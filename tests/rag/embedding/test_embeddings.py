from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rag.chunking.chunk import Chunk
from rag.embedding.embeddings import embed_chunks, text_hash
from rag.errors import RagError
from storage.database import Database, sqlite_url


class _Stopped:
    """An embedder that is interrupted after so many batches."""

    def __init__(self, inner: Any, batches: int) -> None:
        self.name, self.dimension = inner.name, inner.dimension
        self._inner = inner
        self._left = batches

    def embed(self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None) -> NDArray[np.float32]:
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        vectors: NDArray[np.float32] = self._inner.embed(texts, progress=progress)
        return vectors


@pytest.fixture
def store(tmp_path: Path) -> Database:
    return Database(sqlite_url(tmp_path / "arbiter.db"))


def _chunks(count: int) -> list[Chunk]:
    return [Chunk(f"id{n}", f"doc{n}", "", f"word{n}", 0) for n in range(count)]


def test_every_chunk_gets_the_vector_of_its_own_text(store: Database, embedder: Any) -> None:
    chunks = _chunks(1200)

    embeddings, made = embed_chunks(chunks, embedder, store, index_name="faq", origin="")

    assert made == 1200
    vectors = np.array([embeddings[text_hash(chunk)].vector for chunk in chunks])
    np.testing.assert_array_equal(vectors, embedder.embed([chunk.text for chunk in chunks]))


def test_a_text_that_occurs_twice_is_embedded_once(store: Database, embedder: Any) -> None:
    twins = [Chunk("1", "a", "", "same", 0), Chunk("2", "b", "", "same", 0)]

    embeddings, made = embed_chunks(twins, embedder, store, index_name="faq", origin="")

    assert (len(embeddings), made, embedder.num_embedded) == (1, 1, 1)


def test_what_an_interrupted_run_embedded_is_not_embedded_again(store: Database, embedder: Any) -> None:
    chunks = _chunks(1200)
    with pytest.raises(KeyboardInterrupt):
        embed_chunks(chunks, _Stopped(embedder, batches=1), store, index_name="faq", origin="")

    embeddings, made = embed_chunks(chunks, embedder, store, index_name="faq", origin="")

    assert made == 1200 - 128
    vectors = np.array([embeddings[text_hash(chunk)].vector for chunk in chunks])
    np.testing.assert_array_equal(vectors, embedder.embed([chunk.text for chunk in chunks]))


def test_vectors_of_another_embedder_are_not_taken(store: Database, make_embedder: Any) -> None:
    embed_chunks(_chunks(5), make_embedder("fake@1"), store, index_name="faq", origin="")

    _, made = embed_chunks(_chunks(5), make_embedder("fake@2", dimension=8), store, index_name="faq", origin="")

    assert made == 5


def test_an_embedder_of_the_wrong_dimension_is_refused(store: Database, make_embedder: Any) -> None:
    liar = make_embedder(dimension=8)

    class Liar:
        name, dimension, embed = "liar", 16, liar.embed

    with pytest.raises(RagError, match="'liar' returned no valid vectors"):
        embed_chunks(_chunks(2), Liar(), store, index_name="faq", origin="")
