"""What `arbiter decisions list | promote | rollback` do: the ledger of one data directory, from the command line."""

from __future__ import annotations

import time
from pathlib import Path

from arbiter.console import Output, pad_table
from arbiter.home import home_database
from serving.decisions.ledger import Ledger, Promotion, RecordedDecision
from serving.http.pages import Page
from storage.errors import ArbiterError

_MOST = 100


def show_decisions(home: Path) -> Output:
    """The newest decisions of a data directory, and for each whether `auto` means it."""
    with home_database(home) as database:
        ledger, where, page = Ledger(database), database.where, Page(limit=_MOST)
        found = [(decision, _is_auto(ledger, decision)) for decision in reversed(ledger.page(page).rows)]
    if not found:
        return f"no decisions in {where!r}; make one with: arbiter run CONFIG", []
    rows = [
        (
            decision.id,
            "auto" if is_auto else "",
            decision.arm,
            decision.verdict,
            f"{decision.confidence:.2f}",
            decision.run_id,
            time.strftime("%Y-%m-%d %H:%M", time.localtime(decision.created_at)),
        )
        for decision, is_auto in found
    ]
    table = pad_table(("decision", "serves", "arm", "verdict", "confidence", "run", "decided"), rows)
    return table, [{**decision.card(), "is_auto": is_auto} for decision, is_auto in found]


def _is_auto(ledger: Ledger, decision: RecordedDecision) -> bool:
    """A promotion holds for all configs of its data and model; without one each config serves its newest decision."""
    is_promoted = bool(ledger.promotions(decision.scope))
    now = ledger.current(decision.scope) if is_promoted else ledger.newest(decision.config_fingerprint)
    return now is not None and now.id == decision.id


def promote_decision(home: Path, decision_id: str) -> Output:
    """Make a decision what `auto` means. Raises ArbiterError for an unknown one."""
    with home_database(home) as database:
        ledger = Ledger(database)
        return _told(ledger, ledger.promote(decision_id))


def roll_back(home: Path, decision_id: str | None) -> Output:
    """Go back from the last promotion, of that decision's data and model where one is given.

    Raises ArbiterError when there is nothing to go back to.
    """
    with home_database(home) as database:
        ledger = Ledger(database)
        log = ledger.promotions()
        if decision_id is None and not log:
            raise ArbiterError(
                "nothing was promoted yet, so there is nothing to go back to; see: arbiter decisions list"
            )
        scope = ledger.get(decision_id or log[-1].decision_id).scope
        return _told(ledger, ledger.rollback(scope))


def _told(ledger: Ledger, promotion: Promotion) -> Output:
    now = ledger.get(promotion.decision_id)
    text = f"auto is {now.arm} by decision {now.id}; a server that runs takes it at its next start"
    return text, {**promotion.model_dump(), "arm": now.arm}
