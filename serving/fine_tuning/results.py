"""What a job measured: metrics as OpenAI names them, and the file of all steps. `results_of(adapter, steps)`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
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


def results_of(adapter: Adapter, steps: Sequence[Mapping[str, Any]]) -> Results:
    """What was told of the steps of a training; without any, what the manifest of its adapter tells.

    Raises StorageError.
    """
    losses = {one["step"]: one["train_loss"] for one in steps}
    looks = [look for one in steps for look in one["looks"]]
    if not steps:
        losses = dict(enumerate(read_manifest(adapter.path)["loss_curve"], start=1))
        looks = [as_metrics(look) for look in adapter.looks]
    rows: dict[int, dict[str, Any]] = {step: {"step": step, "train_loss": loss} for step, loss in losses.items()}
    for look in looks:
        rows[look["step"]] = {**rows.get(look["step"], {}), **look}
    text = io.StringIO()
    table = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows[step] for step in sorted(rows))
    last = adapter.published.steps[-1] if adapter.published is not None else max(losses, default=0)
    return Results(text.getvalue(), last, rows.get(last, {"step": last}))


def as_metrics(look: Look) -> dict[str, float | None]:
    """What was measured of the validation rows: the mean loss of a token, the share of rows answered word for word."""
    return {"step": look.step, "valid_loss": look.loss, "valid_exact_match": look.score}
