"""A connection to a vector store that holds vectors by chunk number: `connection.nearest(vector, 5)`.

Whatever the store does wrong is a RagError in one line.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from rag.embedding.embedder import Embedder
from rag.errors import RagError
from rag.langchain.embeddings import KnownVectors
from rag.langchain.factory import describe_error, identity
from rag.langchain.vector_store import open_vector_store
from rag.search.numbers import Numbers, Vectors

_NUMBER = "chunk"
_CHECK = "crc32"
_BATCH = 256

# Folders that are open in this process. A store in a folder can be opened once, but an index any number of times.
_FOLDERS: dict[str, Connection] = {}
_FOLDERS_LOCK = threading.Lock()


def connect(factory: str, options: Mapping[str, Any], *, name: str, embedder: Embedder) -> Connection:
    """The connection to the collection `name`, to be closed; see `open_vector_store` for the other arguments."""
    if "path" not in options:
        return Connection(factory, options, name=name, embedder=embedder)
    key = f"{identity(factory, options)}/{name}"
    with _FOLDERS_LOCK:
        if (connection := _FOLDERS.get(key)) is None:
            connection = _FOLDERS[key] = Connection(factory, options, name=name, embedder=embedder)
        else:
            connection.num_others += 1
    return connection


class Connection:
    """Opens the store at once, and lets many search it or one write it."""

    def __init__(self, factory: str, options: Mapping[str, Any], *, name: str, embedder: Embedder) -> None:
        self.num_others = 0  # who use it besides the first
        self._factory = factory
        self._options = options
        self._known = KnownVectors(embedder)
        self._opened = open_vector_store(factory, options, self._known, name=name)
        self._store = self._opened.store
        # PGVector keeps all collections of a database in one table, with the id as its key.
        collection = f"{options.get('collection_name', '')}/{name}"
        self._id_base = int.from_bytes(hashlib.sha256(collection.encode()).digest()[:8], "big") << 64
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
        """Puts vectors there that are not there yet, in place of others under the same numbers."""
        for start in range(0, len(numbers), _BATCH):
            batch = numbers[start : start + _BATCH].tolist()
            rows = vectors[start : start + _BATCH]
            wanted = [{_NUMBER: n, _CHECK: zlib.crc32(row.tobytes())} for n, row in zip(batch, rows, strict=True)]
            with self._explained(), self._writing():
                there = self._there(batch)
                missing = [i for i, data in enumerate(wanted) if (data[_NUMBER], data[_CHECK]) not in there]
                if missing:
                    texts = [str(batch[i]) for i in missing]
                    self._known.vectors = dict(zip(texts, rows[missing].tolist(), strict=True))
                    ids = self._store_ids(batch[i] for i in missing)
                    self._opened.put(texts, metadatas=[wanted[i] for i in missing], ids=ids)

    def remove(self, numbers: Numbers) -> None:
        """Takes vectors away, those that are there."""
        for start in range(0, len(numbers), _BATCH):
            with self._explained(), self._writing():
                self._store.delete(self._store_ids(numbers[start : start + _BATCH].tolist()))

    def close(self) -> None:
        """Closes the store if nobody else in this process uses it."""
        with _FOLDERS_LOCK:
            if self.num_others:
                self.num_others -= 1
                return
            for key in [key for key, connection in _FOLDERS.items() if connection is self]:
                del _FOLDERS[key]
            with self._explained():
                self._opened.close()

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
            raise RagError(
                f"vector store {self._factory!r} lacks a search by vector or a deletion by id; use another one"
            ) from error
        except Exception as error:
            raise RagError(
                f"vector store {self._factory!r} failed ({describe_error(error, self._options)}); see that it is "
                "running and that its options are right"
            ) from error

    def _there(self, numbers: Iterable[int]) -> set[tuple[object, object]]:
        # What is sent again, as after every start, is mostly there, and replacing it would cost a store's index dearly.
        try:
            found = self._store.get_by_ids(self._store_ids(numbers))
        except NotImplementedError:
            return set()
        return {(document.metadata.get(_NUMBER), document.metadata.get(_CHECK)) for document in found}

    def _store_ids(self, numbers: Iterable[int]) -> list[str]:
        # Some stores take only UUIDs, others any text.
        return [str(uuid.UUID(int=self._id_base | number)) for number in numbers]
