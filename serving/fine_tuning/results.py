"""What a job measured: metrics as OpenAI names them, and the file of all steps. `results_of(adapter)`."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any

from storage.folders import read_manifest
from tuning.export.adapters import Adapter
from tuning.look import Look

_COLUMNS = ("step", "train_loss", "valid_loss", "valid_exact_match")


@dataclass(frozen=True, slots=True)
class Results:
    """`csv` has a line for each step that something was measured of; step 0 is the base model. `step` is the one whose
    weights were published, the last of several, with its `metrics`.
    """

    csv: str
    step: int
    metrics: dict[str, Any]


def results_of(adapter: Adapter) -> Results:
    """What the manifest of an adapter tells of its training. Raises StorageError."""
    losses = {
        step: {"train_loss": loss} for step, loss in enumerate(read_manifest(adapter.path)["loss_curve"], start=1)
    }
    looks = {look.step: as_metrics(look) for look in adapter.looks}
    rows = [{"step": step, **losses.get(step, {}), **looks.get(step, {})} for step in sorted({*losses, *looks})]
    text = io.StringIO()
    table = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    step = adapter.published.steps[-1] if adapter.published is not None else max(losses, default=0)
    measured = next((row for row in rows if row["step"] == step), {"step": step})
    return Results(text.getvalue(), step, measured)


def as_metrics(look: Look) -> dict[str, float | None]:
    """What was measured of the validation rows: the mean loss of a token, the share of rows answered word for word."""
    return {"valid_loss": look.loss, "valid_exact_match": look.score}
