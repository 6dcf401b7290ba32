"""/v1/evals in OpenAI's shapes, driven by `client.evals`: evals, their runs and output items.

app.include_router(eval_routes(runner), prefix="/v1")
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from openai.types import EvalDeleteResponse
from openai.types.evals import RunDeleteResponse

from serving.errors import Conflict, NotFound
from serving.evals.cards import EvalCard, ItemCard, RunCard, eval_card, item_card, run_card
from serving.evals.files import read_file_rows
from serving.evals.request import CreateEval, CreateRun, UpdateEval, check_eval, read_run
from serving.evals.runner import EvalRunner
from serving.evals.store import LIVE, EvalStore, ItemStatus, RunStatus, StoredEval, StoredRun
from serving.http.body import ApiRoute
from serving.http.errors import refusals
from serving.http.pages import ListOf, Order, PageQuery, list_body
from serving.vector_stores.files import FileStore


class EvalQuery(PageQuery):
    """The query parameters of the list of evals."""

    order: Order = "asc"
    order_by: Literal["created_at", "updated_at"] | None = None


class RunQuery(PageQuery):
    """The query parameters of a list of runs."""

    order: Order = "asc"
    status: RunStatus | None = None


class ItemQuery(PageQuery):
    """The query parameters of a list of output items."""

    order: Order = "asc"
    status: ItemStatus | None = None


def eval_routes(runner: EvalRunner, *, files: FileStore | None = None) -> APIRouter:
    """The routes; runs that a killed server left go on when the app starts. Rows of a run may stand in `files`."""
    store = runner.store

    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[None]:
        await runner.open()
        yield
        await runner.close()

    router = APIRouter(prefix="/evals", tags=["evals"], route_class=ApiRoute, lifespan=lifespan)
    _add_eval_routes(router, store, runner)
    _add_run_routes(router, store, runner, files)
    return router


def _add_eval_routes(router: APIRouter, store: EvalStore, runner: EvalRunner) -> None:
    @router.post("", status_code=201, response_model=EvalCard, responses=refusals(400, 413))
    def create(body: CreateEval) -> dict[str, object]:
        """Make an eval: what its rows look like, and what an answer must pass."""
        check_eval(body, embed=runner.embed)
        given = body.model_dump(exclude_unset=True)
        return eval_card(
            store.add_eval(
                name=body.name,
                data_source_config=given["data_source_config"],
                testing_criteria=given["testing_criteria"],
                metadata=body.metadata,
            )
        )

    @router.get("", response_model=ListOf[EvalCard], responses=refusals(400))
    def evals(query: Annotated[EvalQuery, Query()]) -> dict[str, object]:
        """All evals, the oldest first unless told."""
        return list_body(store.evals(query.page(), by_update=query.order_by == "updated_at"), eval_card)

    @router.get("/{eval_id}", response_model=EvalCard, responses=refusals(404))
    def retrieve(eval_id: str) -> dict[str, object]:
        """One eval."""
        return eval_card(store.get_eval(eval_id))

    @router.post("/{eval_id}", response_model=EvalCard, responses=refusals(400, 404, 413))
    def update(eval_id: str, body: UpdateEval) -> dict[str, object]:
        """Change its name or its metadata."""
        return eval_card(store.update_eval(eval_id, body.model_dump(exclude_unset=True)))

    @router.delete("/{eval_id}", response_model=EvalDeleteResponse, responses=refusals(404))
    def delete(eval_id: str) -> dict[str, object]:
        """Delete it with its runs."""
        for run_id in store.delete_eval(eval_id):
            runner.stop(run_id)
        return {"object": "eval.deleted", "deleted": True, "eval_id": eval_id}


def _add_run_routes(router: APIRouter, store: EvalStore, runner: EvalRunner, files: FileStore | None) -> None:
    read_file = partial(read_file_rows, files) if files is not None else None

    def shown(request: Request, run: StoredRun, of: StoredEval | None = None) -> dict[str, object]:
        url = str(request.url_for("retrieve_run", eval_id=run.eval_id, run_id=run.id))
        return run_card(run, store, of or store.get_eval(run.eval_id), url)

    def add_run(eval_id: str, asked: CreateRun) -> StoredRun:
        config = store.get_eval(eval_id).data_source_config
        data_source = read_run(asked, config["item_schema"], read_file=read_file)
        model = data_source.get("model")
        served = runner.current.served
        try:
            arm = served.arm(model) if model is not None else None
        except NotFound as error:
            raise NotFound(str(error), param="data_source.model", code=error.code) from error
        return store.add_run(
            eval_id,
            name=asked.name,
            data_source=data_source,
            model=model or "",
            arm=arm.to_dict() if arm is not None else None,
            decision_id=served.decision_id if arm is not None else None,
            metadata=asked.metadata,
            submit=runner.submit,
        )

    @router.post("/{eval_id}/runs", status_code=201, response_model=RunCard, responses=refusals(400, 404, 413))
    def create_run(request: Request, eval_id: str, body: CreateRun) -> dict[str, object]:
        """Ask or grade rows, in the background."""
        run = add_run(eval_id, body)
        card = shown(request, run)
        runner.wake()
        return card

    @router.get("/{eval_id}/runs", response_model=ListOf[RunCard], responses=refusals(400, 404))
    def runs(request: Request, eval_id: str, query: Annotated[RunQuery, Query()]) -> dict[str, object]:
        """An eval's runs, the oldest first unless told."""
        stored = store.get_eval(eval_id)
        return list_body(store.runs(eval_id, query.page()), lambda run: shown(request, run, stored))

    @router.get("/{eval_id}/runs/{run_id}", response_model=RunCard, responses=refusals(404))
    def retrieve_run(request: Request, eval_id: str, run_id: str) -> dict[str, object]:
        """One run, and how far it is."""
        return shown(request, store.get_run(eval_id, run_id))

    # Older clients post to the run itself, newer ones to /cancel.
    @router.post("/{eval_id}/runs/{run_id}/cancel", response_model=RunCard, responses=refusals(404, 409))
    @router.post("/{eval_id}/runs/{run_id}", response_model=RunCard, responses=refusals(404, 409))
    def cancel_run(request: Request, eval_id: str, run_id: str) -> dict[str, object]:
        """Cancel it; what it has stays."""
        run = store.get_run(eval_id, run_id)
        # The status first: an answer that comes in after it is dropped.
        if run.status in LIVE and store.set_status(run_id, "canceled"):
            runner.stop(run_id)
        run = store.get_run(eval_id, run_id)
        if run.status != "canceled":
            raise Conflict(f"run {run_id!r} is {run.status}; there is nothing to cancel")
        return shown(request, run)

    @router.delete("/{eval_id}/runs/{run_id}", response_model=RunDeleteResponse, responses=refusals(404))
    def delete_run(eval_id: str, run_id: str) -> dict[str, object]:
        """Delete it with its output items."""
        store.delete_run(eval_id, run_id)
        runner.stop(run_id)
        return {"object": "eval.run.deleted", "deleted": True, "run_id": run_id}

    @router.get("/{eval_id}/runs/{run_id}/output_items", response_model=ListOf[ItemCard], responses=refusals(400, 404))
    def output_items(eval_id: str, run_id: str, query: Annotated[ItemQuery, Query()]) -> dict[str, object]:
        """The outcomes of a run's rows, in the rows' order."""
        return list_body(store.items(eval_id, run_id, query.page()), lambda item: item_card(item, eval_id))

    @router.get("/{eval_id}/runs/{run_id}/output_items/{item_id}", response_model=ItemCard, responses=refusals(404))
    def output_item(eval_id: str, run_id: str, item_id: str) -> dict[str, object]:
        """The outcome of one row."""
        return item_card(store.get_item(eval_id, run_id, item_id), eval_id)
