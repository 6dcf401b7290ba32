"""/v1/fine_tuning/jobs in OpenAI's shapes, driven by `client.fine_tuning.jobs`: jobs, their events and checkpoints; and
`client.models.delete` for what they made.

add_surface(app, fine_tuning_routes(runner))
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Query, Request
from openai.types import ModelDeleted

from serving.errors import Invalid
from serving.fine_tuning.cards import (
    CheckpointCard,
    EventCard,
    JobCard,
    checkpoint_card,
    event_card,
    job_card,
)
from serving.fine_tuning.request import CreateJob
from serving.fine_tuning.runner import JobRunner
from serving.http.body import ApiRoute, read_model
from serving.http.errors import refusals
from serving.http.pages import ListOf, Page, list_body
from serving.http.routes import surface

_LABEL = re.compile(r"metadata\[(.*)\]", re.DOTALL)


def fine_tuning_routes(runner: JobRunner) -> APIRouter:
    """The routes; jobs that a killed server left go on when the app starts."""
    store = runner.store

    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[None]:
        await runner.open()
        yield
        await runner.close()

    router = surface("/fine_tuning", "fine-tuning", route_class=ApiRoute, lifespan=lifespan)
    models = surface(tag="models")

    @router.post("/jobs", response_model=JobCard, responses=refusals(400, 404, 409, 413, 429))
    def create(body: CreateJob) -> dict[str, object]:
        """Tune a model on an uploaded file, in the background; the finished model is served by its name."""
        return job_card(runner.create(body))

    # `metadata[KEY]` is no name of a parameter that could be declared.
    @router.get("/jobs", response_model=ListOf[JobCard], responses=refusals(400), openapi_extra=_PAGE)
    def listed(request: Request) -> dict[str, object]:
        """All jobs, the newest first unless told; those with labels where `metadata[KEY]=VALUE` asks for them."""
        page, metadata = _asked(request)
        return list_body(store.page(page, metadata=metadata), job_card)

    @router.get("/jobs/{job_id}", response_model=JobCard, responses=refusals(404))
    def retrieve(job_id: str) -> dict[str, object]:
        """One job, and how far it is."""
        return job_card(store.get(job_id))

    @router.post("/jobs/{job_id}/cancel", response_model=JobCard, responses=refusals(404, 409))
    def cancel(job_id: str) -> dict[str, object]:
        """End it for good; nothing of it is served, and what it had on the disk is deleted."""
        return job_card(runner.cancel(job_id))

    @router.post("/jobs/{job_id}/pause", response_model=JobCard, responses=refusals(404, 409))
    def pause(job_id: str) -> dict[str, object]:
        """Stop it; what came after its last checkpoint is trained again."""
        return job_card(runner.pause(job_id))

    @router.post("/jobs/{job_id}/resume", response_model=JobCard, responses=refusals(404, 409))
    def resume(job_id: str) -> dict[str, object]:
        """Go on with a paused one."""
        return job_card(runner.resume(job_id))

    @router.get("/jobs/{job_id}/events", response_model=ListOf[EventCard], responses=refusals(400, 404))
    def events(job_id: str, page: Annotated[Page, Query()]) -> dict[str, object]:
        """What happened to it, the newest first unless told; every step is an event of type `metrics`."""
        return list_body(store.events(job_id, page), event_card)

    @router.get("/jobs/{job_id}/checkpoints", response_model=ListOf[CheckpointCard], responses=refusals(400, 404))
    def checkpoints(job_id: str, page: Annotated[Page, Query()]) -> dict[str, object]:
        """What it would go on from, while it trains; its model, once it succeeded."""
        return list_body(store.checkpoints(job_id, page), checkpoint_card)

    # Among the models, which have a prefix of their own.
    @models.delete("/models/{name:path}", response_model=ModelDeleted, responses=refusals(404, 409))
    def delete_model(name: str) -> ModelDeleted:
        """Delete a model that a job made, and its adapter; requests in flight end as they began."""
        runner.deletions.delete(name)
        return ModelDeleted(id=name, deleted=True, object="model")

    _refuse_others(router)
    router.routes.extend(models.routes)
    return router


def _asked(request: Request) -> tuple[Page, Mapping[str, str] | None]:
    """The page, and the labels of the jobs on it: None for any, none of them for jobs without labels."""
    plain: dict[str, str] = {}
    labels: dict[str, str] | None = None
    for name, value in request.query_params.multi_items():
        if (label := _LABEL.fullmatch(name)) is not None:
            labels = {**(labels or {}), label[1]: value}
        elif name == "metadata":
            if value not in ("", "null"):
                raise Invalid("metadata: must be null, or given as metadata[KEY]=VALUE", param="metadata")
            labels = labels or {}
        else:
            plain[name] = value
    return read_model(Page, plain), labels


def _refuse_others(router: APIRouter) -> None:
    """What OpenAI has besides, refused by name."""

    async def permissions() -> None:
        raise Invalid(
            "permissions of checkpoints are not supported: whoever has this server's key may ask every model",
            code="unsupported_endpoint",
        )

    async def graders() -> None:
        raise Invalid(
            "graders are for reinforcement, which is not supported; use method supervised, or /v1/evals",
            code="unsupported_endpoint",
        )

    for path in ("/checkpoints/{name:path}/permissions", "/checkpoints/{name:path}/permissions/{permission_id}"):
        router.add_api_route(path, permissions, methods=["GET", "POST", "DELETE"], include_in_schema=False)
    for path in ("/alpha/graders/run", "/alpha/graders/validate"):
        router.add_api_route(path, graders, methods=["POST"], include_in_schema=False)


_PAGE = {
    "parameters": [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in Page.model_json_schema()["properties"].items()
    ]
}
