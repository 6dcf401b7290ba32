"""The OpenAI-compatible HTTP API: the routes of every surface, one key for all of them, errors in OpenAI's shape.

GET /v1/models   POST /v1/chat/completions   GET /v1/arms   GET /health   GET /ready   GET / (the decision's report)
create_app(current, decision_routes(promoter), eval_routes(evals))   adds /v1/decisions and /v1/evals
"""

from __future__ import annotations

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, Response

from router.errors import EngineUnavailable
from serving.chat.api import chat_routes
from serving.errors import Invalid, NotFound
from serving.http.accounting import Accounting
from serving.http.body import authorize
from serving.http.errors import error_response
from serving.http.served import CurrentDecision
from storage.errors import ArbiterError


def create_app(current: CurrentDecision, *surfaces: APIRouter) -> FastAPI:
    """The application; everything it needs is in `current` and in the surfaces, whose routes go under /v1."""
    app = FastAPI(title="Arbiter", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Accounting)

    def with_key(request: Request) -> None:
        authorize(request, current.served.api_key)

    for routes in (_model_routes(current), chat_routes(current), *surfaces):
        app.include_router(routes, prefix="/v1", dependencies=[Depends(with_key)])

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready")
    async def ready() -> Response:
        if current.served.is_ready():
            return JSONResponse({"status": "ready"})
        return error_response(EngineUnavailable("the engine is starting or restarting"))

    @app.get("/")
    async def report() -> Response:
        path = current.served.report
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


def _model_routes(current: CurrentDecision) -> APIRouter:
    router = APIRouter()

    @router.get("/models")
    async def models() -> dict[str, object]:
        return {"object": "list", "data": current.served.models()}

    @router.get("/models/{name:path}")
    async def model(name: str) -> dict[str, object]:
        return current.served.model(name)

    @router.get("/arms")
    async def arms() -> dict[str, object]:
        served = current.served
        return {"object": "list", "data": [served.arm_card(name) for name in served.arms]}

    @router.get("/arms/{name}")
    async def arm(name: str) -> dict[str, object]:
        return current.served.arm_card(name)

    return router
