"""The OpenAI-compatible HTTP API: the routes of every surface, one key for all of them, errors in OpenAI's shape.

GET /v1/models   POST /v1/chat/completions   GET /v1/arbiter/arms   GET /health   GET /ready
GET / (the decision's report)   GET /docs   GET /openapi.json
create_app(current, decision_routes(promoter), eval_routes(evals))   adds /v1/arbiter/decisions and /v1/evals
"""

from __future__ import annotations

import importlib.metadata
from functools import cache

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.routing import Match, Route

from router.errors import EngineUnavailable
from serving.chat.api import chat_routes
from serving.errors import Moved, NotFound
from serving.http.body import to_invalid
from serving.http.entry import Entry, served_by
from serving.http.errors import error_response, refusals, shown_as
from serving.http.pages import AllOf
from serving.http.routes import add_surface, surface
from serving.http.served import ArmCard, CurrentDecision, ModelCard
from storage.errors import ArbiterError


class State(BaseModel):
    """How it is."""

    status: str


class ModelList(AllOf[ModelCard]):
    """All models."""


class ArmList(AllOf[ArmCard]):
    """All arms."""


def create_app(current: CurrentDecision, *surfaces: APIRouter, api_key: str | None = None) -> FastAPI:
    """The application; everything it needs is in `current` and in the surfaces, routers of `http.routes.surface`.

    `api_key` is what callers must send; None asks for no key.

    /docs is served from this machine alone: the page and its scripts are files of a package.
    """
    app = FastAPIOffline(
        title="Arbiter",
        version=importlib.metadata.version("arbiter"),
        redoc_url=None,
        # Swagger would ask a server of its makers whether the schema is a good one.
        swagger_ui_parameters={"validatorUrl": None},
    )
    app.add_middleware(Entry, current=current, api_key=api_key)
    for routes in (_model_routes(), chat_routes(), *surfaces, _moved_routes(), _pages()):
        add_surface(app, routes)

    @app.exception_handler(Exception)
    async def any_error(request: Request, error: Exception) -> Response:
        response = error_response(to_invalid(error) if isinstance(error, RequestValidationError) else error)
        if response.status_code == 405:
            # Starlette names the methods of the first route alone that has the path.
            routes = [route for route in app.routes if isinstance(route, Route)]
            here = [route.methods or set() for route in routes if route.matches(request.scope)[0] != Match.NONE]
            response.headers["Allow"] = ", ".join(sorted(set().union(*here)))
        return response

    # Registered one by one: the handler of Exception alone would also log a traceback for each of them.
    for expected in (HTTPException, RequestValidationError, ArbiterError):
        app.add_exception_handler(expected, any_error)
    return app


@cache
def _pages() -> APIRouter:
    router = APIRouter(tags=["pages"])

    @router.get("/health")
    async def health() -> State:
        """Whether the process answers."""
        return State(status="ok")

    @router.get("/ready", responses=refusals(503))
    async def ready(request: Request) -> State:
        """Whether the engine answers, too."""
        if served_by(request).is_ready():
            return State(status="ready")
        raise EngineUnavailable("the engine is starting or restarting")

    @router.get("/", response_class=Response, responses=shown_as("text/html", "A page.") | refusals(401, 404))
    async def report(request: Request) -> Response:
        """The report of the decision that is served."""
        path = served_by(request).report
        if path is None or not path.is_file():
            raise NotFound("no report; the API is under /v1")
        return FileResponse(path, media_type="text/html")

    return router


@cache
def _model_routes() -> APIRouter:
    router = surface(tag="models")

    @router.get("/models")
    async def models(request: Request) -> ModelList:
        """Everything that a chat can name as its `model`."""
        served = served_by(request)
        return ModelList(data=[served.model_card(name) for name in served.names])

    @router.get("/models/{name:path}", responses=refusals(404))
    async def model(request: Request, name: str) -> ModelCard:
        """One of them."""
        return served_by(request).model_card(name)

    @router.get("/arbiter/arms")
    async def arms(request: Request) -> ArmList:
        """The arms of the run that is served, with what was measured of each."""
        served = served_by(request)
        return ArmList(data=[served.arm_card(name) for name in served.arms])

    @router.get("/arbiter/arms/{name}", responses=refusals(404))
    async def arm(request: Request, name: str) -> ArmCard:
        """One arm."""
        return served_by(request).arm_card(name)

    return router


@cache
def _moved_routes() -> APIRouter:
    """The places where Arbiter's own routes were before OpenAI had decisions of its own."""
    router = surface()

    async def moved(request: Request) -> None:
        path = request.url.path.removeprefix("/v1/")
        raise Moved(f"/v1/{path} is /v1/arbiter/{path} now; ask there")

    for what in ("decisions", "arms"):
        for path in (f"/{what}", f"/{what}/{{rest:path}}"):
            router.add_api_route(path, moved, methods=["GET", "POST"], include_in_schema=False)
    return router
