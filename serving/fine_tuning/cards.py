"""Jobs, events and checkpoints in OpenAI's shapes: `job_card(job)`."""

from __future__ import annotations

from typing import Any, Literal

from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint
from openai.types.fine_tuning.jobs.fine_tuning_job_checkpoint import Metrics
from pydantic import BaseModel

from serving.fine_tuning.store import KEPT, Job, Status, fate_of

# There is one key, and so one organization.
ORGANIZATION = "arbiter"


class Numbers(BaseModel):
    """OpenAI's hyperparameters: what was asked, and once the files were read what is trained with."""

    n_epochs: Literal["auto"] | int | float
    batch_size: Literal["auto"] | int
    learning_rate_multiplier: Literal["auto"] | float


class JobNotes(BaseModel):
    """What OpenAI does not tell of a job: the adapter's numbers, and how many rows were read."""

    recipe: dict[str, Any]
    num_rows: int | None
    num_validation_rows: int | None
    adapter: str | None
    is_model_deleted: bool


class JobCard(FineTuningJob):
    """OpenAI's job; it may be paused, too."""

    status: Status  # type: ignore[assignment]
    hyperparameters: Numbers  # type: ignore[assignment]
    method: dict[str, Any]  # type: ignore[assignment]
    arbiter: JobNotes


class EventCard(FineTuningJobEvent, extra="ignore"):
    """OpenAI's event; one of type `metrics` has the step, its losses and the tokens so far as `data`."""

    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"


class CheckpointMetrics(Metrics):
    """OpenAI's metrics, as far as they were measured, and the share of validation rows that are answered word for word,
    or of validation pairs whose preferred answer has gained the more.
    """

    valid_exact_match: float | None = None
    valid_reward_accuracy: float | None = None


class CheckpointCard(FineTuningJobCheckpoint):
    """OpenAI's checkpoint. That of a job that succeeded is its model; others are what a training goes on from."""

    metrics: CheckpointMetrics


def job_card(job: Job) -> dict[str, object]:
    """A job as its client sees it."""
    card, outcome = job.card, job.outcome
    numbers = outcome.get("hyperparameters") or card["hyperparameters"]
    return {
        "id": job.id,
        "object": "fine_tuning.job",
        "created_at": job.created_at,
        "finished_at": job.finished_at,
        "estimated_finish": job.estimated_finish,
        "status": job.status,
        "error": job.error,
        "model": card["model"],
        "fine_tuned_model": outcome.get("fine_tuned_model"),
        "organization_id": ORGANIZATION,
        "training_file": card["training_file"],
        "validation_file": card["validation_file"],
        "result_files": outcome.get("result_files", []),
        "trained_tokens": outcome.get("trained_tokens"),
        "seed": card["seed"],
        "hyperparameters": numbers,
        "method": {"type": card["method"], card["method"]: {"hyperparameters": numbers}},
        "metadata": card["metadata"],
        "integrations": [],
        "arbiter": {
            "recipe": job.work["recipe"],
            "num_rows": outcome.get("num_rows"),
            "num_validation_rows": outcome.get("num_validation_rows"),
            "adapter": outcome.get("adapter"),
            "is_model_deleted": fate_of(job) != KEPT,
        },
    }


def event_card(event: Any) -> dict[str, object]:
    """A row of the events as a client sees it."""
    return dict(event._mapping)


def checkpoint_card(checkpoint: Any) -> dict[str, object]:
    """A row of the checkpoints as a client sees it."""
    return {
        "id": checkpoint.id,
        "object": "fine_tuning.job.checkpoint",
        "created_at": checkpoint.created_at,
        "fine_tuning_job_id": checkpoint.job_id,
        "fine_tuned_model_checkpoint": checkpoint.model,
        "step_number": checkpoint.step_number,
        "metrics": checkpoint.metrics,
    }
