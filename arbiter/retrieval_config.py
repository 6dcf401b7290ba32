"""The YAML sections of retrieval: how documents are chunked, embedded, stored and searched.

IndexConfig(strategy="structure", retrieval={"mode": "hybrid"})
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_serializer, model_validator

from arbiter.policy_config import Positive, Section, Share
from rag.chunking.chunk import ChunkSettings
from rag.errors import RagError
from rag.search.settings import MAX_TOP_K, SearchSettings

_DEFAULT = SearchSettings()


class RetrievalConfig(Section):
    """How a search ranks; see rag/search/settings.py."""

    mode: Literal["dense", "bm25", "hybrid"] = _DEFAULT.mode
    fusion: Literal["minmax", "rrf"] = _DEFAULT.fusion
    dense_weight: Share = _DEFAULT.dense_weight
    candidates: Annotated[int, Field(ge=1, le=MAX_TOP_K)] = _DEFAULT.candidates
    reranker: str | None = _DEFAULT.reranker
    threshold: Annotated[float, Field(allow_inf_nan=False)] | None = _DEFAULT.threshold
    distinct: bool = _DEFAULT.distinct
    mmr: Share | None = _DEFAULT.mmr
    neighbours: Annotated[int, Field(ge=0, le=20)] = _DEFAULT.neighbours

    def settings(self) -> SearchSettings:
        """The ranking as `rag` takes it."""
        return SearchSettings(**self.model_dump())


class FactoryConfig(Section):
    """What another package makes of options, by the dotted path of a callable ("package.module:Class")."""

    factory: str
    options: dict[str, Any] = Field(default_factory=dict)

    @field_serializer("options", when_used="json")
    def _hide(self, options: dict[str, Any]) -> dict[str, str]:
        # A connection or a key among them may be a secret, and JSON is what goes into runs.
        return dict.fromkeys(options, "**********")


_CHUNKS = ChunkSettings()


class IndexConfig(Section):
    """How documents are chunked, where their rows are kept, and how many passages an arm retrieves.

    Tokens are the embedder's. `database` is a SQLAlchemy URL in place of the data directory's own SQLite file; it may
    hold a password, so it is best given as ARBITER_INDEX__DATABASE. `store` is a LangChain vector store in place of
    FAISS; its factory may also be the name of a recipe (rag/langchain/vector_store.py).
    """

    strategy: Literal["tokens", "structure", "parent_child"] = _CHUNKS.strategy
    chunk_tokens: Positive = _CHUNKS.chunk_tokens
    overlap_tokens: Annotated[int, Field(ge=0)] = _CHUNKS.overlap_tokens
    parent_tokens: Positive = _CHUNKS.parent_tokens
    top_k: Annotated[int, Field(ge=1, le=MAX_TOP_K)] = 2
    example_top_k: Annotated[int, Field(ge=1, le=MAX_TOP_K)] = 4
    retrieval: RetrievalConfig = RetrievalConfig()
    database: SecretStr | None = None
    store: FactoryConfig | None = None

    @model_validator(mode="after")
    def _chunks_are_possible(self) -> IndexConfig:
        try:
            self.chunk_settings()
        except RagError as error:
            raise ValueError(str(error)) from error
        return self

    def chunk_settings(self) -> ChunkSettings:
        """The chunking as `rag` takes it. Raises RagError for sizes that do not fit each other."""
        return ChunkSettings(
            chunk_tokens=self.chunk_tokens,
            overlap_tokens=self.overlap_tokens,
            strategy=self.strategy,
            parent_tokens=self.parent_tokens,
        )


class EmbeddingConfig(Section):
    """How the embedder runs; see rag/embedding/embedder.py. Prefixes default to those the model is known to want.

    `langchain` names LangChain `Embeddings` in place of the embedder and all of this.
    """

    backend: Literal["torch", "openvino"] = "torch"
    precision: Literal["float32", "bfloat16", "int8"] = "float32"
    query_prefix: str | None = None
    passage_prefix: str | None = None
    threads: Positive | None = None
    langchain: FactoryConfig | None = None
