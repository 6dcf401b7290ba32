"""Promotion and rollback on a running server: check, load, ask a smoke question, write the ledger, flip `auto`; and the
check of the gates, which the command line makes too.

promoter = Promoter(current, ledger, opener, scope=decision.scope)
await promoter.promote("dec_3f9c12ab00112233")
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Protocol

from pydantic import StringConstraints

from eval.errors import EvalError
from eval.gates.results import gate_settings, judge_arm, obstacles, warnings
from router.answering.arm import Arm
from router.answering.prompts import Message
from router.errors import EngineUnavailable, RouterError
from serving.decisions.ledger import GateCheck, Ledger, Promotion, RecordedDecision
from serving.errors import NotPromotable
from serving.http.body import Fields
from serving.http.served import AUTO, CurrentDecision, Served
from storage.errors import ArbiterError

_log = logging.getLogger("arbiter.decisions")


class Opener(Protocol):
    """Turns a decision into something that answers."""

    def stale_reason(self, decision: RecordedDecision) -> str | None:
        """Why the decision's measurements no longer hold, in one line; None when they do."""
        ...

    def open(self, decision: RecordedDecision) -> Served:
        """The arms of the decision's run with their indexes open and adapters loaded; engines that these have of their
        own are started by the first request.

        Raises NotPromotable, and EngineUnavailable.
        """
        ...

    def keep(self, arm: Arm) -> None:
        """From now on the engine of this arm is ended for no other's, if its adapter has one of its own."""
        ...

    def unload_except(self, adapters: Collection[str]) -> None:
        """Take every adapter out of the engine that `open` brought there and that is not among these."""
        ...


class Override(Fields):
    """Who lets a decision pass that a gate stands against, and why."""

    by: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


def check_gates(decision: RecordedDecision, override: Override | None = None) -> GateCheck:
    """What the gates of the decision's own policy say of its arm, to be kept with its promotion.

    Raises NotPromotable where one stands against it, unless a person lets it pass.
    """
    try:
        settings, alpha = gate_settings(decision.policy)
        results = judge_arm(decision.run_directory, decision.arm, settings, alpha=alpha)
    except EvalError as error:
        raise NotPromotable(str(error)) from error
    against, open_ = obstacles(results), warnings(results) or None
    if not against:
        return GateCheck(gate_warnings=open_)
    if override is None:
        raise NotPromotable(
            f"decision {decision.id!r} is not promoted: {'; '.join(against)}; a person may let it pass by name and "
            f"with a reason: arbiter decisions promote {decision.id} --override-by NAME --reason TEXT",
            code="gate_failed",
        )
    return GateCheck(
        overridden_by=override.by, override_reason=override.reason, overridden=against, gate_warnings=open_
    )


@contextmanager
def _smoke(arm: Arm) -> Iterator[None]:
    """What an arm's answer to the smoke question is asked for in."""
    try:
        yield
    except EngineUnavailable:
        raise
    except RouterError as error:
        raise NotPromotable(f"arm {arm.name!r} cannot answer a smoke question: {error}") from error


@dataclass
class Promoter:
    """Changes what `auto` means, one change at a time.

    What stays true: the ledger is written before new requests see the change, and nothing is written unless the arm has
    just answered. Requests in flight end with the arm they began with; when the last of them has ended, the adapters
    that no served arm needs leave the engine.
    """

    current: CurrentDecision
    ledger: Ledger
    opener: Opener
    scope: str
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _unloading: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    async def promote(self, decision_id: str, *, override: Override | None = None) -> Promotion:
        """Make a decision what `auto` means, by `override` although a gate stands against it.

        Raises NotFound, NotPromotable with the reason, and EngineUnavailable; `auto` then means what it did.
        """
        async with self._lock:
            decision = await asyncio.to_thread(self.ledger.get, decision_id)
            if decision.scope != self.scope:
                raise NotPromotable(
                    f"decision {decision_id!r} is about {decision.scope!r}, and this server has {self.scope!r}; "
                    "serve its own config"
                )
            if (stale := await asyncio.to_thread(self.opener.stale_reason, decision)) is not None:
                raise NotPromotable(f"decision {decision_id!r} is stale: {stale}")
            checked = await asyncio.to_thread(check_gates, decision, override)
            for line in checked.gate_warnings or ():
                _log.warning("decision=%s %s", decision_id, line)
            previous = self.current.served.decision_id
            write = partial(self.ledger.promote, decision_id, previous_id=previous, checked=checked)
            return await self._change(decision, write)

    async def rollback(self, *, decision_id: str | None = None) -> Promotion:
        """Go back to what `auto` meant before the last promotion, stale or not: it is the way out of a bad one.

        With a `decision_id` only if that is what `auto` means now. Raises as `promote` does.
        """
        async with self._lock:
            now = self.current.served.decision_id
            if decision_id not in (None, now):
                raise NotPromotable(f"decision {decision_id!r} is not what {AUTO} means; that is {now!r}")
            back = await asyncio.to_thread(self.ledger.before, self.scope)
            decision = await asyncio.to_thread(self.ledger.get, back)
            return await self._change(decision, partial(self.ledger.rollback, self.scope, to=back))

    async def _change(self, decision: RecordedDecision, write: Callable[[], Promotion]) -> Promotion:
        served = await asyncio.to_thread(self.opener.open, decision)
        arm = served.arm(AUTO)
        question: list[Message] = [{"role": "user", "content": served.question}]
        with _smoke(arm):
            # Before an engine is held: proposers may need their own.
            proposals = await served.answerer.propose(arm, question) if arm.proposers else ()
            if failed := [f"proposer {one.arm!r}: {one.error}" for one in proposals if one.error is not None]:
                raise RouterError("; ".join(failed))
        # Its engine is not ended for another's before it is what `auto` means.
        async with served.answerer.hold(arm):
            with _smoke(arm):
                prepared = await served.answerer.prepare(arm, question, proposals=proposals)
                await served.answerer.answer(prepared)
            promotion = await asyncio.to_thread(write)
            self.opener.keep(arm)
            is_free = self.current.show(served)
        _log.info("%s decision=%s arm=%s", promotion.action, served.decision_id, served.decided_arm)
        task = asyncio.create_task(self._unload_after(is_free))
        self._unloading.add(task)
        task.add_done_callback(self._unloading.discard)
        return promotion

    async def _unload_after(self, is_free: asyncio.Event) -> None:
        await is_free.wait()
        # A promotion that is under way may be loading what would be unloaded.
        async with self._lock:
            try:
                await asyncio.to_thread(self.opener.unload_except, self.current.adapters())
            except ArbiterError as error:
                _log.warning("adapters stay loaded until the next promotion: %s", error)
