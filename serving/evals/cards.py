"""Evals, their runs and output items in OpenAI's shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openai.types import EvalCreateResponse
from openai.types.evals import EvalAPIError, RunCreateResponse
from openai.types.evals.runs import OutputItemListResponse
from pydantic import BaseModel

from serving.evals.request import shown_source
from serving.evals.store import ITEM_STATUSES, EvalStore, StoredEval, StoredItem, StoredRun
from storage.rows import values_of

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


class ItemResult(BaseModel):
    """One criterion's word on a row; `score` is null where it could not be graded, and `error` says why."""

    name: str
    type: str
    passed: bool
    score: float | None
    error: str | None
    sample: None


class ItemCard(OutputItemListResponse):
    """OpenAI's output item; what an arm did not say of its sample is null."""

    results: list[ItemResult]  # type: ignore[assignment]
    sample: dict[str, Any]  # type: ignore[assignment]


def eval_card(stored: StoredEval) -> dict[str, object]:
    config = stored.data_source_config
    parts = {"item": config["item_schema"]}
    if config.get("include_sample_schema"):
        parts["sample"] = _SAMPLE_SCHEMA
    schema = {"type": "object", "properties": parts, "required": list(parts)}
    return {**values_of(stored), "object": "eval", "data_source_config": {"type": "custom", "schema": schema}}


def run_card(run: StoredRun, store: EvalStore, stored: StoredEval, url: str) -> dict[str, object]:
    tally = store.tally(run)
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


def item_card(item: StoredItem, eval_id: str) -> dict[str, object]:
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
            {"type": grade["kind"], "sample": None} | {key: grade[key] for key in ("name", "passed", "score", "error")}
            for grade in item.grades
        ],
        "sample": item.sample,
    }
