"""What a training is told: the numbers that every one has, and its method and its objective as values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from storage.settings import NUMBER, Above0, Count, Share, Whole, settings
from tuning.data.rows import TrainingRow
from tuning.errors import TuningError

if TYPE_CHECKING:
    import torch

IGNORED = -100
"""Label of a token without loss: the `ignore_index` of torch's cross entropy."""


@settings(TuningError)
class Recipe:
    """What a method's recipe begins with; it adds the method's name and own numbers."""

    method: str = ""
    """What moves: lora."""
    learning_rate: Annotated[float, Field(gt=0, le=1), NUMBER] = 1e-3
    """The highest: it rises over `warmup_fraction` of the steps and falls linearly to 0."""
    epochs: Above0 = 2.0
    """Passes over the rows; may be a fraction."""
    batch_size: Count = 4
    """Rows a step."""
    max_length: Annotated[int, Field(ge=8), NUMBER] = 1024
    """Rows of more tokens are left out and counted."""
    warmup_fraction: Annotated[float, Field(ge=0, lt=1), NUMBER] = 0.1
    """The share of the steps over which the learning rate rises."""
    seed: Whole = 0
    """Of the first weights and the order of the rows."""
    passages: Whole = 0
    """0 trains closed-book; n trains RAFT, each question with n passages."""
    golden_fraction: Share = 0.8
    """The share of RAFT's rows that have the golden passage among theirs."""


@dataclass(frozen=True, slots=True)
class Method:
    """What moves in a training.

    `recipe` holds its numbers. `prepare(model, recipe)` gives the model with its trained weights in place, drawn from
    torch's generator; raises TuningError where the recipe does not fit the model.
    """

    name: str
    recipe: type[Recipe]
    prepare: Callable[[Any, Any], Any]


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
