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

# What the score of a look is called: the share of answers that are given word for word, or of pairs whose preferred
# answer has gained the more.
_SCORES = {"supervised": "valid_exact_match", "dpo": "valid_reward_accuracy"}


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
        looks = [as_metrics(look, adapter.objective) for look in adapter.looks]
    rows: dict[int, dict[str, Any]] = {step: {"step": step, "train_loss": loss} for step, loss in losses.items()}
    for look in looks:
        rows[look["step"]] = {**rows.get(look["step"], {}), **look}
    text = io.StringIO()
    columns = ("step", "train_loss", "valid_loss", _SCORES[adapter.objective])
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows[step] for step in sorted(rows))
    last = adapter.published.steps[-1] if adapter.published is not None else max(losses, default=0)
    return Results(text.getvalue(), last, rows.get(last, {"step": last}))


def as_metrics(look: Look, objective: str) -> dict[str, float | None]:
    """What was measured of the validation rows: the mean loss of a token, or of a choice between two answers, and the
    score of the objective.
    """
    return {"step": look.step, "valid_loss": look.loss, _SCORES[objective]: look.score}
