"""/v1/evals in OpenAI's shapes, driven by `client.evals`: evals, their runs and output items.

app.include_router(eval_routes(runner), prefix="/v1")
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import APIRouter, Request

from serving.errors import Conflict, Invalid, NotFound
from serving.evals.files import read_file_rows
from serving.evals.request import CreateRun, UpdateEval, read_eval, read_plan, read_run, shown_source
from serving.evals.runner import EvalRunner
from serving.evals.store import ITEM_STATUSES, LIVE, RUN_STATUSES, EvalStore, StoredEval, StoredItem, StoredRun
from serving.http.body import read_model, read_storable
from serving.http.pages import list_body, read_page
from serving.vector_stores.files import FileStore

# What graders can name of a generated answer; OpenAI shows it beside the item's own schema.
_SAMPLE_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "model": {"type": "string"},
        "output_text": {"type": "string"},
        "output_json": {},
        "finish_reason": {"type": "string"},
        "choices": {"type": "array"},
    },
    "required": ["model", "output_text"],
}


def eval_routes(runner: EvalRunner, *, files: FileStore | None = None) -> APIRouter:
    """The routes; runs that a killed server left go on when the app starts. Rows of a run may stand in `files`."""
    store = runner.store

    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[None]:
        await runner.resume()
        yield
        await runner.close()

    router = APIRouter(lifespan=lifespan)
    _add_eval_routes(router, store, runner)
    _add_run_routes(router, store, runner, files)
    return router


def _add_eval_routes(router: APIRouter, store: EvalStore, runner: EvalRunner) -> None:
    @router.post("/evals", status_code=201)
    async def create(request: Request) -> dict[str, object]:
        body = await read_storable(request)
        asked = await asyncio.to_thread(read_eval, body, embed=runner.embed)
        stored = await asyncio.to_thread(
            store.add_eval,
            name=asked.name,
            data_source_config=asked.data_source_config,
            testing_criteria=asked.testing_criteria,
            metadata=asked.metadata,
        )
        return _eval_card(stored)

    @router.get("/evals")
    def evals(request: Request) -> dict[str, object]:
        page = read_page(request.query_params, filters={"order_by": ("created_at", "updated_at")})
        found = store.evals(page, by_update=page.filters.get("order_by") == "updated_at")
        return list_body(found, _eval_card)

    @router.get("/evals/{eval_id}")
    def retrieve(eval_id: str) -> dict[str, object]:
        return _eval_card(store.get_eval(eval_id))

    @router.post("/evals/{eval_id}")
    async def update(request: Request, eval_id: str) -> dict[str, object]:
        changes = read_model(UpdateEval, await read_storable(request)).model_dump(exclude_unset=True)
        if changes.get("name", "") is None:
            raise Invalid("name: an eval keeps a name; leave it out to keep this one", param="name")
        return _eval_card(await asyncio.to_thread(store.update_eval, eval_id, changes))

    @router.delete("/evals/{eval_id}")
    async def delete(eval_id: str) -> dict[str, object]:
        for run_id in await asyncio.to_thread(store.delete_eval, eval_id):
            runner.stop(run_id)
        return {"object": "eval.deleted", "deleted": True, "eval_id": eval_id}


def _add_run_routes(router: APIRouter, store: EvalStore, runner: EvalRunner, files: FileStore | None) -> None:
    read_file = partial(read_file_rows, files) if files is not None else None

    def shown(request: Request, run: StoredRun) -> dict[str, object]:
        url = str(request.url_for("retrieve_run", eval_id=run.eval_id, run_id=run.id))
        return _run_card(run, store, store.get_eval(run.eval_id), url)

    def add_run(eval_id: str, body: object) -> StoredRun:
        config = store.get_eval(eval_id).data_source_config
        asked: CreateRun = read_run(body, config["item_schema"], read_file=read_file)
        model = read_plan(asked.data_source).model
        served = runner.current.served
        try:
            arm = served.arm(model) if model is not None else None
        except NotFound as error:
            raise NotFound(str(error), param="data_source.model", code=error.code) from error
        return store.add_run(
            eval_id,
            name=asked.name,
            data_source=asked.data_source,
            model=model or "",
            arm=arm.to_dict() if arm is not None else None,
            decision_id=served.decision_id if arm is not None else None,
            metadata=asked.metadata,
            owner=runner.owner,
        )

    @router.post("/evals/{eval_id}/runs", status_code=201)
    async def create_run(request: Request, eval_id: str) -> dict[str, object]:
        run = await asyncio.to_thread(add_run, eval_id, await read_storable(request))
        card = await asyncio.to_thread(shown, request, run)
        runner.start(run)
        return card

    @router.get("/evals/{eval_id}/runs")
    def runs(request: Request, eval_id: str) -> dict[str, object]:
        page = read_page(request.query_params, filters={"status": RUN_STATUSES})
        return list_body(store.runs(eval_id, page), lambda run: shown(request, run))

    @router.get("/evals/{eval_id}/runs/{run_id}")
    def retrieve_run(request: Request, eval_id: str, run_id: str) -> dict[str, object]:
        return shown(request, store.get_run(eval_id, run_id))

    @router.post("/evals/{eval_id}/runs/{run_id}")
    async def cancel_run(request: Request, eval_id: str, run_id: str) -> dict[str, object]:
        run = await asyncio.to_thread(store.get_run, eval_id, run_id)
        # The status first: an answer that comes in after it is dropped.
        if run.status in LIVE and await asyncio.to_thread(store.set_status, run_id, "canceled"):
            runner.stop(run_id)
        run = await asyncio.to_thread(store.get_run, eval_id, run_id)
        if run.status != "canceled":
            raise Conflict(f"run {run_id!r} is {run.status}; there is nothing to cancel")
        return await asyncio.to_thread(shown, request, run)

    @router.delete("/evals/{eval_id}/runs/{run_id}")
    async def delete_run(eval_id: str, run_id: str) -> dict[str, object]:
        await asyncio.to_thread(store.delete_run, eval_id, run_id)
        runner.stop(run_id)
        return {"object": "eval.run.deleted", "deleted": True, "run_id": run_id}

    @router.get("/evals/{eval_id}/runs/{run_id}/output_items")
    def output_items(request: Request, eval_id: str, run_id: str) -> dict[str, object]:
        page = read_page(request.query_params, filters={"status": ITEM_STATUSES})
        return list_body(store.items(eval_id, run_id, page), lambda item: _item_card(item, eval_id))

    @router.get("/evals/{eval_id}/runs/{run_id}/output_items/{item_id}")
    def output_item(eval_id: str, run_id: str, item_id: str) -> dict[str, object]:
        return _item_card(store.get_item(eval_id, run_id, item_id), eval_id)


def _eval_card(stored: StoredEval) -> dict[str, object]:
    config = stored.data_source_config
    parts = {"item": config["item_schema"]}
    if config.get("include_sample_schema"):
        parts["sample"] = _SAMPLE_SCHEMA
    return {
        "id": stored.id,
        "object": "eval",
        "created_at": stored.created_at,
        "name": stored.name,
        "data_source_config": {
            "type": "custom",
            "schema": {"type": "object", "properties": parts, "required": list(parts)},
        },
        "testing_criteria": stored.testing_criteria,
        "metadata": stored.metadata,
    }


def _run_card(run: StoredRun, store: EvalStore, stored: StoredEval, url: str) -> dict[str, object]:
    tally = store.tally(run.id)
    passed, failed, errored = (tally.statuses.get(status, 0) for status in ITEM_STATUSES)
    return {
        "id": run.id,
        "object": "eval.run",
        "eval_id": run.eval_id,
        "created_at": run.created_at,
        "name": run.name,
        "status": run.status,
        "error": run.error,
        "model": run.model,
        "data_source": shown_source(run.data_source),
        "metadata": run.metadata,
        "report_url": url,
        "result_counts": {
            "passed": passed,
            "failed": failed,
            "errored": errored,
            "total": passed + failed + errored,
        },
        "per_model_usage": [{"model_name": model, **counts} for model, counts in sorted(tally.usage.items())],
        "per_testing_criteria_results": [
            dict(zip(("testing_criteria", "passed", "failed"), (name, *tally.criteria.get(name, (0, 0))), strict=True))
            for name in (str(criterion["name"]) for criterion in stored.testing_criteria)
        ],
        "arbiter": {
            "arm": run.arm["name"] if run.arm else None,
            "decision": run.decision_id,
            "num_rows": len(run.data_source["source"]["content"]),
        },
    }


def _item_card(item: StoredItem, eval_id: str) -> dict[str, object]:
    return {
        "id": item.id,
        "object": "eval.run.output_item",
        "eval_id": eval_id,
        "run_id": item.run_id,
        "created_at": item.created_at,
        "datasource_item_id": item.position,
        "datasource_item": item.item,
        "status": item.status,
        "results": [
            {
                "name": grade["name"],
                "type": grade["kind"],
                "passed": grade["passed"],
                "score": grade["score"],
                "error": grade["error"],
                "sample": None,
            }
            for grade in item.grades
        ],
        "sample": item.sample,
    }
