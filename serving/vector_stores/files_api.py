"""/v1/files in OpenAI's shapes, driven by `client.files`: `add_surface(app, file_routes(stores))`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated, BinaryIO, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from openai.types import FileDeleted, FileObject
from pydantic import BaseModel, Field
from starlette.responses import Response, StreamingResponse

from serving.http.errors import refusals, shown_as
from serving.http.pages import ListOf, Page, list_body
from serving.http.routes import surface
from serving.vector_stores.files import CONTENT, StoredFile
from serving.vector_stores.stores import VectorStores
from serving.vector_stores.uploads import Purpose, receive_upload

AnyPurpose = Literal[Purpose, "fine-tune-results"]


class Checksum(BaseModel):
    """What OpenAI does not tell of a file."""

    sha256: str


class File(FileObject, extra="ignore"):
    """OpenAI's file."""

    object: Literal["file"] = "file"
    bytes: Annotated[int, Field(validation_alias="num_bytes")]
    # Their answers leave out what their requests have.
    purpose: AnyPurpose  # type: ignore[assignment]
    status: Literal["uploaded", "processed", "error"] = "processed"
    arbiter: Checksum


class FilesPage(Page):
    """The query parameters of the list of files."""

    limit: Annotated[int, Field(ge=1, le=10_000)] = 10_000
    purpose: AnyPurpose | None = None


class UploadForm(BaseModel):
    """The form of an upload."""

    file: Annotated[bytes, Field(json_schema_extra={"format": "binary"})]
    purpose: Purpose


# Read by serving/vector_stores/uploads.py: FastAPI would have the whole of it before a route has seen any.
_CONTENT = {"multipart/form-data": {"schema": UploadForm.model_json_schema()}}
_FORM = {"requestBody": {"required": True, "content": _CONTENT}}


def file_routes(stores: VectorStores) -> APIRouter:
    """The routes; a file that is deleted leaves every vector store it stands in."""
    router = surface("/files", "files")
    files = stores.files

    def shown(stored: StoredFile) -> dict[str, object]:
        return {**stored._mapping, "arbiter": stored}

    @router.post("", response_model=File, responses=refusals(400, 413), openapi_extra=_FORM)
    async def create(request: Request) -> dict[str, object]:
        """Upload a file, as a form; it is written to the disk as it comes in."""
        with files.draft() as draft:
            upload = await receive_upload(request, draft / CONTENT, max_bytes=files.max_bytes)
            return shown(await asyncio.to_thread(files.publish, draft, upload))

    @router.get("", response_model=ListOf[File], responses=refusals(400))
    def listed(page: Annotated[FilesPage, Query()]) -> dict[str, object]:
        """The uploaded files, the newest first unless told."""
        return list_body(files.page(page), shown)

    @router.get("/{file_id}", response_model=File, responses=refusals(404))
    def retrieve(file_id: str) -> dict[str, object]:
        """What is known of a file."""
        return shown(files.get(file_id))

    @router.get(
        "/{file_id}/content",
        response_class=Response,
        responses=shown_as("application/octet-stream", "The bytes.") | refusals(404, 409),
    )
    def content(file_id: str) -> Response:
        """Its bytes, as they were uploaded."""
        stored, opened = files.get(file_id), files.open(file_id)
        headers = {
            "Content-Length": str(stored.num_bytes),
            # Somebody else's HTML must not run as a page of this server.
            "Content-Disposition": f"attachment; filename*=utf-8''{quote(stored.filename, safe='')}",
            "X-Content-Type-Options": "nosniff",
        }
        return StreamingResponse(_pieces(opened), media_type="application/octet-stream", headers=headers)

    @router.delete("/{file_id}", response_model=FileDeleted, responses=refusals(404))
    def delete(file_id: str) -> dict[str, object]:
        """Delete it, and take it out of every vector store."""
        stores.delete_file(file_id)
        return {"id": file_id, "object": "file", "deleted": True}

    return router


def _pieces(opened: BinaryIO) -> Iterator[bytes]:
    with opened:
        while piece := opened.read(2**18):
            yield piece
