"""LangChain vector stores by name: `open_vector_store("qdrant", {"url": "http://..."}, embeddings, name="faq")`.

A name is a recipe's (qdrant, pgvector, chroma, milvus) or the dotted path of any callable that gives a `VectorStore`.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from rag.errors import RagError
from rag.langchain.factory import construct, resolve
from storage.locks import hold_lock

# What the stores call the parameter that takes the embeddings.
_EMBEDDINGS_NAMES = ("embedding", "embeddings", "embedding_function")
_LOCK = "arbiter.lock"
# Denser than Chroma's own: see docs/adr/0014.
_CHROMA_HNSW = {"space": "cosine", "ef_construction": 200, "max_neighbors": 32, "ef_search": 200}


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
        store = _call_with(embeddings, factory, filled)
        if not isinstance(store, VectorStore):
            raise RagError(f"{factory!r} gave a {type(store).__name__}; it must give a LangChain VectorStore")
        close = getattr(getattr(store, "client", None), "close", None)
        return OpenStore(store, store.add_texts, close or (lambda: None))
    filled.setdefault("collection_name", f"arbiter_{name}")
    with contextlib.ExitStack() as stack:
        if "path" in filled:
            folder = Path(filled["path"]) / filled["collection_name"]
            filled["path"] = str(folder)
            _own(folder, stack)
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


def open_chroma(embeddings: Embeddings, *, collection_name: str, path: str | None = None, **client: Any) -> OpenStore:
    """Chroma: `path` of a folder, or `host`, `port` and what else its HTTP client takes; needs langchain-chroma."""
    make = resolve("langchain_chroma:Chroma")
    where = {"path": path} if path is not None else client
    connect = resolve("chromadb:HttpClient" if path is None else "chromadb:PersistentClient")
    opened = connect(**where, settings=resolve("chromadb:Settings")(anonymized_telemetry=False))
    store = make(collection_name, embeddings, client=opened, collection_configuration={"hnsw": _CHROMA_HNSW})
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


def find_factory(name: str) -> Callable[..., Any]:
    """What opens a store of this name. Raises RagError."""
    return RECIPES.get(name) or resolve(name)


def _call_with(embeddings: Embeddings, factory: str, options: Mapping[str, Any]) -> Any:
    taken = inspect.signature(resolve(factory)).parameters
    for called in _EMBEDDINGS_NAMES:
        if called in taken:
            return construct(factory, {**options, called: embeddings})
    return construct(factory, options, embeddings)


def _own(folder: Path, stack: contextlib.ExitStack) -> None:
    """Makes the folder if need be, for this process alone: not every store sees to that, or says so."""
    busy = RagError(
        f"the vector store in {str(folder)!r} is open in another process; end that, or use the store's server, which "
        "many can share"
    )
    try:
        stack.enter_context(hold_lock(folder / _LOCK, busy=busy))
    except OSError as error:
        raise RagError(f"the vector store's folder {str(folder)!r} cannot be used: {error.strerror}") from error


def _is_not_about_a_missing_method(record: logging.LogRecord) -> bool:
    return "Method not implemented" not in record.getMessage()
