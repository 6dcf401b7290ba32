"""What an endpoint serves: the arms of one run and the decision among them, and the place where a promotion changes it.

current = CurrentDecision(served)
current.served.arm("auto")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from router.answering.answerer import Answerer
from router.answering.arm import Arm
from serving.errors import NotFound

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Served:
    """The arms of one run, and the decision among them. `api_key` None asks for no key.

    `measured` holds what the scorecard says of an arm, by the arm's name: JSON values, nothing for an unscored arm.
    """

    answerer: Answerer
    arms: Mapping[str, Arm]
    decided_arm: str
    decision_id: str
    confidence: float
    base_model: str
    is_ready: Callable[[], bool]
    created: int
    report: Path | None = None
    api_key: str | None = None
    measured: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    def arm(self, model: str) -> Arm:
        """The arm of a request's `model`: auto, an arm's name, or `base:adapter` for an adapter without retrieval."""
        if model == AUTO:
            return self.arms[self.decided_arm]
        if model in self.arms:
            return self.arms[model]
        base, _, adapter = model.rpartition(":")
        if base == self.base_model and adapter in {arm.adapter for arm in self.arms.values()}:
            return Arm(name=model, adapter=adapter, top_k=0)
        names = ", ".join([AUTO, *self.arms])
        raise NotFound(f"no model {model!r}; this server has {names}", param="model", code="model_not_found")

    def models(self) -> list[dict[str, object]]:
        """OpenAI's model list, with vLLM's `root` and `parent`."""
        return [self.model(name) for name in (AUTO, *self.arms)]

    def model(self, name: str) -> dict[str, object]:
        """One entry of the model list."""
        arm = self.arm(name)
        return {
            "id": name,
            "object": "model",
            "created": self.created,
            "owned_by": "arbiter",
            "root": arm.adapter or self.base_model,
            "parent": self.base_model if arm.adapter else None,
        }

    def arm_card(self, name: str) -> dict[str, object]:
        """One arm with its parts and what was measured of it. Raises NotFound for an unknown name."""
        arm = self.arms.get(name)
        if arm is None:
            raise NotFound(f"no arm {name!r}; this server has {', '.join(self.arms)}", param="arm")
        return {
            "id": arm.name,
            "object": "arm",
            "name": arm.name,
            "kind": arm.kind,
            "adapter": arm.adapter,
            "index": arm.index,
            "prompt": arm.prompt.name,
            "top_k": arm.top_k if arm.index else None,
            "sampling": arm.sampling.options(),
            "is_decided": name == self.decided_arm,
            "measured": dict(self.measured[name]) if name in self.measured else None,
        }

    def headers(self, arm: Arm) -> dict[str, str]:
        """The response headers that say which arm answered and why."""
        return {
            "x-arbiter-arm": arm.name,
            "x-arbiter-decision": self.decision_id,
            "x-arbiter-confidence": f"{self.confidence:.3f}",
        }


class CurrentDecision:
    """Holds the `Served` that new requests see. Each request takes it once, so one in flight ends as it began."""

    def __init__(self, served: Served) -> None:
        self._served = served

    @property
    def served(self) -> Served:
        return self._served

    def show(self, served: Served) -> None:
        """From now on new requests see `served`."""
        self._served = served
