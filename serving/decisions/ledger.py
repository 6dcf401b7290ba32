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
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, computed_field

from eval.runs.run import Run
from serving.errors import NotFound, NotPromotable
from serving.http.pages import Page, PageOfRows, select_page
from storage.database import Database
from storage.files import replace_text
from storage.tables import NUMBER, TABLES

DECISIONS = sa.Table(
    "decisions",
    TABLES,
    # Not the order of first appearance: deciding again as before makes an old decision the newest.
    sa.Column("sequence", NUMBER, nullable=False, unique=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("scope", sa.Text, nullable=False, index=True),
    sa.Column("config_fingerprint", sa.Text, nullable=False, index=True),
    sa.Column("card", sa.JSON, nullable=False),
    sa.Column("evidence", sa.JSON, nullable=False),
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
    # Of a promotion that gates stood against: who let it pass, why, and what they said; what they left open of any.
    sa.Column("overridden_by", sa.Text),
    sa.Column("override_reason", sa.Text),
    sa.Column("overridden", sa.JSON(none_as_null=True)),
    sa.Column("gate_warnings", sa.JSON(none_as_null=True)),
)


class RecordedCard(BaseModel):
    """A decision as it is shown. `id` is made of what was decided from what, so the same decision has one row.

    `created_at` counts seconds since 1970, of the last time it was made.
    """

    model_config = ConfigDict(frozen=True)

    object: Literal["decision"] = "decision"
    created_at: int
    run_id: str
    run_directory: Path
    data: str
    data_version: str
    base_model: str
    config_fingerprint: str
    arm: str
    verdict: str
    confidence: float
    margin: float
    runner_up: str | None = None
    reason: str
    policy: dict[str, Any]

    @computed_field  # type: ignore[prop-decorator]  # as pydantic documents it
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


class RecordedDecision(RecordedCard):
    """A decision of the ledger; `evidence` is its whole JSON form."""

    evidence: dict[str, Any] = {}

    @property
    def scope(self) -> str:
        """What one endpoint can serve: the data and the base model with its revision."""
        return f"{self.data} {self.base_model}"

    @property
    def report(self) -> Path:
        """The report of this decision, or else of what was decided last from the same run."""
        return own if (own := self.own_report).is_file() else self.run_directory / "report.html"

    @property
    def own_report(self) -> Path:
        """Where the report of this decision is kept from the next one's."""
        return self.run_directory / f"report-{self.id}.html"

    def card(self) -> dict[str, Any]:
        """Its JSON form, without the evidence, which is long."""
        return self.model_dump(mode="json", exclude={"evidence"})


class GateCheck(BaseModel):
    """What gates said when a decision was promoted: `overridden` stood against it, and a person let it pass by name and
    with a reason; `gate_warnings` was left open.
    """

    model_config = ConfigDict(frozen=True, from_attributes=True)

    overridden_by: str | None = None
    override_reason: str | None = None
    overridden: list[str] | None = None
    gate_warnings: list[str] | None = None


class Promotion(GateCheck):
    """One change of what `auto` means: to `decision_id`, from `previous_id` (None where nothing was before)."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    object: Literal["decision.promotion"] = "decision.promotion"
    sequence: int
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
        last = sa.select(sa.func.coalesce(sa.func.max(DECISIONS.c.sequence), 0)).correlate(None).scalar_subquery()
        values: dict[str, Any] = {
            "sequence": last + 1,
            "scope": decision.scope,
            "config_fingerprint": decision.config_fingerprint,
            "card": decision.card(),
            "evidence": decision.evidence,
        }
        with self._database.write() as rows:
            if rows.execute(DECISIONS.update().where(DECISIONS.c.id == decision.id).values(values)).rowcount == 0:
                rows.execute(DECISIONS.insert().values(id=decision.id, **values))
        return decision.id

    def get(self, decision_id: str) -> RecordedDecision:
        """A decision by its id. Raises NotFound."""
        decision = self._newest(DECISIONS.c.id == decision_id)
        if decision is None:
            raise NotFound(
                f"no decision {decision_id!r}; list them with: arbiter decisions list", code="decision_not_found"
            )
        return decision

    def newest(self, config_fingerprint: str) -> RecordedDecision | None:
        """The decision that was recorded last for a config, or None."""
        return self._newest(DECISIONS.c.config_fingerprint == config_fingerprint)

    def page(self, page: Page, *, scope: str | None = None) -> PageOfRows:
        """A page of RecordedDecisions, of one scope or of all, without their evidence. Raises Invalid."""
        where = [DECISIONS.c.scope == scope] if scope is not None else []
        return select_page(self._database, DECISIONS, page, *where, read=_decision, without=[DECISIONS.c.evidence])

    def promotions(self, scope: str | None = None) -> list[Promotion]:
        """Every promotion and rollback of a scope or of all, oldest first."""
        query = sa.select(PROMOTIONS).order_by(PROMOTIONS.c.sequence)
        if scope is not None:
            query = query.where(PROMOTIONS.c.scope == scope)
        with self._database.read() as rows:
            return [Promotion.model_validate(row) for row in rows.execute(query)]

    def current(self, scope: str, config_fingerprint: str | None = None) -> RecordedDecision | None:
        """What `auto` means in a scope: the last promotion's decision, else the newest recorded; None without any.

        With a fingerprint only decisions of that config count as newest.
        """
        if log := self.promotions(scope):
            return self.get(log[-1].decision_id)
        of_config = DECISIONS.c.config_fingerprint == config_fingerprint
        return self._newest(DECISIONS.c.scope == scope, of_config if config_fingerprint is not None else sa.true())

    def promote(
        self, decision_id: str, *, previous_id: str | None = None, checked: GateCheck | None = None
    ) -> Promotion:
        """Make a decision what `auto` means in its scope; doing so twice changes nothing. `checked` is kept with it.

        `previous_id` is what it meant until now, for a server that knows; otherwise the ledger's own `current`. Raises
        NotFound.
        """
        # One writer at a time: what is read beside it holds until it ends.
        with self._database.write() as rows:
            decision = self.get(decision_id)
            log = self.promotions(decision.scope)
            if log and log[-1].decision_id == decision_id:
                return log[-1]
            if previous_id is None and (current := self.current(decision.scope)) is not None:
                previous_id = current.id
            # A decision that was `auto` already, as the newest, has nothing to go back to.
            previous = previous_id if previous_id != decision_id else None
            told = checked.model_dump() if checked is not None else {}
            change = {"action": "promote", "decision_id": decision_id, "previous_id": previous}
            return self._append(rows, decision.scope, **change, **told)

    def rollback(self, scope: str, *, to: str | None = None) -> Promotion:
        """Go back to what `auto` meant before the last promotion that was not rolled back.

        Raises NotPromotable when there is none, and when it is no longer `to`, for a caller that has prepared for that.
        """
        with self._database.write() as rows:
            back, now = self.before(scope), self.promotions(scope)[-1].decision_id
            if to not in (None, back):
                raise NotPromotable("another promotion came in between; look at the decisions and try again")
            return self._append(rows, scope, action="rollback", decision_id=back, previous_id=now)

    def before(self, scope: str) -> str:
        """The id of the decision that `rollback` would go back to. Raises NotPromotable when there is none."""
        # A promotion goes on the stack, a rollback takes the last one off.
        standing: list[Promotion] = []
        for entry in self.promotions(scope):
            if entry.action == "promote":
                standing.append(entry)
            else:
                standing.pop()
        if not standing or standing[-1].previous_id is None:
            raise NotPromotable("there is nothing to roll back to; promote a decision by its id instead")
        return standing[-1].previous_id

    def _newest(self, *where: sa.ColumnElement[bool]) -> RecordedDecision | None:
        query = sa.select(DECISIONS).where(*where).order_by(DECISIONS.c.sequence.desc()).limit(1)
        with self._database.read() as rows:
            row = rows.execute(query).one_or_none()
        return _decision(row) if row is not None else None

    def _append(self, rows: sa.Connection, scope: str, **change: object) -> Promotion:
        added = PROMOTIONS.insert().values(scope=scope, promoted_at=int(self._clock()), **change)
        return Promotion.model_validate(rows.execute(added.returning(PROMOTIONS)).one())


def record_run(ledger: Ledger, run: Run) -> RecordedDecision:
    """Record the decision that lies beside a run, and keep its report from the next decision's.

    Raises EvalError when none was made yet, and ServingError when it cannot be kept.
    """
    decision = keep_report(run)
    ledger.record(decision)
    return decision


def keep_report(run: Run) -> RecordedDecision:
    """The decision that lies beside a run, its report kept from the next decision's."""
    row, manifest = run.decision(), run.manifest
    decision = RecordedDecision.model_validate(
        {
            **row,
            "created_at": row["decided_at"],
            "run_id": run.id,
            "run_directory": run.directory.resolve(),
            # A run is named by its data and a hash.
            "data": run.id.rpartition("-")[0],
            "data_version": manifest["data_version"],
            "base_model": run.scorecard().provenance.get("model") or manifest["base_revision"],
            "config_fingerprint": manifest["config_fingerprint"],
            "evidence": {key: value for key, value in row.items() if key not in ("policy", "decided_at")},
        }
    )
    latest = run.directory / "report.html"
    if latest.is_file():
        replace_text(decision.own_report, latest.read_text(encoding="utf-8"))
    return decision


def _decision(row: Any) -> RecordedDecision:
    return RecordedDecision.model_validate({**row.card, "evidence": row._mapping.get("evidence", {})})
