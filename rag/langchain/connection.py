"""A connection to a vector store that holds vectors by chunk number: `connection.nearest(vector, 5)`.

Whatever the store does wrong is a RagError in one line.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rag.embedding.embedder import Embedder
from rag.errors import RagError
from rag.langchain.factory import identity, told
from rag.search.dense import Vectors
from rag.search.numbers import Numbers

if TYPE_CHECKING:
    from langchain_core.vectorstores import VectorStore

    from rag.langchain.embeddings import KnownVectors

_NUMBER = "chunk"
_BATCH = 256

# Folders that are open in this process. A store in a folder can be opened once, but an index any number of times.
_OPEN_FOLDERS: dict[str, tuple[Connection, int]] = {}
_FOLDERS_LOCK = threading.Lock()


def connect(factory: str, options: Mapping[str, Any], *, name: str, embedder: Embedder) -> Connection:
    """The connection for the index `name`, to be closed; see `open_vector_store` for the other arguments."""
    if "path" not in options:
        return Connection(factory, options, name=name, embedder=embedder)
    key = f"{identity(factory, options)}/{name}"
    with _FOLDERS_LOCK:
        connection, users = _OPEN_FOLDERS.get(key) or (Connection(factory, options, name=name, embedder=embedder), 0)
        _OPEN_FOLDERS[key] = connection, users + 1
    return connection


class Connection:
    """Opens the store at once, and lets many search it or one write it."""

    def __init__(self, factory: str, options: Mapping[str, Any], *, name: str, embedder: Embedder) -> None:
        # LangChain takes half a second to import.
        from rag.langchain.embeddings import KnownVectors
        from rag.langchain.vector_store import open_vector_store

        self._factory = factory
        self._options = options
        self._known: KnownVectors = KnownVectors(embedder)
        self._store: VectorStore = open_vector_store(factory, options, self._known, name=name)
        # A store inside this process need not bear being written while it is read. A writer keeps the turn while it
        # waits, so that readers who come later cannot hold it up for ever.
        self._turn = threading.Lock()
        self._idle = threading.Condition()
        self._readers = 0

    def nearest(self, vector: Vectors, k: int) -> Numbers:
        """The numbers that the store finds, ascending; some may be of chunks that are gone."""
        with self._explained(), self._reading():
            found = self._store.similarity_search_by_vector(vector.tolist(), k=k)
            numbers = [int(document.metadata[_NUMBER]) for document in found if _NUMBER in document.metadata]
        return np.unique(np.array(numbers, dtype=np.int64))

    def add(self, numbers: Numbers, vectors: Vectors) -> None:
        """Puts vectors there; those that are there already stay."""
        for start in range(0, len(numbers), _BATCH):
            batch = numbers[start : start + _BATCH].tolist()
            texts = [str(number) for number in batch]
            with self._explained(), self._writing():
                self._known.vectors = dict(zip(texts, vectors[start : start + _BATCH].tolist(), strict=True))
                self._store.add_texts(texts, metadatas=[{_NUMBER: n} for n in batch], ids=[_store_id(n) for n in batch])

    def remove(self, numbers: Numbers) -> None:
        """Takes vectors away, those that are there."""
        for start in range(0, len(numbers), _BATCH):
            with self._explained(), self._writing():
                self._store.delete([_store_id(number) for number in numbers[start : start + _BATCH].tolist()])

    def close(self) -> None:
        """Closes the store's client, where it has one, if nobody else in this process uses it."""
        with _FOLDERS_LOCK:
            for key, (connection, users) in list(_OPEN_FOLDERS.items()):
                if connection is self and users > 1:
                    _OPEN_FOLDERS[key] = connection, users - 1
                    return
                if connection is self:
                    del _OPEN_FOLDERS[key]
            close = getattr(getattr(self._store, "client", None), "close", None)
            if close is not None:
                with self._explained():
                    close()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        with self._turn, self._idle:
            self._readers += 1
        try:
            yield
        finally:
            with self._idle:
                self._readers -= 1
                self._idle.notify_all()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with self._turn:
            with self._idle:
                self._idle.wait_for(lambda: not self._readers)
            yield

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except RagError:
            raise
        except NotImplementedError as error:
            raise RagError(f"vector store {self._factory!r} cannot be searched by vector; use another one") from error
        except Exception as error:
            raise RagError(
                f"vector store {self._factory!r} failed ({told(error, self._options)}); see that it is running and "
                "that its options are right"
            ) from error


def _store_id(number: int) -> str:
    # Some stores take only UUIDs, others any text.
    return str(uuid.UUID(int=number))
