"""`arbiter decisions list | promote | rollback`: the ledger of the data directory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from arbiter.cli.words import JsonOption
from arbiter.console import Console, pad_table
from arbiter.home import data_home, home_database
from storage.errors import ArbiterError

if TYPE_CHECKING:
    from serving.decisions.ledger import Ledger, Promotion, RecordedDecision

decisions_app = typer.Typer(
    name="decisions", help="Decisions that were made: list, promote to `auto`, roll back.", no_args_is_help=True
)

_MOST = 100


@decisions_app.command("list")
def list_decisions(is_json: JsonOption = False) -> None:
    """Every decision, the newest first, and which one `auto` means."""
    from serving.http.pages import Page

    with _ledger() as (ledger, where):
        page = ledger.page(Page(limit=_MOST))
        found = [(decision, _is_auto(ledger, decision)) for decision in reversed(page.rows)]
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
    text = table if found else f"no decisions in {where!r}; make one with: arbiter run CONFIG"
    Console(is_json=is_json).result(text, [{**decision.card(), "is_auto": is_auto} for decision, is_auto in found])


@decisions_app.command("promote")
def promote(
    decision: Annotated[str, typer.Argument(help="The decision's id.")],
    override_by: Annotated[
        str | None, typer.Option(help="Who lets it pass although a gate stands against it; kept in the ledger.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why; goes with --override-by.")] = None,
    is_json: JsonOption = False,
) -> None:
    """Make a decision what `auto` means, unless a gate stands against it; a running server has an endpoint for this."""
    from serving.decisions.promotion import Override, check_gates

    given = [one for one in (override_by, reason) if one is not None]
    if given and (len(given) < 2 or not all(map(str.strip, given))):
        raise ArbiterError("a gate is let pass by name and with a reason; give both --override-by and --reason")
    override = Override(by=override_by, reason=reason) if override_by is not None and reason is not None else None
    with _ledger() as (ledger, _):
        checked = check_gates(ledger.get(decision), override)
        for line in checked.gate_warnings or ():
            Console(is_json=is_json).say(f"warning: {line}")
        _tell(ledger, ledger.promote(decision, checked=checked), is_json)


@decisions_app.command("rollback")
def rollback(
    decision: Annotated[str | None, typer.Argument(help="A decision of the data and model to roll back.")] = None,
    is_json: JsonOption = False,
) -> None:
    """Go back to what `auto` meant before the last promotion."""
    with _ledger() as (ledger, _):
        log = ledger.promotions()
        if decision is None and not log:
            raise ArbiterError(
                "nothing was promoted yet, so there is nothing to go back to; see: arbiter decisions list"
            )
        _tell(ledger, ledger.rollback(ledger.get(decision or log[-1].decision_id).scope), is_json)


@contextlib.contextmanager
def _ledger() -> Iterator[tuple[Ledger, str]]:
    """The ledger, and where it is."""
    from serving.decisions.ledger import Ledger  # brings SQLAlchemy

    with home_database(data_home()) as database:
        yield Ledger(database), database.where


def _is_auto(ledger: Ledger, decision: RecordedDecision) -> bool:
    """A promotion holds for all configs of its data and model; without one each config serves its newest decision."""
    is_promoted = bool(ledger.promotions(decision.scope))
    now = ledger.current(decision.scope) if is_promoted else ledger.newest(decision.config_fingerprint)
    return now is not None and now.id == decision.id


def _tell(ledger: Ledger, promotion: Promotion, is_json: bool) -> None:
    now = ledger.get(promotion.decision_id)
    text = f"auto is {now.arm} by decision {now.id}; a server that runs takes it at its next start"
    Console(is_json=is_json).result(text, {**promotion.model_dump(), "arm": now.arm})
