"""/v1/arbiter/decisions: what was decided, what is promoted, and the way to change what `auto` means.

GET /v1/arbiter/decisions   GET /v1/arbiter/decisions/{id}   GET /v1/arbiter/decisions/{id}/report
POST /v1/arbiter/decisions/{id}/promote   POST /v1/arbiter/decisions/{id}/rollback   POST /v1/arbiter/decisions/rollback
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, Response

from serving.decisions.ledger import Promotion, RecordedDecision
from serving.decisions.promotion import Promoter
from serving.errors import NotFound
from serving.http.pages import list_body, read_page


def decision_routes(promoter: Promoter) -> APIRouter:
    """The routes over the decisions that this server can serve: those of its scope."""
    router = APIRouter()
    ledger, current, opener = promoter.ledger, promoter.current, promoter.opener

    def listed(request: Request, decision: RecordedDecision) -> dict[str, object]:
        return {
            **decision_card(decision),
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
        return {**shown(request, ledger.get(promotion.decision_id)), "promotion": promotion.to_dict()}

    @router.get("/arbiter/decisions")
    def decisions(request: Request) -> dict[str, object]:
        page = read_page(request.query_params, default_order="desc")
        return list_body(ledger.page(page, scope=promoter.scope), lambda decision: listed(request, decision))

    @router.post("/arbiter/decisions/rollback")
    async def rollback(request: Request) -> dict[str, object]:
        return await asyncio.to_thread(changed, request, await promoter.rollback())

    @router.get("/arbiter/decisions/{decision_id}")
    def decision(request: Request, decision_id: str) -> dict[str, object]:
        recorded = found(decision_id)
        history = [p.to_dict() for p in ledger.promotions(promoter.scope) if p.decision_id == decision_id]
        return {**shown(request, recorded), "evidence": dict(recorded.evidence), "promotions": history}

    @router.get("/arbiter/decisions/{decision_id}/report")
    def decision_report(decision_id: str) -> Response:
        report = found(decision_id).report
        if not report.is_file():
            raise NotFound(f"decision {decision_id!r} has no report; make it with: arbiter decide CONFIG")
        return FileResponse(report, media_type="text/html")

    @router.post("/arbiter/decisions/{decision_id}/promote")
    async def promote(request: Request, decision_id: str) -> dict[str, object]:
        return await asyncio.to_thread(changed, request, await promoter.promote(decision_id))

    @router.post("/arbiter/decisions/{decision_id}/rollback")
    async def rollback_one(request: Request, decision_id: str) -> dict[str, object]:
        await asyncio.to_thread(found, decision_id)
        return await asyncio.to_thread(changed, request, await promoter.rollback(decision_id=decision_id))

    return router


def decision_card(decision: RecordedDecision) -> Mapping[str, object]:
    """A decision in its JSON form, without what only a running server knows."""
    return {
        "id": decision.id,
        "object": "decision",
        "created_at": decision.decided_at,
        "run_id": decision.run_id,
        "run_directory": str(decision.run_directory),
        "data": decision.data_name,
        "data_version": decision.data_version,
        "base_model": decision.base_model,
        "config_fingerprint": decision.config_fingerprint,
        "arm": decision.arm,
        "verdict": decision.verdict,
        "confidence": decision.confidence,
        "margin": decision.margin,
        "runner_up": decision.runner_up,
        "reason": decision.reason,
        "policy": dict(decision.policy),
    }
