"""LangChain vector stores by name, and connections to them: whatever a store does wrong is a RagError in one line.

connection = connect("qdrant", {"url": "http://..."}, name="faq", embedder=embedder)
connection.nearest(vector, 5)  # chunk numbers

A name is a recipe's (qdrant, pgvector, chroma, milvus) or the dotted path of any callable that gives a `VectorStore`.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import logging
import threading
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from rag.embedding.embedder import Embedder
from rag.errors import RagError
from rag.langchain.embeddings import KnownVectors
from rag.langchain.factory import construct, describe_error, identity, resolve
from rag.search.numbers import Numbers, Vectors
from storage.files import hold_lock

# What the stores call the parameter that takes the embeddings.
_EMBEDDINGS_NAMES = ("embedding", "embeddings", "embedding_function")
_LOCK = "arbiter.lock"
# Denser than Chroma's own: see docs/adr/0014.
_CHROMA_HNSW = {"space": "cosine", "ef_construction": 200, "max_neighbors": 32, "ef_search": 200}


_NUMBER = "chunk"
_CHECK = "crc32"
_BATCH = 256
# Searches of one store at a time.
_READERS = 16

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
        # A store inside this process need not bear being written while it is read: a writer takes every reader's seat.
        self._seats = threading.Semaphore(_READERS)
        self._turn = threading.Lock()

    def nearest(self, vector: Vectors, k: int) -> Numbers:
        """The numbers that the store finds, ascending; some may be of chunks that are gone."""
        with self._turn:
            pass  # A writer keeps it while it waits, so that readers who come later cannot hold it up for ever.
        with self._explained(), self._seats:
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
    def _writing(self) -> Iterator[None]:
        with self._turn, contextlib.ExitStack() as taken:
            for _ in range(_READERS):
                taken.enter_context(self._seats)
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


@dataclass(frozen=True, slots=True)
class OpenStore:
    """A store with what LangChain has no common word for."""

    store: VectorStore
    put: Callable[..., object]
    """`put(texts, metadatas=..., ids=...)` replaces what is there under the same ids."""
    close: Callable[[], object]


def open_vector_store(factory: str, options: Mapping[str, Any], embeddings: Embeddings, *, name: str) -> OpenStore:
    """The store, made if it is not there. Recipes call their collection after `name` unless told otherwise.

    With the option `path`, a recipe's collection lies in a folder of its own below, which one process at a time opens.
    A dotted path is called with the options and the embeddings, the latter under whichever name it has for them, else
    first. {index} in a text option stands for `name`. Raises RagError in one line.
    """
    filled = {
        key: value.replace("{index}", name) if isinstance(value, str) else value for key, value in options.items()
    }
    recipe = RECIPES.get(factory)
    if recipe is None:
        taken = inspect.signature(resolve(factory)).parameters
        called = next((name for name in _EMBEDDINGS_NAMES if name in taken), None)
        store = construct(factory, {**filled, called: embeddings}) if called else construct(factory, filled, embeddings)
        if not isinstance(store, VectorStore):
            raise RagError(f"{factory!r} gave a {type(store).__name__}; it must give a LangChain VectorStore")
        close = getattr(getattr(store, "client", None), "close", None)
        return OpenStore(store, store.add_texts, close or (lambda: None))
    filled.setdefault("collection_name", f"arbiter_{name}")
    with contextlib.ExitStack() as stack:
        if "path" in filled:
            folder = Path(filled["path"]) / filled["collection_name"]
            filled["path"] = str(folder)
            # For this process alone: not every store sees to that, or says so.
            busy = RagError(
                f"the vector store in {str(folder)!r} is open in another process; end that, or use the store's server, "
                "which many can share"
            )
            try:
                stack.enter_context(hold_lock(folder / _LOCK, busy=busy))
            except OSError as error:
                raise RagError(f"the vector store's folder {str(folder)!r} cannot be used: {error.strerror}") from error
        opened: OpenStore = construct(factory, filled, embeddings, factory=recipe)
        stack.callback(opened.close)
        return OpenStore(opened.store, opened.put, stack.pop_all().close)


def open_qdrant(embeddings: Embeddings, *, collection_name: str, **client: Any) -> OpenStore:
    """Qdrant: `url` of a server, `path` of a folder, or `location` ":memory:"; all of it goes to its client."""
    from langchain_qdrant import QdrantVectorStore

    store = QdrantVectorStore.construct_instance(
        embedding=embeddings, client_options=client, collection_name=collection_name
    )
    return OpenStore(store, store.add_texts, store.client.close)


def open_pgvector(embeddings: Embeddings, *, collection_name: str, connection: str, **options: Any) -> OpenStore:
    """PostgreSQL with the pgvector extension, `connection` as postgresql+psycopg://...; needs langchain-postgres."""
    make = resolve("langchain_postgres:PGVector")
    # A server may have been restarted since the last search.
    engine = sa.create_engine(connection, pool_pre_ping=True)
    store = make(embeddings, connection=engine, collection_name=collection_name, **options)
    return OpenStore(store, store.add_texts, engine.dispose)


def open_chroma(
    embeddings: Embeddings,
    *,
    collection_name: str,
    hnsw: Mapping[str, Any] = _CHROMA_HNSW,
    **client: Any,
) -> OpenStore:
    """Chroma: `path` of a folder, or `host`, `port` and what else its HTTP client takes; needs langchain-chroma."""
    make = resolve("langchain_chroma:Chroma")
    connect = resolve("chromadb:PersistentClient" if "path" in client else "chromadb:HttpClient")
    opened = connect(**client, settings=resolve("chromadb:Settings")(anonymized_telemetry=False))
    store = make(collection_name, embeddings, client=opened, collection_configuration={"hnsw": dict(hnsw)})
    return OpenStore(store, store.add_texts, opened.close)


def open_milvus(
    embeddings: Embeddings,
    *,
    collection_name: str,
    path: str | None = None,
    uri: str | None = None,
    token: str = "",
    db_name: str = "",
    **options: Any,
) -> OpenStore:
    """Milvus at the `uri` of a server, or Milvus Lite in the folder `path`; needs langchain-milvus, and milvus-lite."""
    make = resolve("langchain_milvus:Milvus")
    if (uri is None) == (path is None):
        raise RagError("'milvus' takes either the uri of a server or the path of a folder")
    release = None
    if path is not None:
        uri = str(Path(path) / "milvus.db")
        # Lite's approximate index still walks over what was removed, and finds the less for it.
        options.setdefault("index_params", {"index_type": "FLAT", "metric_type": "IP"})
        release = resolve("milvus_lite.server_manager:server_manager_instance.release_server")
        # It logs a traceback for a call that it lacks and that its client does without.
        logging.getLogger("grpc._server").addFilter(_is_not_about_a_missing_method)
    store = make(
        embeddings,
        collection_name,
        connection_args={"uri": uri, "token": token, "db_name": db_name},
        # Other processes, too, see a change as soon as it is written.
        **{"consistency_level": "Strong", **options},
    )

    def put(texts: list[str], *, metadatas: list[dict[str, Any]], ids: list[str]) -> None:
        # Adding what is there already would keep both; a collection that is not there can only be added to.
        if store.client.has_collection(collection_name):
            pairs = zip(texts, metadatas, strict=True)
            store.upsert(ids, [Document(page_content=text, metadata=data) for text, data in pairs])
        else:
            store.add_texts(texts, metadatas, ids=ids)

    def close() -> None:
        store.client.close()
        if release is not None:
            release(uri)

    return OpenStore(store, put, close)


RECIPES: Mapping[str, Callable[..., OpenStore]] = {
    "qdrant": open_qdrant,
    "pgvector": open_pgvector,
    "chroma": open_chroma,
    "milvus": open_milvus,
}


def _is_not_about_a_missing_method(record: logging.LogRecord) -> bool:
    return "Method not implemented" not in record.getMessage()
