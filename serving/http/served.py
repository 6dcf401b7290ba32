"""What an endpoint serves: the arms of one run and the decision among them, models that were tuned while it served, and
the place where a promotion or a new model changes it.

current = CurrentDecision(served)
current.served.arm("auto")
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from rag.search.settings import SearchSettings
from router.answering.answerer import Answerer
from router.answering.arm import Arm
from serving.errors import NotFound

AUTO = "auto"


class ModelCard(BaseModel):
    """A model in OpenAI's shape, with vLLM's `root` and `parent`."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    root: str
    parent: str | None


class ArmCard(BaseModel):
    """An arm: its parts by name, how it samples, and what the scorecard says of it."""

    id: str
    object: Literal["arm"] = "arm"
    name: str
    kind: str
    adapter: str | None
    index: str | None
    prompt: str
    proposers: list[str]
    top_k: int | None
    sampling: dict[str, Any]
    is_decided: bool
    measured: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class TunedModel:
    """What a fine-tuning job made, as an arm that has the model's name; `created` in seconds."""

    arm: Arm
    created: int


@dataclass(frozen=True, slots=True)
class Served:
    """The arms of one run, and the decision among them.

    `measured` holds what the scorecard says of an arm, by the arm's name: JSON values, nothing for an unscored arm.
    `tuned` holds the models of jobs by name, which no run has measured.
    """

    answerer: Answerer
    arms: Mapping[str, Arm]
    decided_arm: str
    decision_id: str
    confidence: float
    base_model: str
    is_ready: Callable[[], bool]
    created: int
    question: str
    """One that the arms have answered before."""

    report: Path | None = None
    measured: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    tuned: Mapping[str, TunedModel] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that is listed as a model."""
        return (AUTO, *self.arms, *self.tuned)

    def arm(self, model: str) -> Arm:
        """The arm of a request's `model`: auto, an arm's name, or `base:adapter` for an adapter without retrieval.

        An adapter of the run is asked as the arm that answers with it is, best one that does not retrieve either: with
        the prompt it was trained with, and the config's sampling.
        """
        if model == AUTO:
            return self.arms[self.decided_arm]
        if model in self.arms:
            return self.arms[model]
        if model in self.tuned:
            return self.tuned[model].arm
        base, _, adapter = model.rpartition(":")
        named = (arm for arm in self.arms.values() if arm.adapter == adapter)
        users = sorted(named, key=lambda arm: (bool(arm.proposers), arm.index or ""))
        if base == self.base_model and users:
            condense = users[0].condense if adapter in self.answerer.topics else "last"
            alone = replace(users[0], name=model, index=None, top_k=0, proposers=())
            return replace(alone, retrieval=SearchSettings(), condense=condense)
        names = ", ".join(self.names)
        raise NotFound(f"no model {model!r}; this server has {names}", param="model", code="model_not_found")

    def model_card(self, name: str) -> ModelCard:
        """One entry of the model list. Raises NotFound for an unknown name."""
        adapter = self.arm(name).adapter
        return ModelCard(
            id=name,
            created=self.tuned[name].created if name in self.tuned else self.created,
            owned_by="arbiter",
            root=adapter or self.base_model,
            parent=self.base_model if adapter else None,
        )

    def arm_card(self, name: str) -> ArmCard:
        """One arm with its parts and what was measured of it. Raises NotFound for an unknown name."""
        arm = self.arms.get(name)
        if arm is None:
            raise NotFound(f"no arm {name!r}; this server has {', '.join(self.arms)}", param="arm")
        return ArmCard(
            id=name,
            name=name,
            kind=arm.kind,
            adapter=arm.adapter,
            index=arm.index,
            prompt=arm.prompt.name,
            proposers=[one.name for one in arm.proposers],
            top_k=arm.top_k if arm.index else None,
            sampling=arm.sampling.options(),
            is_decided=name == self.decided_arm,
            measured=dict(self.measured[name]) if name in self.measured else None,
        )

    def headers(self, arm: Arm) -> dict[str, str]:
        """The response headers that say which arm answered and why."""
        return {
            "x-arbiter-arm": arm.name,
            "x-arbiter-decision": self.decision_id,
            "x-arbiter-confidence": f"{self.confidence:.3f}",
        }


class CurrentDecision:
    """Holds the `Served` that new requests see. Each takes it once and holds it, so one in flight ends as it began.

    Its methods are called on the event loop.
    """

    def __init__(self, served: Served) -> None:
        # The last is what is served now, the others are held by something in flight.
        self._held = [_Held(served)]

    @property
    def served(self) -> Served:
        return self._held[-1].served

    @contextmanager
    def hold(self) -> Iterator[Served]:
        """What is served now; its adapters stay loaded until the block ends."""
        held = self._held[-1]
        held.count += 1
        try:
            yield held.served
        finally:
            held.count -= 1
            self._let_go(held)

    def show(self, served: Served) -> asyncio.Event:
        """From now on new requests see `served`, with the tuned models that there are. The event is set when nothing
        holds what was served before.
        """
        before = self._held[-1]
        self._held.append(_Held(replace(served, tuned=before.served.tuned)))
        self._let_go(before)
        return before.is_free

    def add(self, model: TunedModel) -> None:
        """From now on new requests can name this model, too; its adapter is loaded."""
        served = self.served
        # In place of it: what it serves besides is held as before.
        self._held[-1].served = replace(served, tuned={**served.tuned, model.arm.name: model})

    def drop(self, name: str) -> list[asyncio.Event]:
        """From now on no new request can name this tuned model. The events are set when nothing in flight can be
        answered by it any more.
        """
        before = self._held[-1]
        tuned = {one: model for one, model in before.served.tuned.items() if one != name}
        users = [held.is_free for held in self._held if name in held.served.tuned]
        self._held.append(_Held(replace(before.served, tuned=tuned)))
        self._let_go(before)
        return users

    def adapters(self) -> set[str]:
        """The adapters that something in flight or something to come may be answered by."""
        every = [held.served for held in self._held]
        arms = [arm for served in every for arm in (*served.arms.values(), *(one.arm for one in served.tuned.values()))]
        return {name for arm in arms for name in arm.adapters}

    def _let_go(self, held: _Held) -> None:
        if held.count == 0 and held is not self._held[-1]:
            self._held.remove(held)
            held.is_free.set()


@dataclass(eq=False, slots=True)
class _Held:
    """A `Served`, and how many hold it."""

    served: Served
    count: int = 0
    is_free: asyncio.Event = field(default_factory=asyncio.Event)
