"""/v1/arbiter/decisions: what was decided, what is promoted, and the way to change what `auto` means.

GET /v1/arbiter/decisions   GET /v1/arbiter/decisions/{id}   GET /v1/arbiter/decisions/{id}/report
POST /v1/arbiter/decisions/{id}/promote   POST /v1/arbiter/decisions/{id}/rollback   POST /v1/arbiter/decisions/rollback
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import FileResponse, Response

from serving.decisions.ledger import Promotion, RecordedCard, RecordedDecision
from serving.decisions.promotion import Override, Promoter
from serving.errors import NotFound
from serving.http.body import ApiRoute, Fields
from serving.http.errors import refusals, shown_as
from serving.http.pages import ListOf, Page, list_body
from serving.http.routes import surface


class DecisionCard(RecordedCard):
    """A decision as a list shows it."""

    is_current: bool
    report_url: str


class CheckedDecision(DecisionCard):
    """A decision, and whether what it was made from still holds."""

    stale: bool
    stale_reason: str | None


class PromotedDecision(CheckedDecision):
    """What `auto` means now, and the change."""

    promotion: Promotion


class PromoteRequest(Fields):
    """What may be said with a promotion: who lets it pass although a gate stands against it, and why."""

    override: Override | None = None


class WholeDecision(CheckedDecision):
    """A decision with its evidence and its promotions."""

    evidence: dict[str, Any]
    promotions: list[Promotion]


def decision_routes(promoter: Promoter) -> APIRouter:
    """The routes over the decisions that this server can serve: those of its scope."""
    router = surface("/arbiter/decisions", "decisions", route_class=ApiRoute)
    ledger, current, opener = promoter.ledger, promoter.current, promoter.opener

    def listed(request: Request, decision: RecordedDecision) -> dict[str, object]:
        return {
            **decision.card(),
            "is_current": decision.id == current.served.decision_id,
            "report_url": str(request.url_for("decision_report", decision_id=decision.id)),
        }

    def shown(request: Request, decision: RecordedDecision) -> dict[str, object]:
        # Reads the run and looks at the data, which is too much for every row of a list.
        stale = opener.stale_reason(decision)
        return {**listed(request, decision), "stale": stale is not None, "stale_reason": stale}

    def found(decision_id: str) -> RecordedDecision:
        decision = ledger.get(decision_id)
        if decision.scope != promoter.scope:
            raise NotFound(f"no decision {decision_id!r} about {promoter.scope!r}", code="decision_not_found")
        return decision

    def changed(request: Request, promotion: Promotion) -> dict[str, object]:
        return {**shown(request, ledger.get(promotion.decision_id)), "promotion": promotion}

    @router.get("", response_model=ListOf[DecisionCard], responses=refusals(400))
    def decisions(request: Request, page: Annotated[Page, Query()]) -> dict[str, object]:
        """The decisions that this server can serve, the newest first unless told."""
        return list_body(ledger.page(page, scope=promoter.scope), lambda decision: listed(request, decision))

    @router.post("/rollback", response_model=PromotedDecision, responses=refusals(409))
    async def rollback(request: Request) -> dict[str, object]:
        """Go back to what `auto` meant before the last promotion."""
        return await asyncio.to_thread(changed, request, await promoter.rollback())

    @router.get("/{decision_id}", response_model=WholeDecision, responses=refusals(404))
    def decision(request: Request, decision_id: str) -> dict[str, object]:
        """One decision, and whether what it was made from still holds."""
        recorded = found(decision_id)
        history = [p for p in ledger.promotions(promoter.scope) if p.decision_id == decision_id]
        return {**shown(request, recorded), "evidence": recorded.evidence, "promotions": history}

    @router.get(
        "/{decision_id}/report",
        response_class=Response,
        responses=shown_as("text/html", "A page.") | refusals(404),
    )
    def decision_report(decision_id: str) -> Response:
        """Its report, as a page."""
        report = found(decision_id).report
        if not report.is_file():
            raise NotFound(f"decision {decision_id!r} has no report; make it with: arbiter decide CONFIG")
        return FileResponse(report, media_type="text/html")

    @router.post("/{decision_id}/promote", response_model=PromotedDecision, responses=refusals(400, 404, 409, 413))
    async def promote(request: Request, decision_id: str, body: PromoteRequest = PromoteRequest()) -> dict[str, object]:
        """Make it what `auto` means, once its gates let it pass and its arm has answered a question."""
        return await asyncio.to_thread(changed, request, await promoter.promote(decision_id, override=body.override))

    @router.post("/{decision_id}/rollback", response_model=PromotedDecision, responses=refusals(404, 409))
    async def rollback_one(request: Request, decision_id: str) -> dict[str, object]:
        """Go back from it, if it is what `auto` means."""
        await asyncio.to_thread(found, decision_id)
        return await asyncio.to_thread(changed, request, await promoter.rollback(decision_id=decision_id))

    return router
