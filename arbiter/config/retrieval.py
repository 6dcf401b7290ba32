"""The sections of retrieval: how documents are chunked, embedded, stored and searched.

IndexConfig(strategy="structure", retrieval=SearchSettings(mode="hybrid"))
"""

from __future__ import annotations

from dataclasses import field
from typing import Any

from pydantic import SecretStr, field_serializer

from rag.chunking.chunk import ChunkSettings
from rag.embedding.settings import EmbedderSettings
from rag.search.settings import SearchSettings, TopK
from storage.errors import ArbiterError
from storage.settings import settings


@settings(ArbiterError)
class FactoryConfig:
    """What another package makes of options."""

    factory: str
    """The dotted path of a callable, `package.module:Class`; of a vector store also the name of a recipe
    (rag/langchain/vector_store.py)."""
    options: dict[str, Any] = field(default_factory=dict)
    """Its arguments; not written into runs, since a connection or a key among them may be a secret."""

    @field_serializer("options", when_used="json")
    def _hide(self, options: dict[str, Any]) -> dict[str, str]:
        return dict.fromkeys(options, "**********")


@settings(ArbiterError)
class IndexConfig(ChunkSettings):
    """How documents are cut, where their rows are kept, and how they are searched. Tokens are the embedder's."""

    top_k: TopK = 2
    """How many passages an arm retrieves from the documents."""
    example_top_k: TopK = 4
    """How many training rows an arm retrieves."""
    retrieval: SearchSettings = SearchSettings()
    database: SecretStr | None = None
    """A SQLAlchemy URL in place of the data directory's own SQLite file; it may hold a password, so it is best given as
    an environment variable."""
    store: FactoryConfig | None = None
    """A LangChain vector store in place of FAISS."""


@settings(ArbiterError)
class EmbeddingConfig(EmbedderSettings):
    """How the embedder runs."""

    langchain: FactoryConfig | None = None
    """LangChain `Embeddings` in place of the embedder and all of this."""
