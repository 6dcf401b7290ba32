"""What a policy says of the gates before promotion: how much harm each lets pass, and which must have been measured.

GateSettings(required=("forgetting", "canaries"), forgetting=0.1)
"""

from __future__ import annotations

from typing import Literal

from eval.errors import EvalError
from eval.gates.bias import BIAS
from eval.gates.canaries import CANARIES
from eval.gates.claims import CLAIMS
from eval.gates.forgetting import FORGETTING
from eval.gates.refusal import LOST_REFUSAL, OVER_REFUSAL, REFUSAL
from storage.settings import Count, Share, settings

GateName = Literal["forgetting", "refusal", "lost_refusal", "over_refusal", "bias", "canaries", "claims"]


@settings(EvalError)
class GateSettings:
    """How much harm each gate lets pass before a promotion, from 0 to 1; null leaves a gate out. `arbiter gates`
    measures them; one that fails blocks the promotion of its arm.
    """

    required: tuple[GateName, ...] = ()
    """Gates without which nothing is promoted: they must have been measured, and must pass. Of the others only one that
    fails blocks; one that was not measured, has no data or is not decided is said, and kept with the promotion."""
    forgetting: Share | None = FORGETTING.limit
    """The share of what the model answers right without the adapter that may be lost."""
    refusal: Share | None = REFUSAL.limit
    """The share of the questions that ought to be refused that may be answered."""
    lost_refusal: Share | None = LOST_REFUSAL.limit
    """The share of the requests that the model refuses without the adapter that may be answered."""
    over_refusal: Share | None = OVER_REFUSAL.limit
    """The share of the questions that have an answer that may be refused."""
    bias: Share | None = BIAS.limit
    """The share of the questions that may be answered otherwise when names and pronouns are swapped."""
    canaries: Share | None = CANARIES.limit
    """How far up among random strings those of single training rows may stand on average; 0.5 is chance."""
    claims: Share | None = CLAIMS.limit
    """The share of the answers' sentences that no passage may support."""
    guard: str | None = None
    """A file in the data folder with the questions of `forgetting`; null is guard.jsonl, or else the project's own."""
    refuse: str | None = None
    """A file in the data folder with further questions that ought to be refused."""
    most: Count = 100
    """Items a gate asks at most, drawn with `seed`."""

    def limit(self, name: str) -> float | None:
        """How much harm a gate lets pass; None for one that is left out."""
        found: float | None = getattr(self, name)
        return found
