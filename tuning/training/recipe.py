"""The numbers of one LoRA training, and how far a training is: plain values that cost nothing to import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from storage.settings import NUMBER, Above0, Count, Whole, settings
from tuning.errors import TuningError

# An adapter on these would change the head's logits, which neither TRL's loss nor vLLM's LoRA support.
_NO_TARGETS = ("lm_head", "embed_tokens")


@settings(TuningError)
class LoraRecipe:
    """The numbers of one LoRA training (Hu et al. 2021, arXiv 2106.09685)."""

    rank: Count = 16
    """The rank of a weight's update, which is alpha / rank x B A."""
    alpha: Count = 32
    """Scales the update."""
    dropout: Annotated[float, Field(ge=0, lt=1), NUMBER] = 0.0
    """The share of an update's inputs that is left out at each step."""
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
    target_modules: Literal["all-linear"] | Annotated[tuple[str, ...], Field(min_length=1)] = "all-linear"
    """The layers that are updated, by name such as q_proj."""

    def __post_init__(self) -> None:
        if set(_NO_TARGETS) & set(self.target_modules):
            raise ValueError(f"target_modules must be without {' and '.join(_NO_TARGETS)}, not {self.target_modules!r}")


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """Where a training stands, after every step. All of it is measured in this process."""

    step: int
    num_steps: int
    loss: float
    """Mean loss per completion token over the last ten steps."""
    tokens_per_s: float
    """Tokens of prompts and completions, padding aside."""
    seconds_left: float | None
    """None until two steps have been timed: the first one is slower than the rest."""
