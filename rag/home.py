"""Where indexes are kept, and how they are cut and searched unless told otherwise.

index_home = IndexHome(home=data_home())
index = index_home.open("faq", embedder)
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from rag.chunking.chunk import ChunkSettings
from rag.documents.conversions import Conversions
from rag.embedding.embedder import Embedder
from rag.index import Index, IndexState, check_embedder
from rag.search.numbers import Numbers, Vectors
from rag.search.settings import SearchSettings
from rag.store import chunks, indexes
from rag.views import VectorViews
from storage.database import Database, database_url, find_database, open_database
from storage.errors import ArbiterError


@dataclass(frozen=True, slots=True)
class IndexHome:
    """The data directory, the database in place of its own, and the vector store in place of FAISS.

    `chunking` is for new indexes, `retrieval` for searches that bring no settings of their own. `store` is the name of
    a vector store (see rag/langchain/vector_store.py), '' for FAISS, with its `store_options`.
    """

    home: Path
    url: str | None = field(default=None, repr=False)
    chunking: ChunkSettings = field(default_factory=ChunkSettings)
    retrieval: SearchSettings = field(default_factory=SearchSettings)
    store: str = ""
    store_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def states(self) -> dict[str, IndexState]:
        """Every index there is, by name."""
        database = self.database()
        if database is None:
            return {}
        with contextlib.closing(database), database.read() as rows:
            return {state.name: state for state in indexes.states(rows)}

    def database(self) -> Database | None:
        """The rows of every index, to be closed by the caller; None before the first index. Raises StorageError."""
        return find_database(self.home, self.url)

    def open(self, name: str, embedder: Embedder, *, database: Database | None = None) -> Index:
        """The existing index. An open `database` serves any number of indexes, and stays open when one is closed.

        Raises RagError if there is no such index, and OtherEmbedder.
        """
        indexes.check_name(name)
        store = database or self.database()
        if store is None:
            raise indexes.missing(name, ())
        try:
            with store.read() as rows:
                state = indexes.existing(rows, name)
            check_embedder(state, embedder)
        except ArbiterError:
            if database is None:
                store.close()
            raise
        return self._index(name, embedder, state.settings, store, is_shared=database is not None)

    def create(
        self,
        name: str,
        embedder: Embedder,
        chunking: ChunkSettings | None = None,
        *,
        database: Database | None = None,
    ) -> Index:
        """The index, new or existing, over an open `database` if one is given.

        Nothing is written to it before `sync` or `add`. An index of another embedder or other chunk settings is built
        anew by the next of them, and is as it was until then.
        """
        indexes.check_name(name)
        store = database or open_database(self.home, self.url)
        return self._index(name, embedder, chunking or self.chunking, store, is_shared=database is not None)

    def remove_leftovers(self) -> None:
        """Removes the view files of indexes that are gone: a search that a deletion overtook may have written one."""
        known = self.states()
        for folder in (self.home / "indexes").glob("*"):
            if folder.is_dir() and folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)

    def conversions(self) -> Conversions:
        """Texts of files that were converted before; to be closed by the caller. Raises StorageError."""
        return Conversions(self.home / "conversions.db")

    def _index(
        self, name: str, embedder: Embedder, chunking: ChunkSettings, store: Database, *, is_shared: bool
    ) -> Index:
        folder, views = self.home / "indexes" / name, self._views(name, embedder, store)
        return Index(folder, name, embedder, chunking, store, settings=self.retrieval, views=views, is_shared=is_shared)

    def _views(self, name: str, embedder: Embedder, store: Database) -> VectorViews | None:
        if not self.store:
            return None
        from rag.langchain.store_view import StoreViews

        def vectors_of(numbers: Numbers) -> tuple[Numbers, Vectors]:
            with store.read() as rows:
                return chunks.vectors_of(rows, indexes.existing(rows, name).id, numbers.tolist())

        where = sa.make_url(database_url(self.home.resolve(), self.url)).render_as_string(hide_password=True)
        return StoreViews(
            self.store, self.store_options, name=name, embedder=embedder, vectors_of=vectors_of, database=where
        )
