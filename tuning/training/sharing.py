"""Whether a model lets the rows of a batch share the tokens with which they begin: `agrees(...)`, tried before the
first step, because a library may take keys and values from outside and answer otherwise, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from tuning.objectives.objective import IGNORED, Batch, EncodedRow

# Of the norm of all gradients; bfloat16 rounds products of another shape in another way.
_TOLERANCE, _BF16_TOLERANCE = 1e-4, 3e-2
_REFUSALS = (ValueError, TypeError, AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError)


def num_shared(rows: Sequence[EncodedRow]) -> int:
    """With how many tokens all of several rows begin, up to the last before the first answer."""
    if len(rows) < 2:
        return 0
    most = min(next(place for place, label in enumerate(row.labels) if label != IGNORED) for row in rows) - 1
    # What the first and the last in order begin with, all between them do.
    first, last = min(row.input_ids for row in rows), max(row.input_ids for row in rows)
    return next((place for place in range(most) if first[place] != last[place]), max(most, 0))


def agrees(
    plain: Callable[[Batch], torch.Tensor],
    shared: Callable[[Batch], torch.Tensor],
    parameters: Sequence[Any],
    batch: Batch,
    *,
    is_bf16: bool,
) -> bool:
    """Whether two losses of a batch, and their gradients, are the same but for rounding. Leaves no gradients behind."""
    tolerance = _BF16_TOLERANCE if is_bf16 else _TOLERANCE
    expected, gradients = _loss_and_gradients(plain, parameters, batch)
    try:
        found, others = _loss_and_gradients(shared, parameters, batch)
    except torch.OutOfMemoryError:
        raise
    except _REFUSALS:
        return False
    if abs(found - expected) > tolerance * max(abs(expected), 1.0):
        return False
    away, norm = 0.0, 0.0
    for one, other in zip(gradients, others, strict=True):
        if (one is None) != (other is None):
            return False
        if one is not None and other is not None:
            away += float((one.float() - other.float()).square().sum())
            norm += float(one.float().square().sum())
    return bool(away**0.5 <= tolerance * norm**0.5)


def _loss_and_gradients(
    loss_of: Callable[[Batch], torch.Tensor], parameters: Sequence[Any], batch: Batch
) -> tuple[float, tuple[torch.Tensor | None, ...]]:
    loss = loss_of(batch)
    return float(loss.detach()), torch.autograd.grad(loss, parameters, allow_unused=True)
