"""Vector stores, their files, batches and search results in OpenAI's shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

from openai.types import VectorStore, VectorStoreSearchResponse
from openai.types.vector_stores import VectorStoreFile, VectorStoreFileBatch
from pydantic import BaseModel

from rag.chunking.chunk import ChunkSettings, warn_long
from rag.passage import Passage
from serving.vector_stores.listing import attributes_of, vector_bytes
from serving.vector_stores.rows import StoredBatch, StoreFile
from serving.vector_stores.schema import STATUSES
from serving.vector_stores.stores import StoreState


class IndexNotes(BaseModel):
    """How a vector store's index is built."""

    index: str
    embedder: str | None
    generation: int
    num_chunks: int
    chunking: dict[str, Any] | None
    warnings: list[str]


class Store(VectorStore):
    """OpenAI's vector store."""

    description: str | None
    arbiter: IndexNotes


class FileInStore(VectorStoreFile):
    """OpenAI's file in a vector store."""

    # Theirs would turn whole numbers into fractions.
    attributes: dict[str, Any]


class Batch(VectorStoreFileBatch):
    """OpenAI's batch of files."""


class ChunkNotes(BaseModel):
    """Where a result stands."""

    chunk_id: str
    title: str
    page: int | None
    headings: list[str]


class Result(VectorStoreSearchResponse):
    """OpenAI's search result."""

    attributes: dict[str, Any]
    arbiter: ChunkNotes


class ResultsPage(BaseModel):
    """The results of a search, best first; there is no second page."""

    object: Literal["vector_store.search_results.page"]
    search_query: list[str]
    data: list[Result]
    has_more: Literal[False]
    next_page: None


class Text(BaseModel):
    """A text."""

    type: Literal["text"]
    text: str


class ContentPage(BaseModel):
    """The text of a file."""

    object: Literal["vector_store.file_content.page"]
    data: list[Text]
    has_more: Literal[False]
    next_page: None


def store_card(shown: StoreState, *, dimension: int, max_tokens: int | None) -> dict[str, object]:
    """A vector store; `usage_bytes` is what its vectors take. `arbiter` says how its index is built."""
    store, state = shown.store, shown.state
    settings = chunking_of(shown)
    warning = warn_long(settings, max_tokens) if settings is not None else None
    return {
        "id": store.id,
        "object": "vector_store",
        "created_at": store.created_at,
        "last_active_at": store.last_active_at,
        "name": store.name,
        "description": store.description,
        "status": "in_progress" if shown.counts["in_progress"] else "completed",
        "usage_bytes": vector_bytes(state.num_chunks, dimension) if state is not None else 0,
        "file_counts": _file_counts(shown.counts),
        "metadata": store.metadata,
        "expires_after": None,
        "expires_at": None,
        "arbiter": {
            "index": store.id,
            "embedder": state.embedder if state is not None else None,
            "generation": state.generation if state is not None else 0,
            "num_chunks": state.num_chunks if state is not None else 0,
            "chunking": asdict(settings) if settings is not None else None,
            "warnings": [warning] if warning else [],
        },
    }


def chunking_of(shown: StoreState) -> ChunkSettings | None:
    """How the store's files are cut, None if that is not decided yet."""
    if shown.state is not None:
        return shown.state.settings
    return ChunkSettings(**shown.store.chunking) if shown.store.chunking is not None else None


def store_file_card(file: StoreFile, chunking: ChunkSettings | None) -> dict[str, object]:
    """A file of a vector store."""
    return {
        "id": file.id,
        "object": "vector_store.file",
        "vector_store_id": file.store_id,
        "created_at": file.created_at,
        "status": file.status,
        "last_error": file.last_error,
        "attributes": dict(file.attributes),
        "usage_bytes": file.usage_bytes,
        "chunking_strategy": _strategy(chunking),
    }


def batch_card(batch: StoredBatch, counts: Counter[str]) -> dict[str, object]:
    """A batch; it has failed when every file of it has."""
    status = "completed"
    if batch.is_cancelled:
        status = "cancelled"
    elif counts["in_progress"]:
        status = "in_progress"
    elif counts["failed"] and counts["failed"] == counts.total():
        status = "failed"
    return {
        "id": batch.id,
        "object": "vector_store.files_batch",
        "vector_store_id": batch.store_id,
        "created_at": batch.created_at,
        "status": status,
        "file_counts": _file_counts(counts),
    }


def results_page(queries: Sequence[str], passages: Sequence[Passage]) -> dict[str, object]:
    """The results of a search; there is no second page."""
    return {
        "object": "vector_store.search_results.page",
        "search_query": list(queries),
        "data": [_result(passage) for passage in passages],
        "has_more": False,
        "next_page": None,
    }


def content_page(text: str) -> dict[str, object]:
    """The text of one file."""
    return {
        "object": "vector_store.file_content.page",
        "data": [{"type": "text", "text": text}],
        "has_more": False,
        "next_page": None,
    }


def _result(passage: Passage) -> dict[str, object]:
    return {
        "file_id": passage.document_id,
        "filename": passage.source or passage.title or passage.document_id,
        "score": passage.score,
        "attributes": dict(attributes_of(passage.metadata)),
        "content": [{"type": "text", "text": passage.text}],
        "arbiter": {
            "chunk_id": passage.chunk_id,
            "title": passage.title,
            "page": passage.page,
            "headings": list(passage.headings),
        },
    }


def _file_counts(counts: Counter[str]) -> Mapping[str, int]:
    by_status: dict[str, int] = {status: counts[status] for status in STATUSES}
    return {**by_status, "total": sum(by_status.values())}


def _strategy(chunking: ChunkSettings | None) -> dict[str, Any]:
    if chunking is None or chunking.strategy != "tokens":
        return {"type": "other"}
    static = {"max_chunk_size_tokens": chunking.chunk_tokens, "chunk_overlap_tokens": chunking.overlap_tokens}
    return {"type": "static", "static": static}
