"""/v1/files in OpenAI's shapes, driven by `client.files`: `app.include_router(file_routes(stores), prefix="/v1")`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import BinaryIO
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from serving.errors import Invalid
from serving.http.pages import list_body, read_page
from serving.vector_stores.files import CONTENT, PURPOSES, StoredFile
from serving.vector_stores.stores import VectorStores
from serving.vector_stores.uploads import receive_upload

_MAX_LISTED = 10_000
_PIECE_BYTES = 2**18


def file_routes(stores: VectorStores) -> APIRouter:
    """The routes; a file that is deleted leaves every vector store it stands in."""
    router = APIRouter()
    files = stores.files

    @router.post("/files")
    async def create(request: Request) -> dict[str, object]:
        with files.draft() as draft:
            upload = await receive_upload(request, draft / CONTENT, max_bytes=files.max_bytes, fields=("purpose",))
            purpose = upload.fields.get("purpose")
            known = [one for one in PURPOSES if one == purpose]
            if not known:
                given = "missing" if purpose is None else f"{purpose!r} is not supported"
                raise Invalid(f"purpose: {given}; use {', '.join(PURPOSES)}", param="purpose")
            return file_card(await asyncio.to_thread(files.publish, draft, upload, known[0]))

    @router.get("/files")
    def listed(request: Request) -> dict[str, object]:
        page = read_page(
            request.query_params,
            default_order="desc",
            default_limit=_MAX_LISTED,
            max_limit=_MAX_LISTED,
            filters={"purpose": PURPOSES},
        )
        return list_body(files.page(page), file_card)

    @router.get("/files/{file_id}")
    def retrieve(file_id: str) -> dict[str, object]:
        return file_card(files.get(file_id))

    @router.get("/files/{file_id}/content")
    def content(file_id: str) -> Response:
        stored = files.get(file_id)
        headers = {
            "Content-Length": str(stored.num_bytes),
            # Somebody else's HTML must not run as a page of this server.
            "Content-Disposition": f"attachment; filename*=utf-8''{quote(stored.filename, safe='')}",
            "X-Content-Type-Options": "nosniff",
        }
        pieces = _pieces(files.open(file_id))
        return StreamingResponse(pieces, media_type="application/octet-stream", headers=headers)

    @router.delete("/files/{file_id}")
    def delete(file_id: str) -> dict[str, object]:
        stores.delete_file(file_id)
        return {"id": file_id, "object": "file", "deleted": True}

    return router


def file_card(stored: StoredFile) -> dict[str, object]:
    """A file in OpenAI's shape."""
    return {
        "id": stored.id,
        "object": "file",
        "bytes": stored.num_bytes,
        "created_at": stored.created_at,
        "expires_at": None,
        "filename": stored.filename,
        "purpose": stored.purpose,
        "status": "processed",
        "status_details": None,
        "arbiter": {"sha256": stored.sha256},
    }


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
