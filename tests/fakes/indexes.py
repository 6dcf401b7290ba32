"""Indexes of a data directory, over any views: `create_index(home, "faq", embedder, SETTINGS, url=url)`."""

from __future__ import annotations

from pathlib import Path

from rag.chunking.chunk import ChunkSettings
from rag.embedding.embedder import Embedder
from rag.home import IndexHome
from rag.index import Index
from rag.search.settings import SearchSettings
from rag.views import VectorViews
from storage.database import open_database


def create_index(
    home: Path,
    name: str,
    embedder: Embedder,
    chunking: ChunkSettings,
    *,
    url: str | None = None,
    settings: SearchSettings = SearchSettings(),
    views: VectorViews | None = None,
) -> Index:
    if views is None:
        return IndexHome(home, url=url, retrieval=settings).create(name, embedder, chunking)
    folder, store = home / "indexes" / name, open_database(home, url)
    return Index(folder, name, embedder, chunking, store, settings=settings, views=views)


def open_index(
    home: Path,
    name: str,
    embedder: Embedder,
    *,
    url: str | None = None,
    settings: SearchSettings = SearchSettings(),
    views: VectorViews | None = None,
) -> Index:
    index = IndexHome(home, url=url, retrieval=settings).open(name, embedder)
    if views is None:
        return index
    return create_index(home, name, embedder, index.chunk_settings, url=url, settings=settings, views=views)
