"""Where indexes are kept, and how they are cut and searched unless told otherwise; and all of them, each opened once.

index_home = IndexHome(home=data_home())
index = index_home.open("faq", embedder)
OpenIndexes(index_home, embedder).open("faq").search("when?", 3)
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from rag.chunking.chunk import ChunkSettings
from rag.documents.conversions import Conversions
from rag.embedding.embedder import Embedder
from rag.index import Index, IndexState, check_embedder
from rag.search.numbers import Numbers, Vectors
from rag.search.settings import SearchSettings
from rag.store import chunks, documents, indexes
from rag.store.documents import DocumentEntry
from rag.views import VectorViews
from storage.database import Database, database_url, find_database, open_database

T = TypeVar("T")


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

    def state(self, name: str) -> IndexState:
        """What one index was built with, and holds. Raises RagError if there is no such index."""
        indexes.check_name(name)
        database = self.database()
        if database is None:
            raise indexes.missing(name, ())
        with contextlib.closing(database), database.read() as rows:
            return indexes.existing(rows, name)

    def open(self, name: str, embedder: Embedder) -> Index:
        """The existing index. Raises RagError if there is no such index, and OtherEmbedder."""
        state = self.state(name)
        check_embedder(state, embedder)
        return self.create(name, embedder, state.settings)

    def create(
        self,
        name: str,
        embedder: Embedder,
        chunking: ChunkSettings | None = None,
        *,
        database: Database | None = None,
    ) -> Index:
        """The index, new or existing. An open `database` serves any number of them.

        Nothing is written to it before `sync` or `add`. An index of another embedder or other chunk settings is built
        anew by the next of them, and is as it was until then.
        """
        indexes.check_name(name)
        store = database or open_database(self.home, self.url)
        return Index(
            self.home / "indexes" / name,
            name,
            embedder,
            chunking or self.chunking,
            store,
            settings=self.retrieval,
            views=self._views(name, embedder, store),
        )

    def remove_leftovers(self) -> None:
        """Removes the view files of indexes that are gone: a search that a deletion overtook may have written one."""
        known = self.states()
        for folder in (self.home / "indexes").glob("*"):
            if folder.is_dir() and folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)

    def conversions(self) -> Conversions:
        """Texts of files that were converted before; to be closed by the caller. Raises StorageError."""
        return Conversions(self.home / "conversions.db")

    def _views(self, name: str, embedder: Embedder, store: Database) -> VectorViews | None:
        if not self.store:
            return None
        from rag.langchain.store_view import StoreViews

        def vectors_of(numbers: Numbers) -> tuple[Numbers, Vectors]:
            with store.read() as rows:
                return chunks.vectors_of(rows, indexes.existing(rows, name).id, numbers)

        where = sa.make_url(database_url(self.home.resolve(), self.url)).render_as_string(hide_password=True)
        return StoreViews(
            self.store, self.store_options, name=name, embedder=embedder, vectors_of=vectors_of, database=where
        )


class OpenIndexes:
    """What is opened stays open, over one database, and sees what other threads and processes change."""

    def __init__(self, index_home: IndexHome, embedder: Embedder) -> None:
        self.index_home = index_home
        self.embedder = embedder
        self._open: dict[str, Index] = {}
        self._database: Database | None = None
        self._lock = threading.RLock()

    def states(self) -> dict[str, IndexState]:
        """Every index there is, by name."""
        return {state.name: state for state in self._read(indexes.states) or []}

    def has(self, name: str) -> bool:
        """Whether there is such an index, whoever built it."""
        return self._state(name) is not None

    def find(self, name: str) -> Index | None:
        """The index, None if there is none. Raises OtherEmbedder."""
        state = self._state(name)
        if state is None:
            return None
        check_embedder(state, self.embedder)
        return self._opened(name, state.settings)

    def open(self, name: str) -> Index:
        """The index. Raises RagError if there is none, and OtherEmbedder."""
        index = self.find(name)
        if index is None:
            raise indexes.missing(name, self._read(indexes.names) or ())
        return index

    def make(self, name: str, chunking: ChunkSettings) -> Index:
        """The index as it is cut now, new if there is none. Raises OtherEmbedder."""
        return self.find(name) or self._opened(name, chunking)

    def delete_documents(self, name: str, document_ids: list[str]) -> int:
        """Takes documents out of an index, whoever built it, as that needs no vectors; returns how many were there."""
        state = self._state(name)
        return self._opened(name, state.settings).delete(document_ids) if state is not None else 0

    def entries(self, name: str, document_ids: Collection[str]) -> dict[str, DocumentEntry]:
        """Those of the documents that are in the index, by id, whoever built it; none if there is no such index."""
        state = self._state(name) if document_ids else None
        if state is None:
            return {}
        return self._read(lambda rows: documents.entries_of(rows, state.id, document_ids)) or {}

    def num_besides(self, name: str, document_ids: Collection[str]) -> int:
        """How many documents an index has beside these; 0 if there is no such index."""

        def count(rows: sa.Connection) -> int:
            state = indexes.state(rows, name)
            return state.num_documents - len(documents.entries_of(rows, state.id, document_ids)) if state else 0

        return self._read(count) or 0

    def drop(self, name: str) -> None:
        """Takes an index away, if there is one."""
        if (state := self._state(name)) is not None:
            self._opened(name, state.settings)
        with self._lock:
            index = self._open.pop(name, None)
        if index is not None:
            index.drop()
            index.close()

    def close(self) -> None:
        """Closes what was opened."""
        with self._lock:
            for index in self._open.values():
                index.close()
            self._open.clear()
            if self._database is not None:
                self._database.close()
                self._database = None

    def _opened(self, name: str, settings: ChunkSettings) -> Index:
        with self._lock:
            index = self._open.get(name)
            # What is added to an index under other settings would have it cut anew.
            if index is None or index.chunk_settings != settings:
                made = self.index_home.create(name, self.embedder, settings, database=self._shared())
                index = self._open[name] = made
            return index

    def _state(self, name: str) -> IndexState | None:
        return self._read(lambda rows: indexes.state(rows, name))

    def _read(self, ask: Callable[[sa.Connection], T]) -> T | None:
        """What the rows of all indexes say, None before the first index."""
        database = self._shared()
        if database is None:
            return None
        with database.read() as rows:
            return ask(rows)

    def _shared(self) -> Database | None:
        """The one open database of all indexes, so that connections do not grow with their number; None so far."""
        with self._lock:
            if self._database is None:
                self._database = self.index_home.database()
            return self._database
