"""The model cards of a run's adapters, with what the run showed of them: `write_model_cards(run, settings, ...)`."""

from __future__ import annotations

from pathlib import Path

from eval.gates.results import judge_run
from eval.gates.settings import GateSettings
from eval.report.compressed import losses_of
from eval.runs.run import Run
from tuning.export.model_card import GateLine, LossLine, write_model_card


def write_model_cards(run: Run, settings: GateSettings, *, alpha: float, home: Path) -> None:
    """Write anew the card of each adapter that gates were measured of, or that was pruned or rounded."""
    scorecard = run.scorecard()
    arms = {scores.arm.name: scores.arm for scores in scorecard.arms}
    gates: dict[str, list[GateLine]] = {}
    for one in judge_run(run.directory, None, settings, alpha=alpha):
        adapter = arms[one.arm].adapter if one.arm in arms else None
        if adapter is not None and one.verdict is not None:
            gates.setdefault(adapter, []).append(GateLine(run.id, one.arm, one.title, one.verdict, one.says))
    losses: dict[str, list[LossLine]] = {}
    for loss in losses_of(scorecard, alpha=alpha):
        lines = losses.setdefault(loss.adapter, [])
        if loss.before is not None and loss.mean is not None and loss.low is not None and loss.high is not None:
            bounds = loss.mean, loss.low, loss.high
            lines.append(LossLine(run.id, loss.arm, loss.before, loss.metric, *bounds, loss.num_pairs, 1 - alpha))
    for adapter in gates.keys() | losses.keys():
        folder = home / "adapters" / adapter
        if folder.is_dir():
            write_model_card(folder, gates.get(adapter, ()), losses.get(adapter, ()))
