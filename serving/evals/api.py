"""/v1/evals in OpenAI's shapes, driven by `client.evals`: evals, their runs and output items.

add_surface(app, eval_routes(runner, files=files))
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from openai.types import EvalCreateResponse, EvalDeleteResponse
from openai.types.evals import EvalAPIError, RunCreateResponse, RunDeleteResponse
from openai.types.evals.runs import OutputItemListResponse
from pydantic import BaseModel

from eval.graders import Grade
from serving.errors import Conflict, NotFound
from serving.evals.request import CreateEval, CreateRun, UpdateEval, check_eval, read_rows
from serving.evals.runner import EvalRunner
from serving.evals.store import LIVE, Card, EvalStore, ItemStatus, Run, RunStatus
from serving.http.body import ApiRoute
from serving.http.errors import refusals
from serving.http.pages import ListOf, Order, Page, list_body
from serving.http.routes import surface
from serving.vector_stores.files import FileStore


class EvalCard(EvalCreateResponse):
    """OpenAI's eval, with its schema and criteria as they were given."""

    data_source_config: dict[str, Any]  # type: ignore[assignment]
    testing_criteria: list[dict[str, Any]]  # type: ignore[assignment]


class RunNotes(BaseModel):
    """Who answers a run's rows, by which decision, and how many there are."""

    arm: str | None
    decision: str | None
    num_rows: int


class RunCard(RunCreateResponse):
    """OpenAI's run; `error` is null unless it failed."""

    error: EvalAPIError | None  # type: ignore[assignment]
    data_source: dict[str, Any]  # type: ignore[assignment]
    arbiter: RunNotes


class ItemCard(OutputItemListResponse):
    """OpenAI's output item; what an arm did not say of its sample is null."""

    results: list[Grade]  # type: ignore[assignment]
    sample: dict[str, Any]  # type: ignore[assignment]


class EvalQuery(Page):
    """The query parameters of the list of evals."""

    order: Order = "asc"
    order_by: Literal["created_at", "updated_at"] | None = None


class RunQuery(Page):
    """The query parameters of a list of runs."""

    order: Order = "asc"
    status: RunStatus | None = None


class ItemQuery(Page):
    """The query parameters of a list of output items."""

    order: Order = "asc"
    status: ItemStatus | None = None


def eval_routes(runner: EvalRunner, *, files: FileStore) -> APIRouter:
    """The routes; runs that a killed server left go on when the app starts. Rows of a run may stand in `files`."""
    store = runner.store

    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[None]:
        await runner.open()
        yield
        await runner.close()

    router = surface("/evals", "evals", route_class=ApiRoute, lifespan=lifespan)
    _add_eval_routes(router, store, runner)
    _add_run_routes(router, store, runner, files)
    return router


def _add_eval_routes(router: APIRouter, store: EvalStore, runner: EvalRunner) -> None:
    @router.post("", status_code=201, response_model=EvalCard, responses=refusals(400, 413))
    def create(body: CreateEval) -> Card:
        """Make an eval: what its rows look like, and what an answer must pass."""
        check_eval(body, embed=runner.embed)
        return store.add_eval(body.card())

    @router.get("", response_model=ListOf[EvalCard], responses=refusals(400))
    def evals(query: Annotated[EvalQuery, Query()]) -> Card:
        """All evals, the oldest first unless told."""
        return list_body(store.evals(query, by_update=query.order_by == "updated_at"), lambda row: row.card)

    @router.get("/{eval_id}", response_model=EvalCard, responses=refusals(404))
    def retrieve(eval_id: str) -> Card:
        """One eval."""
        return store.get_eval(eval_id)

    @router.post("/{eval_id}", response_model=EvalCard, responses=refusals(400, 404, 413))
    def update(eval_id: str, body: UpdateEval) -> Card:
        """Change its name or its metadata."""
        return store.update_eval(eval_id, body.model_dump(exclude_unset=True))

    @router.delete("/{eval_id}", response_model=EvalDeleteResponse, responses=refusals(404))
    def delete(eval_id: str) -> Card:
        """Delete it with its runs."""
        for run_id in store.delete_eval(eval_id):
            runner.stop(run_id)
        return {"object": "eval.deleted", "deleted": True, "eval_id": eval_id}


def _add_run_routes(router: APIRouter, store: EvalStore, runner: EvalRunner, files: FileStore) -> None:
    def shown(request: Request, run: Run, of: Card | None = None) -> Card:
        criteria = (of or store.get_eval(run.eval_id))["testing_criteria"]
        url = str(request.url_for("retrieve_run", eval_id=run.eval_id, run_id=run.id))
        counts = store.counts(run, [criterion["name"] for criterion in criteria])
        return {**run.card, "status": run.status, "error": run.error, "report_url": url, **counts}

    @router.post("/{eval_id}/runs", status_code=201, response_model=RunCard, responses=refusals(400, 404, 413))
    def create_run(request: Request, eval_id: str, body: CreateRun) -> Card:
        """Ask or grade rows, in the background."""
        stored = store.get_eval(eval_id)
        data_source = body.data_source.model_dump(exclude_unset=True)
        content = read_rows(body, stored["data_source_config"]["schema"]["properties"]["item"], files)
        model, served = data_source.get("model"), runner.current.served
        try:
            arm = served.arm(model) if model is not None else None
        except NotFound as error:
            raise NotFound(str(error), param="data_source.model", code=error.code) from error
        notes = {
            "arm": arm.name if arm is not None else None,
            "decision": served.decision_id if arm is not None else None,
            "num_rows": len(data_source["source"]["content"] if content is None else content),
        }
        card = {"name": body.name, "model": model or "", "data_source": data_source, "metadata": body.metadata}
        run = store.add_run(
            eval_id,
            {**card, "arbiter": notes},
            work={"arm": asdict(arm) if arm is not None else None, "rows": content},
            submit=runner.submit,
        )
        reply = shown(request, run, stored)
        runner.jobs.wake()
        return reply

    @router.get("/{eval_id}/runs", response_model=ListOf[RunCard], responses=refusals(400, 404))
    def runs(request: Request, eval_id: str, query: Annotated[RunQuery, Query()]) -> Card:
        """An eval's runs, the oldest first unless told."""
        stored = store.get_eval(eval_id)
        return list_body(store.runs(eval_id, query), lambda run: shown(request, run, stored))

    @router.get("/{eval_id}/runs/{run_id}", response_model=RunCard, responses=refusals(404))
    def retrieve_run(request: Request, eval_id: str, run_id: str) -> Card:
        """One run, and how far it is."""
        return shown(request, store.get_run(eval_id, run_id))

    # Older clients post to the run itself, newer ones to /cancel.
    @router.post("/{eval_id}/runs/{run_id}/cancel", response_model=RunCard, responses=refusals(404, 409))
    @router.post("/{eval_id}/runs/{run_id}", response_model=RunCard, responses=refusals(404, 409))
    def cancel_run(request: Request, eval_id: str, run_id: str) -> Card:
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
    def delete_run(eval_id: str, run_id: str) -> Card:
        """Delete it with its output items."""
        store.delete_run(eval_id, run_id)
        runner.stop(run_id)
        return {"object": "eval.run.deleted", "deleted": True, "run_id": run_id}

    @router.get("/{eval_id}/runs/{run_id}/output_items", response_model=ListOf[ItemCard], responses=refusals(400, 404))
    def output_items(eval_id: str, run_id: str, query: Annotated[ItemQuery, Query()]) -> Card:
        """The outcomes of a run's rows, in the rows' order."""
        return list_body(store.items(eval_id, run_id, query), lambda row: row.card)

    @router.get("/{eval_id}/runs/{run_id}/output_items/{item_id}", response_model=ItemCard, responses=refusals(404))
    def output_item(eval_id: str, run_id: str, item_id: str) -> Card:
        """The outcome of one row."""
        return store.get_item(eval_id, run_id, item_id)
