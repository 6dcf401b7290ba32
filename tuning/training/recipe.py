"""The numbers of one LoRA training, and how far a training is: plain values that cost nothing to import."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tuning.errors import TuningError

# An adapter on these would change the head's logits, which neither TRL's loss nor vLLM's LoRA support.
_NO_TARGETS = ("lm_head", "embed_tokens")


@dataclass(frozen=True, slots=True)
class LoraRecipe:
    """The numbers of one LoRA training (Hu et al. 2021, arXiv 2106.09685); raises TuningError naming every bad one.

    The update of a weight is alpha / rank x B A. `epochs` may be a fraction; the learning rate rises over
    `warmup_fraction` of the steps and falls linearly to 0. Rows over `max_length` tokens are left out and counted.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    learning_rate: float = 1e-3
    epochs: float = 1
    batch_size: int = 8
    max_length: int = 1024
    warmup_fraction: float = 0.1
    seed: int = 0
    target_modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"

    def __post_init__(self) -> None:
        checks = {
            f"rank {self.rank!r} must be at least 1": self.rank >= 1,
            f"alpha {self.alpha!r} must be at least 1": self.alpha >= 1,
            f"dropout {self.dropout!r} must be at least 0 and below 1": 0 <= self.dropout < 1,
            f"learning_rate {self.learning_rate!r} must be above 0 and at most 1": 0 < self.learning_rate <= 1,
            f"epochs {self.epochs!r} must be above 0": 0 < self.epochs < math.inf,
            f"batch_size {self.batch_size!r} must be at least 1": self.batch_size >= 1,
            f"max_length {self.max_length!r} must be at least 8 tokens": self.max_length >= 8,
            f"warmup_fraction {self.warmup_fraction!r} must be at least 0 and below 1": 0 <= self.warmup_fraction < 1,
            f"seed {self.seed!r} must be at least 0": self.seed >= 0,
            f"target_modules {self.target_modules!r} must be 'all-linear' or names such as ('q_proj', 'v_proj'), "
            f"without {' and '.join(_NO_TARGETS)}": self.target_modules == "all-linear"
            or (
                isinstance(self.target_modules, tuple)
                and bool(self.target_modules)
                and not set(_NO_TARGETS) & set(self.target_modules)
            ),
        }
        faults = [fault for fault, is_right in checks.items() if not is_right]
        if faults:
            raise TuningError(f"recipe: {'; '.join(faults)}")


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
