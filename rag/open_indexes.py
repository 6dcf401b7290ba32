"""The indexes of a home, each opened once.

OpenIndexes(index_home(config, home), embedder).open("lake").search("when?", 3)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import TypeVar

import sqlalchemy as sa

from rag.chunking.chunk import ChunkSettings
from rag.embedding.embedder import Embedder
from rag.home import IndexHome
from rag.index import Index, IndexState, check_embedder
from rag.store import documents, indexes
from rag.store.documents import DocumentEntry
from storage.database import Database

T = TypeVar("T")


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
            raise indexes.missing(name, self.states())
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
