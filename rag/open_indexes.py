"""The indexes of a home, each opened once.

OpenIndexes(index_home(config, home), embedder).open("lake").search("when?", 3)
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection

from rag.chunking.chunk import ChunkSettings
from rag.embedding.embedder import Embedder
from rag.errors import RagError
from rag.home import IndexHome
from rag.index import Index, IndexState
from rag.indexing import missing
from rag.store import documents, indexes
from storage.database import Database


class OtherEmbedder(RagError):
    """The index was built with another embedder than the one that is served with."""


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
        database = self._shared()
        if database is None:
            return {}
        with database.read() as rows:
            return {state.name: state for state in indexes.states(rows)}

    def has(self, name: str) -> bool:
        """Whether there is such an index, whoever built it."""
        with self._lock:
            index = self._open.get(name)
        return (index is not None and index.generation > 0) or name in self.states()

    def find(self, name: str) -> Index | None:
        """The index, None if there is none. Raises OtherEmbedder."""
        with self._lock:
            index = self._open.get(name)
            if index is None:
                state = self.states().get(name)
                if state is None:
                    return None
                self._check_embedder(state)
                index = self._open[name] = self.index_home.open(name, self.embedder, database=self._shared())
        # What was opened may have been dropped since, by another process.
        return index if index.generation > 0 else None

    def open(self, name: str) -> Index:
        """The index. Raises RagError if there is none, and OtherEmbedder."""
        index = self.find(name)
        if index is None:
            raise missing(name)
        return index

    def make(self, name: str, chunking: ChunkSettings) -> Index:
        """The index as it is cut now, new if there is none. Raises OtherEmbedder."""
        state = self.states().get(name)
        if state is not None:
            self._check_embedder(state)
        settings = state.settings if state is not None else chunking
        with self._lock:
            index = self._open.get(name)
            # What is added to an index under other settings would have it cut anew.
            if index is None or index.chunk_settings != settings:
                index = self._open[name] = self._create(name, settings)
            return index

    def delete_documents(self, name: str, document_ids: list[str]) -> int:
        """Takes documents out of an index, whoever built it; returns how many were there."""
        try:
            index = self.find(name)
        except OtherEmbedder:
            # It cannot be searched with this embedder, and a deletion needs none.
            return self._delete_unopened(name, document_ids)
        return index.delete(document_ids) if index is not None else 0

    def present(self, name: str, document_ids: Collection[str]) -> set[str]:
        """Those of the documents that are in the index, whoever built it; none if there is no such index."""
        database = self._shared()
        if database is None:
            return set()
        with database.read() as rows:
            state = indexes.state(rows, name)
            return set(documents.present(rows, state.id, document_ids)) if state is not None else set()

    def drop(self, name: str) -> None:
        """Takes an index away, if there is one."""
        state = self.states().get(name)
        with self._lock:
            index = self._open.pop(name, None)
            if index is None and state is not None:
                index = self._create(name, state.settings)
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

    def _create(self, name: str, settings: ChunkSettings) -> Index:
        return self.index_home.create(name, self.embedder, settings, database=self._shared())

    def _shared(self) -> Database | None:
        """The one open database of all indexes, so that connections do not grow with their number; None so far."""
        with self._lock:
            if self._database is None:
                self._database = self.index_home.database()
            return self._database

    def _check_embedder(self, state: IndexState) -> None:
        if state.embedder != self.embedder.name:
            raise OtherEmbedder(
                f"index {state.name!r} was built with embedder {state.embedder!r}, not {self.embedder.name!r}; "
                "index its documents anew, or serve with that embedder"
            )

    def _delete_unopened(self, name: str, document_ids: list[str]) -> int:
        state = self.states().get(name)
        if state is None:
            return 0
        with contextlib.closing(self._create(name, state.settings)) as index:
            return index.delete(document_ids)
