"""A deterministic embedder without a model, three short documents, and an index of them."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rag.chunking.chunk import ChunkSettings
from rag.documents.document import Document
from rag.index import Index
from tests.fakes.embedders import WordTokens
from tests.fakes.indexes import create_index

Library = tuple[Document, ...]
SETTINGS = ChunkSettings(20, 0)


class FakeEmbedder(WordTokens):
    """Bags of words, each word hashed to one of `dimension` axes; equal bags give equal unit vectors."""

    def __init__(self, name: str = "fake@1", dimension: int = 512, seconds_per_text: float = 0.0) -> None:
        self.name = name
        self.dimension = dimension
        self.num_embedded = 0
        self._seconds_per_text = seconds_per_text

    def embed(self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"\w+", text.casefold()) or [""]:
                digest = hashlib.sha256(word.encode()).digest()
                vectors[row, int.from_bytes(digest[:4], "little") % self.dimension] += 1
            if self._seconds_per_text:
                time.sleep(self._seconds_per_text)
        self.num_embedded += len(texts)
        if progress:
            progress(len(texts), len(texts))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    def embed_query(self, query: str) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self.embed([query])[0]
        return vector


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def make_embedder() -> type[FakeEmbedder]:
    return FakeEmbedder


@pytest.fixture
def library() -> tuple[Document, ...]:
    return (
        Document("hours", "Loan desk hours", "The desk opens at nine and closes at five.", {"page": 1}),
        Document("fines", "Fines", "A late book costs ten cents a day."),
        Document("rooms", "Rooms", "Study rooms are booked at the counter."),
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def url() -> str | None:
    """Where the rows are: None for the home's SQLite file. A module that overrides this runs on another database."""
    return None


@pytest.fixture
def index(home: Path, embedder: FakeEmbedder, library: Library, url: str | None) -> Iterator[Index]:
    index = create_index(home, "faq", embedder, SETTINGS, url=url)
    index.sync(library)
    yield index
    index.close()
