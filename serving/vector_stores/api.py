"""/v1/vector_stores in OpenAI's shapes, driven by `client.vector_stores`: stores, their files, batches, search.

app.include_router(vector_store_routes(stores), prefix="/v1")
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from serving.http.body import read_storable
from serving.http.pages import list_body, read_page
from serving.vector_stores.cards import (
    batch_card,
    chunking_of,
    content_page,
    results_page,
    store_card,
    store_file_card,
)
from serving.vector_stores.request import (
    read_attachment,
    read_attributes,
    read_batch,
    read_search,
    read_store,
    read_update,
)
from serving.vector_stores.schema import STATUSES
from serving.vector_stores.stores import Shown, VectorStores

# How often the client's `..._and_poll` should look; without the header it waits a second each time.
_POLL_HEADERS = {"openai-poll-after-ms": "250"}


def vector_store_routes(stores: VectorStores, *, in_use: Callable[[], Collection[str]] = tuple) -> APIRouter:
    """The routes; indexing that a killed server left goes on when the app starts.

    `in_use` names the indexes that arms answer from now; they are not deleted.
    """

    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[None]:
        await asyncio.to_thread(stores.start)
        yield
        await asyncio.to_thread(stores.stop)

    router = APIRouter(lifespan=lifespan)
    _add_store_routes(router, stores, in_use)
    _add_file_routes(router, stores)
    _add_batch_routes(router, stores)
    return router


def _add_store_routes(router: APIRouter, stores: VectorStores, in_use: Callable[[], Collection[str]]) -> None:
    def shown(found: Shown) -> dict[str, object]:
        embedder = stores.collections.embedder
        return store_card(found, dimension=embedder.dimension, max_tokens=getattr(embedder, "max_tokens", None))

    @router.post("/vector_stores")
    async def create(request: Request) -> dict[str, object]:
        asked = read_store(await read_storable(request))
        return await asyncio.to_thread(lambda: shown(stores.create(asked)))

    @router.get("/vector_stores")
    def listed(request: Request) -> dict[str, object]:
        page = read_page(request.query_params, default_order="desc", has_before=True)
        found, by_id = stores.page(page)
        return list_body(found, lambda store: shown(by_id[store.id]))

    @router.get("/vector_stores/{store_id}")
    def retrieve(store_id: str) -> dict[str, object]:
        return shown(stores.get(store_id))

    @router.post("/vector_stores/{store_id}")
    async def update(request: Request, store_id: str) -> dict[str, object]:
        changes = read_update(await read_storable(request))
        return await asyncio.to_thread(lambda: shown(stores.update(store_id, changes)))

    @router.delete("/vector_stores/{store_id}")
    def delete(store_id: str) -> dict[str, object]:
        stores.delete(store_id, in_use=in_use())
        return {"id": store_id, "object": "vector_store.deleted", "deleted": True}

    @router.post("/vector_stores/{store_id}/search")
    async def search(request: Request, store_id: str) -> dict[str, object]:
        asked = read_search(await read_storable(request))
        return results_page(await asyncio.to_thread(stores.search, store_id, asked))


def _add_file_routes(router: APIRouter, stores: VectorStores) -> None:
    @router.post("/vector_stores/{store_id}/files")
    async def attach(request: Request, store_id: str) -> dict[str, object]:
        asked = read_attachment(await read_storable(request))

        def attached() -> dict[str, object]:
            file = stores.attach(store_id, asked)
            return store_file_card(file, chunking_of(stores.get(store_id)))

        return await asyncio.to_thread(attached)

    @router.get("/vector_stores/{store_id}/files")
    def listed(request: Request, store_id: str) -> dict[str, object]:
        chunking = chunking_of(stores.get(store_id))
        page = read_page(request.query_params, default_order="desc", has_before=True, filters={"filter": STATUSES})
        return list_body(stores.list_files(store_id, page), lambda file: store_file_card(file, chunking))

    # Documents that were indexed elsewhere have ids with slashes, such as handbook/hours.
    @router.get("/vector_stores/{store_id}/files/{file_id:path}/content")
    def content(store_id: str, file_id: str) -> dict[str, object]:
        return content_page(stores.text_of(store_id, file_id))

    @router.get("/vector_stores/{store_id}/files/{file_id:path}")
    def retrieve(store_id: str, file_id: str) -> Response:
        file = stores.get_file(store_id, file_id)
        card = store_file_card(file, chunking_of(stores.get(store_id)))
        return JSONResponse(card, headers=_POLL_HEADERS if file.status == "in_progress" else None)

    @router.post("/vector_stores/{store_id}/files/{file_id:path}")
    async def update(request: Request, store_id: str, file_id: str) -> dict[str, object]:
        attributes = read_attributes(await read_storable(request))

        def updated() -> dict[str, object]:
            file = stores.set_attributes(store_id, file_id, attributes)
            return store_file_card(file, chunking_of(stores.get(store_id)))

        return await asyncio.to_thread(updated)

    @router.delete("/vector_stores/{store_id}/files/{file_id:path}")
    def detach(store_id: str, file_id: str) -> dict[str, object]:
        stores.detach(store_id, file_id)
        return {"id": file_id, "object": "vector_store.file.deleted", "deleted": True}


def _add_batch_routes(router: APIRouter, stores: VectorStores) -> None:
    def shown(store_id: str, batch_id: str) -> dict[str, object]:
        return batch_card(*stores.get_batch(store_id, batch_id))

    @router.post("/vector_stores/{store_id}/file_batches")
    async def create(request: Request, store_id: str) -> dict[str, object]:
        asked = read_batch(await read_storable(request))
        return await asyncio.to_thread(lambda: shown(store_id, stores.attach_batch(store_id, asked).id))

    @router.get("/vector_stores/{store_id}/file_batches/{batch_id}")
    def retrieve(store_id: str, batch_id: str) -> Response:
        card = shown(store_id, batch_id)
        return JSONResponse(card, headers=_POLL_HEADERS if card["status"] == "in_progress" else None)

    @router.post("/vector_stores/{store_id}/file_batches/{batch_id}/cancel")
    def cancel(store_id: str, batch_id: str) -> dict[str, object]:
        stores.cancel_batch(store_id, batch_id)
        return shown(store_id, batch_id)

    @router.get("/vector_stores/{store_id}/file_batches/{batch_id}/files")
    def listed(request: Request, store_id: str, batch_id: str) -> dict[str, object]:
        chunking = chunking_of(stores.get(store_id))
        page = read_page(request.query_params, default_order="desc", has_before=True, filters={"filter": STATUSES})
        return list_body(stores.batch_files(store_id, batch_id, page), lambda file: store_file_card(file, chunking))
