"""LangChain vector stores by name: `open_vector_store("qdrant", {"url": "http://..."}, embeddings, name="faq")`.

A name is a recipe's (qdrant, pgvector, chroma, milvus) or the dotted path of any callable that gives a `VectorStore`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from rag.errors import RagError
from rag.langchain.factory import call, construct, resolve

# What the stores call the parameter that takes the embeddings.
_EMBEDDINGS_NAMES = ("embedding", "embeddings", "embedding_function")


def open_vector_store(factory: str, options: Mapping[str, Any], embeddings: Embeddings, *, name: str) -> VectorStore:
    """The store, made if it is not there. `name` is the index: recipes call their collection so unless told otherwise.

    A dotted path is called with the options and the embeddings, the latter under whichever name it has for them, else
    first; {index} in a text option stands for `name`. Raises RagError in one line.
    """
    filled = {
        key: value.replace("{index}", name) if isinstance(value, str) else value for key, value in options.items()
    }
    recipe = RECIPES.get(factory)
    if recipe is not None:
        # Letters, digits and underscores: what every store allows.
        filled.setdefault("collection_name", re.sub(r"\W", "_", f"arbiter_{name}", flags=re.ASCII))
        store = call(recipe, factory, filled, embeddings)
    else:
        taken = inspect.signature(resolve(factory)).parameters
        called = next((parameter for parameter in _EMBEDDINGS_NAMES if parameter in taken), None)
        store = construct(
            factory, filled, *([] if called else [embeddings]), **({called: embeddings} if called else {})
        )
    if not isinstance(store, VectorStore):
        raise RagError(f"{factory!r} gave a {type(store).__name__}; it must give a LangChain VectorStore")
    return store


def open_qdrant(embeddings: Embeddings, *, collection_name: str, path: str | None = None, **client: Any) -> VectorStore:
    """Qdrant: `url` of a server, `path` of a folder, or `location` ":memory:"; the rest goes to its client.

    Below `path` each collection has a folder of its own, which one process at a time can open.
    """
    from langchain_qdrant import QdrantVectorStore

    if path is not None:
        client["path"] = str(Path(path) / collection_name)
    store: VectorStore = QdrantVectorStore.construct_instance(
        embedding=embeddings, client_options=client, collection_name=collection_name
    )
    return store


def open_pgvector(embeddings: Embeddings, *, collection_name: str, connection: str, **options: Any) -> VectorStore:
    """PostgreSQL with the pgvector extension, `connection` as postgresql+psycopg://...; needs langchain-postgres."""
    store: VectorStore = construct(
        "langchain_postgres:PGVector",
        {"collection_name": collection_name, "connection": connection, **options},
        embeddings,
    )
    return store


def open_chroma(embeddings: Embeddings, *, collection_name: str, **options: Any) -> VectorStore:
    """Chroma, with `persist_directory` or `host` and `port`; needs langchain-chroma."""
    store: VectorStore = construct(
        "langchain_chroma:Chroma", {"collection_name": collection_name, **options}, embedding_function=embeddings
    )
    return store


def open_milvus(embeddings: Embeddings, *, collection_name: str, uri: str, **options: Any) -> VectorStore:
    """Milvus at a `uri`, a server's or the file of Milvus Lite; needs langchain-milvus."""
    store: VectorStore = construct(
        "langchain_milvus:Milvus",
        {"collection_name": collection_name, "connection_args": {"uri": uri}, "auto_id": False, **options},
        embedding_function=embeddings,
    )
    return store


RECIPES: Mapping[str, Callable[..., VectorStore]] = {
    "qdrant": open_qdrant,
    "pgvector": open_pgvector,
    "chroma": open_chroma,
    "milvus": open_milvus,
}
