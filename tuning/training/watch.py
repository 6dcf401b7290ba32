"""What is done between the steps of a training: progress, checkpoints by the clock, an end when the loss diverges."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from tuning.errors import TuningError
from tuning.training.checkpoints import mark_complete
from tuning.training.progress import TrainProgress

LOSS_WINDOW = 10
"""A loss that is told is the mean of so many steps."""


class Watch(TrainerCallback):  # type: ignore[misc]
    """Reports every step, asks for a checkpoint when the last one is old, and marks a written one as complete."""

    def __init__(
        self,
        *,
        num_tokens: Sequence[int],
        progress: Callable[[TrainProgress], None] | None,
        checkpoint_every_s: float,
        started: float,
    ) -> None:
        self.progress = progress
        self._num_tokens = num_tokens
        self._checkpoint_every_s = checkpoint_every_s
        self._started = started
        self._first_step = 0
        self._begun = self._saved = time.monotonic()

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        self._first_step = state.global_step
        self._begun = self._saved = time.monotonic()

    def on_step_end(self, _args: Any, _state: Any, control: Any, **_: Any) -> None:
        if time.monotonic() - self._saved >= self._checkpoint_every_s:
            control.should_save = True

    def on_save(self, args: Any, state: Any, _control: Any, **_: Any) -> None:
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        mark_complete(checkpoint, time.monotonic() - self._started)
        self._saved = time.monotonic()

    def on_log(self, args: Any, state: Any, _control: Any, logs: dict[str, Any], **_: Any) -> None:
        if "loss" not in logs:
            return  # the summary after the last step
        losses = [entry["loss"] for entry in state.log_history[-LOSS_WINDOW:]]
        if not math.isfinite(losses[-1]):
            raise TuningError(
                f"the loss became {losses[-1]} at step {state.global_step}; lower learning_rate ({args.learning_rate})"
            )
        if self.progress is None:
            return
        step, seconds = state.global_step, time.monotonic() - self._begun
        num_tokens = sum(self._num_tokens[self._first_step : step])
        tokens_per_s = num_tokens / seconds
        num_left = sum(self._num_tokens[step:])
        self.progress(
            TrainProgress(
                step=step,
                num_steps=len(self._num_tokens),
                loss=sum(losses) / len(losses),
                num_tokens=num_tokens,
                tokens_per_s=tokens_per_s,
                seconds_left=num_left / tokens_per_s if step - self._first_step > 1 else None,
            )
        )
