"""The gate before publishing: what is served must answer as what was trained.

parity = check_export(model, open_base, folder, rows, name="pissa")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.errors import TuningError

if TYPE_CHECKING:
    import torch

# Of what training changed, and of the largest logit: float32 adds in another order there.
_OF_EFFECT, _OF_LOGITS = 0.01, 1e-4


@dataclass(frozen=True, slots=True)
class Parity:
    """`largest` is the largest difference between a logit of what is served and of what was trained, in float32, over
    real rows; `effect` the largest that training made to the base model's; `tolerance` what `largest` must not exceed.
    """

    largest: float
    effect: float
    tolerance: float


def check_export(
    trained: Any, open_base: Callable[[], Any], folder: Path, rows: Sequence[Sequence[int]], *, name: str
) -> Parity:
    """Compare on `rows` of token ids. `open_base()` gives the base model afresh, as it was before the training.

    `trained` is float32 and in evaluation mode afterwards. Raises TuningError with the figures where the two differ.
    """
    from peft import PeftModel

    expected = _logits(trained, rows)
    base = open_base()
    before = _logits(base, rows)
    found = _logits(PeftModel.from_pretrained(base, str(folder)), rows)
    largest, effect = _largest(expected, found), _largest(expected, before)
    tolerance = _OF_EFFECT * effect + _OF_LOGITS * max(float(part.abs().max()) for part in before)
    if not largest <= tolerance:
        raise TuningError(
            f"what {name} would serve does not answer as what was trained: logits differ by {largest:.3g}, and "
            f"training moved them by {effect:.3g}; nothing was published, so train with another method"
        )
    return Parity(largest, effect, tolerance)


def _logits(model: Any, rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """(length, vocabulary) of each row."""
    import torch

    model = model.float().eval()
    with torch.no_grad():
        return [model(input_ids=torch.tensor([list(row)]).to(model.device)).logits[0].cpu() for row in rows]


def _largest(first: Sequence[torch.Tensor], second: Sequence[torch.Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True))
