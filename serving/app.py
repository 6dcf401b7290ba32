"""The OpenAI-compatible HTTP API: the routes of every surface, one key for all of them, errors in OpenAI's shape.

GET /v1/models   POST /v1/chat/completions   GET /v1/arbiter/arms   GET /health   GET /ready
GET / (the decision's report)
create_app(current, decision_routes(promoter), eval_routes(evals))   adds /v1/arbiter/decisions and /v1/evals
"""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, Response

from router.errors import EngineUnavailable
from serving.chat.api import chat_routes
from serving.errors import Invalid, Moved, NotFound
from serving.http.accounting import Accounting
from serving.http.entry import Entry, served_by
from serving.http.errors import error_response
from serving.http.served import CurrentDecision
from storage.errors import ArbiterError


def create_app(current: CurrentDecision, *surfaces: APIRouter) -> FastAPI:
    """The application; everything it needs is in `current` and in the surfaces, whose routes go under /v1."""
    app = FastAPI(title="Arbiter", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Entry, current=current)
    app.add_middleware(Accounting)
    for routes in (_model_routes(), chat_routes(), *surfaces, _moved_routes()):
        app.include_router(routes, prefix="/v1")

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready")
    async def ready(request: Request) -> Response:
        if served_by(request).is_ready():
            return JSONResponse({"status": "ready"})
        return error_response(EngineUnavailable("the engine is starting or restarting"))

    @app.get("/")
    async def report(request: Request) -> Response:
        path = served_by(request).report
        if path is None or not path.is_file():
            raise NotFound("no report; the API is under /v1")
        return FileResponse(path, media_type="text/html")

    @app.exception_handler(RequestValidationError)
    async def validation_error(_request: Request, error: RequestValidationError) -> Response:
        return error_response(Invalid(str(error.errors()[0]["msg"])))

    @app.exception_handler(Exception)
    async def any_error(_request: Request, error: Exception) -> Response:
        return error_response(error)

    # Registered one by one: the handler of Exception alone would also log a traceback for each of them.
    for expected in (HTTPException, ArbiterError):
        app.add_exception_handler(expected, any_error)
    return app


def _model_routes() -> APIRouter:
    router = APIRouter()

    @router.get("/models")
    async def models(request: Request) -> dict[str, object]:
        return {"object": "list", "data": served_by(request).models()}

    @router.get("/models/{name:path}")
    async def model(request: Request, name: str) -> dict[str, object]:
        return served_by(request).model(name)

    @router.get("/arbiter/arms")
    async def arms(request: Request) -> dict[str, object]:
        served = served_by(request)
        return {"object": "list", "data": [served.arm_card(name) for name in served.arms]}

    @router.get("/arbiter/arms/{name}")
    async def arm(request: Request, name: str) -> dict[str, object]:
        return served_by(request).arm_card(name)

    return router


def _moved_routes() -> APIRouter:
    """The places where Arbiter's own routes were before OpenAI had decisions of its own."""
    router = APIRouter()

    async def moved(request: Request) -> None:
        path = request.url.path.removeprefix("/v1/")
        raise Moved(f"/v1/{path} is /v1/arbiter/{path} now; ask there")

    for what in ("decisions", "arms"):
        for path in (f"/{what}", f"/{what}/{{rest:path}}"):
            router.add_api_route(path, moved, methods=["GET", "POST"], include_in_schema=False)
    return router
