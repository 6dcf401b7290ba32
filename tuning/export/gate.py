"""The gate before publishing: what is served must answer as what was trained.

gate = open_gate(model, rows)
parity = gate.check(open_base, open_exported, name="pissa")
parity = gate.measure(open_base, open_exported)  # for a caller who refuses in words of its own
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuning.errors import TuningError

if TYPE_CHECKING:
    import torch

# Of what training changed, and of the largest logit: float32 adds in another order there.
_OF_EFFECT, _OF_LOGITS = 1e-3, 1e-4


@dataclass(frozen=True, slots=True)
class Parity:
    """`largest` is the largest difference between a logit of what is served and of what was trained, in float32, over
    real rows; `effect` the largest that training made to the base model's; `tolerance` what `largest` must not exceed.
    """

    largest: float
    effect: float
    tolerance: float

    @property
    def is_kept(self) -> bool:
        """Whether what is served answers as what was trained; what is no number does not."""
        return self.largest <= self.tolerance < math.inf


@dataclass(frozen=True, slots=True)
class Gate:
    """The logits of a trained model on `rows` of token ids: taken before the export, which may change the model.

    gate = open_gate(model, rows)
    parity = gate.check(open_base, open_exported, name="pissa")
    """

    rows: Sequence[Sequence[int]]
    expected: Sequence[torch.Tensor]

    def check(self, open_base: Callable[[], Any], open_exported: Callable[[Any], Any], *, name: str) -> Parity:
        """Compare. `open_base()` gives the base model afresh, as it was before the training, and
        `open_exported(base)` the model that is served.

        Raises TuningError with the figures where the two differ.
        """
        parity = self.measure(open_base, open_exported)
        if parity.effect == 0:
            raise TuningError(
                f"training by {name} changed no answer, so there is nothing to serve; raise learning_rate or epochs"
            )
        if not parity.is_kept:
            raise TuningError(
                f"what {name} would serve does not answer as what was trained: logits differ by {parity.largest:.3g}, "
                f"and training moved them by {parity.effect:.3g}; nothing was published: train with other numbers, or "
                "another method"
            )
        return parity

    def measure(
        self, open_base: Callable[[], Any], open_exported: Callable[[Any], Any], *, of_effect: float = _OF_EFFECT
    ) -> Parity:
        """As `check`, without an error; `of_effect` is the share of what training changed that may be lost."""
        base = open_base()
        before = _logits(base, self.rows)
        found = _logits(open_exported(base), self.rows)
        largest, effect = _largest(self.expected, found), _largest(self.expected, before)
        tolerance = of_effect * effect + _OF_LOGITS * max(float(part.abs().max()) for part in before)
        return Parity(largest, effect, tolerance)


def open_gate(trained: Any, rows: Sequence[Sequence[int]]) -> Gate:
    """`trained` is float32 and in evaluation mode afterwards."""
    return Gate(rows, _logits(trained, rows))


def distance(first: Gate, second: Gate) -> float:
    """The largest difference between the logits of two models on the same rows."""
    return _largest(first.expected, second.expected)


def _logits(model: Any, rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """(length, vocabulary) of each row."""
    import torch

    model = model.float().eval()
    with torch.no_grad():
        return [model(input_ids=torch.tensor([list(row)]).to(model.device)).logits[0].cpu() for row in rows]


def _largest(first: Sequence[torch.Tensor], second: Sequence[torch.Tensor]) -> float:
    found = [float((a - b).abs().max()) for a, b in zip(first, second, strict=True)]
    return math.nan if any(map(math.isnan, found)) else max(found)
