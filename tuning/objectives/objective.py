"""An objective as a value: `Objective(name=..., encode=..., loss=...)`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuning.data.rows import TrainingRow

if TYPE_CHECKING:
    import torch

IGNORED = -100
"""Label of a token without loss: the `ignore_index` of torch's cross entropy."""


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """Token ids and labels of the same length; a label is the token to learn, or IGNORED."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def num_tokens(self) -> int:
        """Prompt and completion."""
        return len(self.input_ids)


@dataclass(frozen=True, slots=True)
class Objective:
    """What is learned from a row.

    `encode(tokenizer, row)` gives its token ids. `loss(model, inputs, num_tokens)` is summed over the labels of
    `inputs` and divided by `num_tokens`, so that the losses of the parts of a batch add up to the batch's.
    """

    name: str
    encode: Callable[[Any, TrainingRow], EncodedRow]
    loss: Callable[[Any, dict[str, torch.Tensor], Any], torch.Tensor]
