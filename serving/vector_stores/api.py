"""/v1/vector_stores in OpenAI's shapes, driven by `client.vector_stores`: stores, their files, batches, search.

app.include_router(vector_store_routes(stores), prefix="/v1")
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Query, Response
from openai.types import VectorStoreDeleted
from openai.types.vector_stores import VectorStoreFileDeleted

from serving.http.body import ApiRoute
from serving.http.errors import refusals
from serving.http.pages import ListOf, TwoWayQuery, list_body
from serving.vector_stores.cards import (
    Batch,
    ContentPage,
    FileInStore,
    ResultsPage,
    Store,
    batch_card,
    chunking_of,
    content_page,
    results_page,
    store_card,
    store_file_card,
)
from serving.vector_stores.request import (
    AttachFields,
    AttributeFields,
    BatchFields,
    SearchFields,
    StoreFields,
    UpdateFields,
)
from serving.vector_stores.rows import StoreFile
from serving.vector_stores.schema import Status
from serving.vector_stores.stores import StoreState, VectorStores

# How often the client's `..._and_poll` should look; without the header it waits a second each time.
_POLL_HEADERS = {"openai-poll-after-ms": "250"}


class StatusQuery(TwoWayQuery):
    """The query parameters of a list of files in a vector store."""

    filter: Status | None = None


def vector_store_routes(stores: VectorStores, *, in_use: Callable[[], Collection[str]] = tuple) -> APIRouter:
    """The routes; indexing that a killed server left goes on when the app starts.

    `in_use` names the indexes that arms answer from now; they are not deleted.
    """

    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[None]:
        await asyncio.to_thread(stores.start)
        yield
        await asyncio.to_thread(stores.stop)

    router = APIRouter(prefix="/vector_stores", tags=["vector stores"], route_class=ApiRoute, lifespan=lifespan)
    _add_store_routes(router, stores, in_use)
    _add_file_routes(router, stores)
    _add_batch_routes(router, stores)
    return router


def _add_store_routes(router: APIRouter, stores: VectorStores, in_use: Callable[[], Collection[str]]) -> None:
    def shown(found: StoreState) -> dict[str, object]:
        embedder = stores.open_indexes.embedder
        return store_card(found, dimension=embedder.dimension, max_tokens=getattr(embedder, "max_tokens", None))

    @router.post("", response_model=Store, responses=refusals(400, 404, 413, 429))
    def create(body: StoreFields) -> dict[str, object]:
        """Make a vector store; its files are indexed in the background."""
        return shown(stores.create(body))

    @router.get("", response_model=ListOf[Store], responses=refusals(400))
    def listed(query: Annotated[TwoWayQuery, Query()]) -> dict[str, object]:
        """All vector stores, the newest first unless told; every index is one."""
        found, by_id = stores.page(query.page())
        return list_body(found, lambda store: shown(by_id[store.id]))

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
        stores.delete(store_id, in_use=in_use())
        return {"id": store_id, "object": "vector_store.deleted", "deleted": True}

    @router.post("/{store_id}/search", response_model=ResultsPage, responses=refusals(400, 404, 409, 413))
    def search(store_id: str, body: SearchFields) -> dict[str, object]:
        """The best passages for one query or several."""
        return results_page(*stores.search(store_id, body))


def _add_file_routes(router: APIRouter, stores: VectorStores) -> None:
    def shown(file: StoreFile) -> dict[str, object]:
        return store_file_card(file, chunking_of(stores.get(file.store_id)))

    @router.post("/{store_id}/files", response_model=FileInStore, responses=refusals(400, 404, 409, 413, 429))
    def attach(store_id: str, body: AttachFields) -> dict[str, object]:
        """Put a file into it, to be indexed in the background."""
        return shown(stores.attach(store_id, body.wanted()))

    @router.get("/{store_id}/files", response_model=ListOf[FileInStore], responses=refusals(400, 404))
    def listed(store_id: str, query: Annotated[StatusQuery, Query()]) -> dict[str, object]:
        """Its files, and the documents that its index got elsewhere."""
        chunking = chunking_of(stores.get(store_id))
        return list_body(stores.list_files(store_id, query.page()), lambda file: store_file_card(file, chunking))

    # Documents that were indexed elsewhere have ids with slashes, such as handbook/hours.
    @router.get("/{store_id}/files/{file_id:path}/content", response_model=ContentPage, responses=refusals(404, 409))
    def content(store_id: str, file_id: str) -> dict[str, object]:
        """The text that was read of a file."""
        return content_page(stores.text_of(store_id, file_id))

    @router.get("/{store_id}/files/{file_id:path}", response_model=FileInStore, responses=refusals(404))
    def retrieve(store_id: str, file_id: str, response: Response) -> dict[str, object]:
        """How far the indexing of a file is."""
        file = stores.get_file(store_id, file_id)
        if file.status == "in_progress":
            response.headers.update(_POLL_HEADERS)
        return shown(file)

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
        return batch_card(*stores.get_batch(store_id, batch_id))

    @router.post("/{store_id}/file_batches", response_model=Batch, responses=refusals(400, 404, 409, 413, 429))
    def create(store_id: str, body: BatchFields) -> dict[str, object]:
        """Put several files into it, to be indexed in the background."""
        return shown(store_id, stores.attach_batch(store_id, body.wanted()).id)

    @router.get("/{store_id}/file_batches/{batch_id}", response_model=Batch, responses=refusals(404))
    def retrieve(store_id: str, batch_id: str, response: Response) -> dict[str, object]:
        """How far the indexing of a batch is."""
        card = shown(store_id, batch_id)
        if card["status"] == "in_progress":
            response.headers.update(_POLL_HEADERS)
        return card

    @router.post("/{store_id}/file_batches/{batch_id}/cancel", response_model=Batch, responses=refusals(404, 409))
    def cancel(store_id: str, batch_id: str) -> dict[str, object]:
        """Stop the indexing of what is not indexed yet."""
        stores.cancel_batch(store_id, batch_id)
        return shown(store_id, batch_id)

    @router.get(
        "/{store_id}/file_batches/{batch_id}/files", response_model=ListOf[FileInStore], responses=refusals(400, 404)
    )
    def listed(store_id: str, batch_id: str, query: Annotated[StatusQuery, Query()]) -> dict[str, object]:
        """The files of a batch."""
        chunking = chunking_of(stores.get(store_id))
        files = stores.batch_files(store_id, batch_id, query.page())
        return list_body(files, lambda file: store_file_card(file, chunking))
