"""/v1/vector_stores in OpenAI's shapes, driven by `client.vector_stores`: stores, their files, batches, search.

add_surface(app, vector_store_routes(stores, current))
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from openai.types import VectorStore, VectorStoreDeleted, VectorStoreSearchResponse
from openai.types.vector_store_search_response import Content
from openai.types.vector_stores import VectorStoreFile, VectorStoreFileBatch, VectorStoreFileDeleted
from pydantic import BaseModel, Field

from rag.chunking.chunk import ChunkSettings, warn_long
from rag.passage import Passage
from router.answering.citations import filename_of
from serving.http.body import ApiRoute
from serving.http.errors import refusals
from serving.http.pages import ListOf, TwoWayPage, list_body
from serving.http.routes import surface
from serving.http.served import CurrentDecision
from serving.vector_stores.request import (
    AttachFields,
    AttributeFields,
    BatchFields,
    SearchFields,
    StoreFields,
    UpdateFields,
)
from serving.vector_stores.rows import STATUSES, FilePage, StoreFile, attributes_of, vector_bytes
from serving.vector_stores.stores import StoreState, VectorStores
from storage.tables import values_of

# How often the client's `..._and_poll` should look; without the header it waits a second each time.
_POLL_HEADERS = {"openai-poll-after-ms": "250"}


class IndexNotes(BaseModel):
    """How a vector store's index is built."""

    index: str
    embedder: str | None
    generation: int
    num_chunks: int
    chunking: dict[str, Any] | None
    warnings: list[str]


class Store(VectorStore, extra="ignore"):
    """OpenAI's vector store."""

    object: Literal["vector_store"] = "vector_store"
    description: str | None
    arbiter: IndexNotes


class FileInStore(VectorStoreFile):
    """OpenAI's file in a vector store."""

    object: Literal["vector_store.file"] = "vector_store.file"
    vector_store_id: Annotated[str, Field(validation_alias="store_id")]
    # Theirs would turn whole numbers into fractions.
    attributes: dict[str, Any]


class Batch(VectorStoreFileBatch, extra="ignore"):
    """OpenAI's batch of files."""

    object: Literal["vector_store.files_batch"] = "vector_store.files_batch"
    vector_store_id: Annotated[str, Field(validation_alias="store_id")]


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

    object: Literal["vector_store.search_results.page"] = "vector_store.search_results.page"
    search_query: list[str]
    data: list[Result]
    has_more: Literal[False] = False
    next_page: None = None


class ContentPage(BaseModel):
    """The text of a file."""

    object: Literal["vector_store.file_content.page"] = "vector_store.file_content.page"
    data: list[Content]
    has_more: Literal[False] = False
    next_page: None = None


def vector_store_routes(stores: VectorStores, current: CurrentDecision) -> APIRouter:
    """The routes; indexing that a killed server left goes on when the app starts."""

    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[None]:
        await asyncio.to_thread(stores.indexer.start)
        yield
        await asyncio.to_thread(stores.indexer.stop)

    router = surface("/vector_stores", "vector stores", route_class=ApiRoute, lifespan=lifespan)
    _add_store_routes(router, stores, current)
    _add_file_routes(router, stores)
    _add_batch_routes(router, stores)
    return router


def _add_store_routes(router: APIRouter, stores: VectorStores, current: CurrentDecision) -> None:
    embedder = stores.open_indexes.embedder

    def shown(found: StoreState) -> dict[str, object]:
        state, settings = found.state, found.chunking
        warning = warn_long(settings, getattr(embedder, "max_tokens", None)) if settings is not None else None
        built: dict[str, Any] = {"embedder": None, "generation": 0, "num_chunks": 0}
        if state is not None:
            built = values_of(state)
        notes = {
            **built,
            "index": found.id,
            "chunking": asdict(settings) if settings is not None else None,
            "warnings": [warning] if warning else [],
        }
        return {
            **found.store._mapping,
            "status": "in_progress" if found.counts["in_progress"] else "completed",
            "usage_bytes": vector_bytes(built["num_chunks"], embedder.dimension),
            "file_counts": _file_counts(found.counts),
            "arbiter": notes,
        }

    @router.post("", response_model=Store, responses=refusals(400, 404, 409, 413, 429))
    def create(body: StoreFields) -> dict[str, object]:
        """Make a vector store; its files are indexed in the background."""
        return shown(stores.create(body))

    @router.get("", response_model=ListOf[Store], responses=refusals(400))
    def listed(page: Annotated[TwoWayPage, Query()]) -> dict[str, object]:
        """All vector stores, the newest first unless told; every index is one."""
        return list_body(stores.page(page), shown)

    @router.get("/{store_id}", response_model=Store, responses=refusals(404))
    def retrieve(store_id: str) -> dict[str, object]:
        """One vector store."""
        return shown(stores.get(store_id))

    @router.post("/{store_id}", response_model=Store, responses=refusals(400, 404, 413))
    def update(store_id: str, body: UpdateFields) -> dict[str, object]:
        """Change its name or its metadata."""
        return shown(stores.update(store_id, body.changes()))

    @router.delete("/{store_id}", response_model=VectorStoreDeleted, responses=refusals(404, 409))
    def delete(store_id: str) -> dict[str, object]:
        """Delete it with its index; its files stay."""
        stores.delete(store_id, in_use=lambda: {name for arm in current.served.arms.values() for name in arm.indexes})
        return {"id": store_id, "object": "vector_store.deleted", "deleted": True}

    @router.post("/{store_id}/search", response_model=ResultsPage, responses=refusals(400, 404, 409, 413))
    def search(store_id: str, body: SearchFields) -> dict[str, object]:
        """The best passages for one query or several."""
        queries, passages = stores.search(store_id, body)
        return {"search_query": queries, "data": [_result(passage) for passage in passages]}


def _add_file_routes(router: APIRouter, stores: VectorStores) -> None:
    def shown(file: StoreFile) -> dict[str, object]:
        return _store_file(file, stores.get(file.store_id).chunking)

    @router.post("/{store_id}/files", response_model=FileInStore, responses=refusals(400, 404, 409, 413, 429))
    def attach(store_id: str, body: AttachFields) -> dict[str, object]:
        """Put a file into it, to be indexed in the background."""
        stores.attach(store_id, BatchFields(files=[body]).wanted())
        return shown(stores.get_file(store_id, body.file_id))

    @router.get("/{store_id}/files", response_model=ListOf[FileInStore], responses=refusals(400, 404))
    def listed(store_id: str, page: Annotated[FilePage, Query()]) -> dict[str, object]:
        """Its files, and the documents that its index got elsewhere."""
        chunking = stores.get(store_id).chunking
        return list_body(stores.list_files(store_id, page), lambda file: _store_file(file, chunking))

    # Documents that were indexed elsewhere have ids with slashes, such as handbook/hours.
    @router.get("/{store_id}/files/{file_id:path}/content", response_model=ContentPage, responses=refusals(404, 409))
    def content(store_id: str, file_id: str) -> dict[str, object]:
        """The text that was read of a file."""
        return {"data": [{"type": "text", "text": stores.text_of(store_id, file_id)}]}

    @router.get("/{store_id}/files/{file_id:path}", response_model=FileInStore, responses=refusals(404))
    def retrieve(store_id: str, file_id: str, response: Response) -> dict[str, object]:
        """How far the indexing of a file is."""
        response.headers.update(_POLL_HEADERS)
        return shown(stores.get_file(store_id, file_id))

    @router.post("/{store_id}/files/{file_id:path}", response_model=FileInStore, responses=refusals(400, 404, 409, 413))
    def update(store_id: str, file_id: str, body: AttributeFields) -> dict[str, object]:
        """Replace a file's attributes; searches heed them at once."""
        return shown(stores.set_attributes(store_id, file_id, body.attributes or {}))

    @router.delete("/{store_id}/files/{file_id:path}", response_model=VectorStoreFileDeleted, responses=refusals(404))
    def detach(store_id: str, file_id: str) -> dict[str, object]:
        """Take a file out of it; the file itself stays."""
        stores.detach(store_id, file_id)
        return {"id": file_id, "object": "vector_store.file.deleted", "deleted": True}


def _add_batch_routes(router: APIRouter, stores: VectorStores) -> None:
    def shown(store_id: str, batch_id: str) -> dict[str, object]:
        batch, counts = stores.get_batch(store_id, batch_id)
        status = "completed"
        if batch.is_cancelled:
            status = "cancelled"
        elif counts["in_progress"]:
            status = "in_progress"
        elif counts["failed"] and counts["failed"] == counts.total():
            # It has failed when every file of it has.
            status = "failed"
        return {**batch._mapping, "status": status, "file_counts": _file_counts(counts)}

    @router.post("/{store_id}/file_batches", response_model=Batch, responses=refusals(400, 404, 409, 413, 429))
    def create(store_id: str, body: BatchFields) -> dict[str, object]:
        """Put several files into it, to be indexed in the background."""
        batch_id = f"vsfb_{uuid.uuid4().hex}"
        stores.attach(store_id, body.wanted(), batch_id=batch_id)
        return shown(store_id, batch_id)

    @router.get("/{store_id}/file_batches/{batch_id}", response_model=Batch, responses=refusals(404))
    def retrieve(store_id: str, batch_id: str, response: Response) -> dict[str, object]:
        """How far the indexing of a batch is."""
        response.headers.update(_POLL_HEADERS)
        return shown(store_id, batch_id)

    @router.post("/{store_id}/file_batches/{batch_id}/cancel", response_model=Batch, responses=refusals(404, 409))
    def cancel(store_id: str, batch_id: str) -> dict[str, object]:
        """Stop the indexing of what is not indexed yet."""
        stores.cancel_batch(store_id, batch_id)
        return shown(store_id, batch_id)

    @router.get(
        "/{store_id}/file_batches/{batch_id}/files", response_model=ListOf[FileInStore], responses=refusals(400, 404)
    )
    def listed(store_id: str, batch_id: str, page: Annotated[FilePage, Query()]) -> dict[str, object]:
        """The files of a batch."""
        chunking = stores.get(store_id).chunking
        return list_body(stores.batch_files(store_id, batch_id, page), lambda file: _store_file(file, chunking))


def _store_file(file: StoreFile, chunking: ChunkSettings | None) -> dict[str, object]:
    strategy: dict[str, object] = {"type": "other"}
    if chunking is not None and chunking.strategy == "tokens":
        static = {"max_chunk_size_tokens": chunking.chunk_tokens, "chunk_overlap_tokens": chunking.overlap_tokens}
        strategy = {"type": "static", "static": static}
    return {**values_of(file), "chunking_strategy": strategy}


def _result(passage: Passage) -> dict[str, object]:
    return {
        "file_id": passage.document_id,
        "filename": filename_of(passage),
        "score": passage.score,
        "attributes": attributes_of(passage.metadata),
        "content": [{"type": "text", "text": passage.text}],
        "arbiter": passage,
    }


def _file_counts(counts: Counter[str]) -> dict[str, int]:
    return {**{status: counts[status] for status in STATUSES}, "total": counts.total()}
