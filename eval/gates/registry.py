"""The gates by name, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Mapping

from eval.gates.bias import BIAS
from eval.gates.canaries import CANARIES
from eval.gates.claims import CLAIMS
from eval.gates.forgetting import FORGETTING
from eval.gates.gate import Gate
from eval.gates.refusal import LOST_REFUSAL, OVER_REFUSAL, REFUSAL

_ALL = (FORGETTING, REFUSAL, LOST_REFUSAL, OVER_REFUSAL, BIAS, CANARIES, CLAIMS)
GATES: Mapping[str, Gate] = {gate.name: gate for gate in _ALL}
