"""The routes of an HTTP surface: under /v1, behind the key, refusing in OpenAI's shape.

router = surface("/files", "files")      its routes are made once, as they stand in the application
add_surface(app, router)                 include_router would make each of them again
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.security import HTTPBearer

from serving.http.errors import refusals

_KEY = Depends(HTTPBearer(auto_error=False, description="`ARBITER_API_KEY`, where the server was started with one."))


def surface(prefix: str = "", tag: str | None = None, **options: Any) -> APIRouter:
    """A router whose routes go under /v1; `options` are those of APIRouter."""
    tags: Any = [tag] if tag else []
    return APIRouter(
        prefix=f"/v1{prefix}", tags=tags, dependencies=[_KEY], responses=refusals(401, 503, "default"), **options
    )


def add_surface(app: FastAPI, router: APIRouter) -> None:
    """The router's routes become the application's, and its lifespan a part of that."""
    app.include_router(APIRouter(lifespan=router.lifespan_context))
    app.router.routes.extend(router.routes)
