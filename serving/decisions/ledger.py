"""The ledger: every decision that was made and every promotion, as rows.

ledger = Ledger(open_database(home))
decision = record_run(ledger, run)           after a decision was written beside its run
ledger.promote(decision.id)                  from now on `auto` is this decision's arm
ledger.current(decision.scope)               what `auto` means

A scope is what one endpoint can serve: one data folder on one base model. The runs of several configs share it, so a
decision of any of them can be promoted, and a promotion outlives an edit of the config. Without a promotion `auto` is
the decision that was recorded last for the served config.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from eval.runs.run import Run
from serving.errors import NotPromotable, UnknownDecision
from serving.http.pages import Page, PageOfRows, select_page
from storage.database import Database
from storage.rows import read_row, values_of
from storage.tables import NUMBER, TABLES
from storage.text_files import replace_text

DECISIONS = sa.Table(
    "decisions",
    TABLES,
    # Not the order of first appearance: deciding again as before makes an old decision the newest.
    sa.Column("sequence", NUMBER, nullable=False, unique=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("scope", sa.Text, nullable=False, index=True),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("run_directory", sa.Text, nullable=False),
    sa.Column("data_name", sa.Text, nullable=False),
    sa.Column("base_model", sa.Text, nullable=False),
    sa.Column("data_version", sa.Text, nullable=False),
    sa.Column("config_fingerprint", sa.Text, nullable=False, index=True),
    sa.Column("arm", sa.Text, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("confidence", sa.Double, nullable=False),
    sa.Column("margin", sa.Double, nullable=False),
    sa.Column("runner_up", sa.Text),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("policy", sa.Text, nullable=False),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("decided_at", sa.BigInteger, nullable=False),
)
PROMOTIONS = sa.Table(
    "promotions",
    TABLES,
    sa.Column("sequence", NUMBER, primary_key=True),
    sa.Column("scope", sa.Text, nullable=False, index=True),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("decision_id", sa.ForeignKey(DECISIONS.c.id), nullable=False),
    sa.Column("previous_id", sa.ForeignKey(DECISIONS.c.id)),
    sa.Column("promoted_at", sa.BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """A decision of the ledger. `id` is made of what was decided from what, so the same decision has one row.

    `evidence` is the decision's whole JSON form. `decided_at` counts seconds since 1970, of the last time it was made.
    """

    run_id: str
    run_directory: Path
    data_name: str
    base_model: str
    data_version: str
    config_fingerprint: str
    arm: str
    verdict: str
    confidence: float
    margin: float
    runner_up: str | None
    reason: str
    policy: Mapping[str, Any]
    decided_at: int
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """`dec_` and 16 hex digits over the run, what it saw, the policy and the arm."""
        content = [
            self.run_id,
            self.config_fingerprint,
            self.data_version,
            self.arm,
            json.dumps(self.policy, sort_keys=True),
        ]
        return "dec_" + hashlib.sha256("\x00".join(content).encode()).hexdigest()[:16]

    @property
    def scope(self) -> str:
        """What one endpoint can serve: the data and the base model with its revision."""
        return f"{self.data_name} {self.base_model}"

    @property
    def report(self) -> Path:
        """The report of this decision, or else of what was decided last from the same run."""
        own = _own_report(self.run_directory, self.id)
        return own if own.is_file() else self.run_directory / "report.html"


@dataclass(frozen=True, slots=True)
class Promotion:
    """One change of what `auto` means: to `decision_id`, from `previous_id` (None where nothing was before)."""

    sequence: int
    scope: str
    action: Literal["promote", "rollback"]
    decision_id: str
    previous_id: str | None
    promoted_at: int


class Ledger:
    """Rows are added and never taken away; what `auto` means in a scope is what its last promotion row says."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def record(self, decision: RecordedDecision) -> str:
        """Keep a decision as the newest and return its id; the same decision again only moves up."""
        values = values_of(decision) | {
            "scope": decision.scope,
            "run_directory": str(decision.run_directory),
            "policy": json.dumps(decision.policy),
            "evidence": json.dumps(decision.evidence),
        }
        with self._database.write() as rows:
            last = rows.execute(sa.select(sa.func.coalesce(sa.func.max(DECISIONS.c.sequence), 0))).scalar_one()
            values["sequence"] = last + 1
            if rows.execute(DECISIONS.update().where(DECISIONS.c.id == decision.id).values(values)).rowcount == 0:
                rows.execute(DECISIONS.insert().values(id=decision.id, **values))
        return decision.id

    def get(self, decision_id: str) -> RecordedDecision:
        """A decision by its id. Raises UnknownDecision."""
        with self._database.read() as rows:
            return _get(rows, decision_id)

    def newest(self, config_fingerprint: str) -> RecordedDecision | None:
        """The decision that was recorded last for a config, or None."""
        with self._database.read() as rows:
            return _newest(rows, DECISIONS.c.config_fingerprint == config_fingerprint)

    def page(self, page: Page, *, scope: str | None = None) -> PageOfRows:
        """A page of RecordedDecisions, of one scope or of all, without their evidence. Raises Invalid."""
        where = [DECISIONS.c.scope == scope] if scope is not None else []
        with self._database.read() as rows:
            found = select_page(rows, DECISIONS, page, *where, without=[DECISIONS.c.evidence])
        return PageOfRows(rows=[_decision(row) for row in found.rows], has_more=found.has_more)

    def promotions(self, scope: str | None = None) -> list[Promotion]:
        """Every promotion and rollback of a scope or of all, oldest first."""
        with self._database.read() as rows:
            return _promotions(rows, scope)

    def current(self, scope: str, config_fingerprint: str | None = None) -> RecordedDecision | None:
        """What `auto` means in a scope: the last promotion's decision, else the newest recorded; None without any.

        With a fingerprint only decisions of that config count as newest.
        """
        with self._database.read() as rows:
            return _current(rows, scope, config_fingerprint)

    def promote(self, decision_id: str, *, previous_id: str | None = None) -> Promotion:
        """Make a decision what `auto` means in its scope; doing so twice changes nothing.

        `previous_id` is what it meant until now, for a server that knows; otherwise the ledger's own `current`. Raises
        UnknownDecision.
        """
        with self._database.write() as rows:
            decision = _get(rows, decision_id)
            log = _promotions(rows, decision.scope)
            if log and log[-1].decision_id == decision_id:
                return log[-1]
            before = previous_id
            if before is None:
                current = _current(rows, decision.scope, None)
                before = current.id if current is not None else None
            # A decision that was `auto` already, as the newest, has nothing to go back to.
            previous = before if before != decision_id else None
            return self._append(rows, decision.scope, "promote", decision_id, previous)

    def rollback(self, scope: str, *, to: str | None = None) -> Promotion:
        """Go back to what `auto` meant before the last promotion that was not rolled back.

        Raises NotPromotable when there is none, and when it is no longer `to`, for a caller that has prepared for that.
        """
        with self._database.write() as rows:
            log = _promotions(rows, scope)
            back = _before(log)
            if to not in (None, back):
                raise NotPromotable("another promotion came in between; look at the decisions and try again")
            return self._append(rows, scope, "rollback", back, log[-1].decision_id)

    def before(self, scope: str) -> str:
        """The id of the decision that `rollback` would go back to. Raises NotPromotable when there is none."""
        with self._database.read() as rows:
            return _before(_promotions(rows, scope))

    def _append(
        self,
        rows: sa.Connection,
        scope: str,
        action: Literal["promote", "rollback"],
        decision_id: str,
        previous_id: str | None,
    ) -> Promotion:
        made = Promotion(0, scope, action, decision_id, previous_id, int(self._clock()))
        values = {name: value for name, value in values_of(made).items() if name != "sequence"}
        inserted = rows.execute(PROMOTIONS.insert().values(values)).inserted_primary_key
        assert inserted is not None
        return replace(made, sequence=inserted[0])


def describe_run(run: Run) -> RecordedDecision:
    """The decision that lies beside a run, as the ledger keeps it. Raises EvalError when none was made yet."""
    row = run.decision()
    provenance = run.scorecard().provenance
    policy = row["policy"]
    return RecordedDecision(
        run_id=run.id,
        run_directory=run.directory.resolve(),
        # A run is named by its data and a hash.
        data_name=run.id.rpartition("-")[0],
        base_model=str(provenance.get("model") or run.manifest["base_revision"]),
        data_version=str(run.manifest["data_version"]),
        config_fingerprint=str(run.manifest["config_fingerprint"]),
        arm=str(row["arm"]),
        verdict=str(row["verdict"]),
        confidence=float(row["confidence"]),
        margin=float(row["margin"]),
        runner_up=row.get("runner_up"),
        reason=str(row["reason"]),
        policy=policy,
        decided_at=int(row["decided_at"]),
        evidence={key: value for key, value in row.items() if key not in ("policy", "decided_at")},
    )


def record_run(ledger: Ledger, run: Run) -> RecordedDecision:
    """Record the decision that lies beside a run, and keep its report from the next decision's.

    Raises EvalError when none was made yet, and ServingError when it cannot be kept.
    """
    decision = describe_run(run)
    latest = run.directory / "report.html"
    if latest.is_file():
        replace_text(_own_report(run.directory, decision.id), latest.read_text(encoding="utf-8"))
    ledger.record(decision)
    return decision


def _own_report(run_directory: Path, decision_id: str) -> Path:
    return run_directory / f"report-{decision_id}.html"


def _get(rows: sa.Connection, decision_id: str) -> RecordedDecision:
    row = rows.execute(sa.select(DECISIONS).where(DECISIONS.c.id == decision_id)).one_or_none()
    if row is None:
        raise UnknownDecision(f"no decision {decision_id!r}; list them with: arbiter decisions list")
    return _decision(row)


def _newest(rows: sa.Connection, *where: sa.ColumnElement[bool]) -> RecordedDecision | None:
    query = sa.select(DECISIONS).where(*where).order_by(DECISIONS.c.sequence.desc()).limit(1)
    row = rows.execute(query).one_or_none()
    return _decision(row) if row is not None else None


def _current(rows: sa.Connection, scope: str, config_fingerprint: str | None) -> RecordedDecision | None:
    log = _promotions(rows, scope)
    if log:
        return _get(rows, log[-1].decision_id)
    where = [DECISIONS.c.scope == scope]
    if config_fingerprint is not None:
        where.append(DECISIONS.c.config_fingerprint == config_fingerprint)
    return _newest(rows, *where)


def _promotions(rows: sa.Connection, scope: str | None) -> list[Promotion]:
    query = sa.select(PROMOTIONS).order_by(PROMOTIONS.c.sequence)
    if scope is not None:
        query = query.where(PROMOTIONS.c.scope == scope)
    return [read_row(Promotion, row) for row in rows.execute(query)]


def _before(log: Sequence[Promotion]) -> str:
    """Replays the log: a promotion goes on the stack, a rollback takes the last one off."""
    standing: list[Promotion] = []
    for entry in log:
        if entry.action == "promote":
            standing.append(entry)
        else:
            standing.pop()
    if not standing or standing[-1].previous_id is None:
        raise NotPromotable("there is nothing to roll back to; promote a decision by its id instead")
    return standing[-1].previous_id


def _decision(row: Any) -> RecordedDecision:
    values = {name: value for name, value in row._mapping.items() if name not in ("sequence", "id", "scope")}
    values |= {
        "run_directory": Path(row.run_directory),
        "policy": json.loads(row.policy),
        "evidence": json.loads(row._mapping.get("evidence", "{}")),
    }
    return RecordedDecision(**values)
