"""Recorded decisions of one scope, and an opener that serves them through a scripted engine."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from fakes.endpoints import make_served

from router.answering.arm import Arm
from router.answering.engine import HttpEngine
from serving.decisions.ledger import RecordedDecision
from serving.errors import NotPromotable
from serving.http.served import Served


def make_decision(arm: str = "hybrid", **changes: Any) -> RecordedDecision:
    decision = RecordedDecision(
        run_id="desk-1a2b3c-00000001",
        run_directory=Path("/runs/desk-1a2b3c-00000001"),
        data="desk-1a2b3c",
        base_model="org/base r1",
        data_version="d1",
        config_fingerprint="c1",
        arm=arm,
        verdict="winner",
        confidence=0.975,
        margin=0.2,
        runner_up="rag",
        reason="it leads by 0.20",
        policy={"margin": 0.05},
        created_at=1_700_000_000,
        evidence={"arm": arm, "cost_per_1k": {arm: 0.1}},
    )
    return decision.model_copy(update=changes)


class FakeOpener:
    """`stale` maps decision ids to why they are stale, `gone` to why they cannot be opened, `adapters` to the adapter
    of their arm `hybrid`. `loaded` is what the engine would have, `kept` the arms whose engines it was told to keep.
    """

    def __init__(self, engine: HttpEngine) -> None:
        self.engine = engine
        self.stale: dict[str, str] = {}
        self.gone: dict[str, str] = {}
        self.adapters: dict[str, str] = {}
        self.loaded: set[str] = set()
        self.kept: list[str] = []
        self.unload_fault: Exception | None = None
        self.num_looked = 0

    def stale_reason(self, decision: RecordedDecision) -> str | None:
        self.num_looked += 1
        return self.stale.get(decision.id)

    def open(self, decision: RecordedDecision) -> Served:
        if reason := self.gone.get(decision.id):
            raise NotPromotable(reason)
        served = make_served(self.engine, arm=decision.arm, decision_id=decision.id, report=decision.report)
        adapter = self.adapters.get(decision.id, "raft@1")
        self.loaded.add(adapter)
        return replace(served, arms={**served.arms, "hybrid": replace(served.arms["hybrid"], adapter=adapter)})

    def keep(self, arm: Arm) -> None:
        self.kept.append(arm.name)

    def unload_except(self, adapters: Collection[str]) -> None:
        if self.unload_fault is not None:
            raise self.unload_fault
        self.loaded &= set(adapters)
