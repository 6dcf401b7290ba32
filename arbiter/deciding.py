"""A finished run under a policy: its decision and its page, and why it may no longer hold.

decision = decide(run, config, home=home, read=pipeline.read)
stale_reason(run, pipeline.read), race_reason(run, config)          # None, or why
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from arbiter.config.schema import Config
from arbiter.data import Data, askable_arms
from arbiter.home import home_database
from arbiter.kept_curves import Versions, curve_arm, find_curves
from arbiter.model_cards import write_model_cards
from eval.gates.results import judge_run, read_measured
from eval.gates.settings import GateSettings
from eval.report.card import make_card
from eval.report.compressed import compressions
from eval.report.learning import Curves, report_curve
from eval.report.page import to_html
from eval.report.tables import to_markdown
from eval.runs.run import Run
from router.deciding.arm_table import make_table
from router.deciding.decision import Decision
from router.deciding.policy import Policy
from router.deciding.recommend import recommend
from serving.decisions.ledger import Ledger, record_run
from storage.errors import ArbiterError
from storage.records import as_json
from storage.settings import part


class Read(Protocol):
    """The data folder as it is now. Raises ArbiterError where it cannot be read."""

    def __call__(self, *, needs_dev: bool = False) -> Data:
        """With `needs_dev` its dev questions are read, too."""


def decide(run: Run, config: Config, *, home: Path, read: Read) -> Decision:
    """Apply the config's policy to a finished run and write the decision and its reports beside it; asks nothing.

    Raises ArbiterError for a run that was made to decide by another metric.
    """
    policy, scorecard = part(config.policy, Policy), run.scorecard()
    made_for = run.manifest.get("metric", scorecard.primary)
    if made_for != config.policy.metric:
        raise ArbiterError(
            f"run {run.id!r} was made to decide by {made_for!r}, not {config.policy.metric!r}; run: arbiter evaluate"
        )
    table = make_table(scorecard, policy)
    decision = recommend(table)
    stale = stale_reason(run, read)
    card = make_card(
        table,
        decision,
        run.questions(),
        run.records(),
        title=f"Arbiter: {run.id}",
        command=run.manifest["command"],
        notes=[note for note in (stale, race_reason(run, config)) if note is not None],
        curves=_curves(run, config, home, read) if stale is None else None,
        gates=gate_rows(run, config.policy.gates, alpha=policy.alpha, decided=decision.arm),
    )
    run.write_views(decision, asdict(config.policy), card, to_html(card), to_markdown(card))
    if compressions(scorecard):
        write_model_cards(run, config.policy.gates, alpha=policy.alpha, home=home)
    with home_database(home) as database:
        record_run(Ledger(database), run)
    return decision


def gate_rows(run: Run, settings: GateSettings, *, alpha: float, decided: str | None = None) -> list[dict[str, Any]]:
    """What the gates show of a run's arms, for its card, that of the `decided` arm first; nothing where none was
    measured.
    """
    if not read_measured(run.directory):
        return []
    arm = decided if decided is not None else str(run.decision()["arm"])
    return [as_json(one) for one in judge_run(run.directory, arm, settings, alpha=alpha)]


def stale_reason(run: Run, read: Read) -> str | None:
    """Why a run no longer speaks of the data folder, None when it does; deciding again needs no data."""
    try:
        data = read()
    except ArbiterError as error:
        return f"the data of run {run.id!r} cannot be read any more ({error})"
    if run.manifest["data_version"] == data.version:
        return None
    return f"the data in {str(data.folder)!r} has changed since run {run.id!r}; run: arbiter run CONFIG"


def race_reason(run: Run, config: Config) -> str | None:
    """Why a run may lack answers that a config's policy needs, None when it has what a race by it asks for."""
    raced_by = run.manifest.get("raced_by")
    if run.scorecard().race is None or raced_by in (None, config.raced_by()):
        return None
    return f"run {run.id!r} was raced by another policy; to ask what this one needs, run: arbiter run CONFIG"


def _curves(run: Run, config: Config, home: Path, read: Read) -> Curves | None:
    """The learning curves that speak of a run whose data is that of the folder; None where they cannot be read."""
    data = read()
    try:
        askable = askable_arms(config, data)[0]
        found = find_curves(
            home,
            askable,
            lambda: read(needs_dev=True),
            name=data.name,
            versions=Versions(
                base=run.manifest["base_revision"],
                embedder=str(run.scorecard().provenance.get("embedder", "")),
                engine=next((versions["engine"] for versions in run.manifest["versions"].values()), ""),
            ),
        )
        price = config.policy.prices.training_hour
        reports = tuple(report_curve(one, config.curve, training_price=price) for one in found)
    except ArbiterError:  # the folder gives no dev questions any more, for example
        return None
    return Curves(reports, len(data.examples), config.curve.most, curve_arm(askable))
