"""Evals, their runs and output items in OpenAI's shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel

from serving.evals.request import shown_source
from serving.evals.store import ITEM_STATUSES, EvalStore, RunStatus, StoredEval, StoredItem, StoredRun

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


class EvalCard(BaseModel):
    """An eval."""

    id: str
    object: Literal["eval"]
    created_at: int
    name: str
    data_source_config: dict[str, Any]
    testing_criteria: list[dict[str, Any]]
    metadata: dict[str, str] | None


class ResultCounts(BaseModel):
    """A run's rows by outcome."""

    passed: int
    failed: int
    errored: int
    total: int


class ModelUsage(BaseModel):
    """What a run's answers took."""

    model_name: str
    invocation_count: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int


class CriterionResult(BaseModel):
    """A run's rows by one criterion; one that could not be graded is in neither number."""

    testing_criteria: str
    passed: int
    failed: int


class RunNotes(BaseModel):
    """Who answers a run's rows, by which decision, and how many there are."""

    arm: str | None
    decision: str | None
    num_rows: int


class RunCard(BaseModel):
    """A run of an eval."""

    id: str
    object: Literal["eval.run"]
    eval_id: str
    created_at: int
    name: str
    status: RunStatus
    error: dict[str, str] | None
    model: str
    data_source: dict[str, Any]
    metadata: dict[str, str] | None
    report_url: str
    result_counts: ResultCounts
    per_model_usage: list[ModelUsage]
    per_testing_criteria_results: list[CriterionResult]
    arbiter: RunNotes


class ItemResult(BaseModel):
    """One criterion's word on a row; `score` is null where it could not be graded, and `error` says why."""

    name: str
    type: str
    passed: bool
    score: float | None
    error: str | None
    sample: None


class ItemCard(BaseModel):
    """The outcome of one row of a run."""

    id: str
    object: Literal["eval.run.output_item"]
    eval_id: str
    run_id: str
    created_at: int
    datasource_item_id: int
    datasource_item: dict[str, Any]
    status: Literal["pass", "fail", "error"]
    results: list[ItemResult]
    sample: dict[str, Any]


class EvalDeleted(BaseModel):
    """What was deleted."""

    object: Literal["eval.deleted"]
    deleted: bool
    eval_id: str


class RunDeleted(BaseModel):
    """What was deleted."""

    object: Literal["eval.run.deleted"]
    deleted: bool
    run_id: str


def eval_card(stored: StoredEval) -> dict[str, object]:
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
