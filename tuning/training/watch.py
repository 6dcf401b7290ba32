"""What is done between the steps: progress is told, looks are taken, checkpoints are written, a broken loss ends it."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from storage.folders import is_complete, read_manifest, write_manifest
from tuning.errors import TuningError
from tuning.training.looks import Looks
from tuning.training.progress import TrainProgress

# A loss that is told is the mean of so many steps.
LOSS_WINDOW = 10
# Whole models take seconds to write: this many times as long passes between two checkpoints at least.
_CHECKPOINT_SHARE = 20


@dataclass(kw_only=True, eq=False)
class Watch(TrainerCallback):  # type: ignore[misc]
    """Reports every step, takes looks, asks for a checkpoint after one and when the last is old, and marks those that
    were written as complete.
    """

    num_tokens: Sequence[int]
    """Of each step."""
    progress: Callable[[TrainProgress], None]
    checkpoint_every_s: float
    started: float
    """The `time.monotonic()` from which a checkpoint's seconds count."""
    packages: Mapping[str, str]
    """The installed versions, which a checkpoint holds."""
    learning_rate: float
    """As the recipe has it."""
    looks: Looks | None = None
    on_step: Callable[[int], None] | None = None
    """What the method does after every step, counted from 0, while its gradients are there."""

    def on_optimizer_step(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        if self.on_step is not None:
            self.on_step(state.global_step)

    def on_train_begin(self, _args: Any, state: Any, _control: Any, model: Any = None, **_: Any) -> None:
        self._first_step = self._checkpoint = state.global_step
        self._looking_s = 0.0
        if state.global_step == 0:
            self._look(0, model)
        self._begun = self._saved = self._stepped = time.monotonic()
        self._saving_s = 0.0

    def on_step_end(self, _args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        if self._look(state.global_step, model):
            control.should_save = True
            control.should_training_stop |= bool(self.looks and self.looks.ended)
        self._stepped = time.monotonic()
        pause_s = self.checkpoint_every_s
        if pause_s > 0:
            pause_s = max(pause_s, _CHECKPOINT_SHARE * self._saving_s)
        control.should_save |= self._stepped - self._saved >= pause_s

    def on_save(self, args: Any, state: Any, _control: Any, **_: Any) -> None:
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        elapsed_s = time.monotonic() - self.started
        manifest: dict[str, object] = {"elapsed_s": elapsed_s, "packages": dict(self.packages)}
        if self.looks is not None:
            if self.looks.taken[-1].step == state.global_step:
                self.looks.keep(checkpoint)
            manifest["looks"] = self.looks.stored()
        write_manifest(checkpoint, manifest)
        if self.looks is not None:
            self.looks.prune()
        self._checkpoint = state.global_step
        self._saved = time.monotonic()
        self._saving_s = self._saved - self._stepped

    def on_log(self, _args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        if "loss" not in logs:
            return  # the summary after the last step
        losses = [entry["loss"] for entry in state.log_history[-LOSS_WINDOW:]]
        if not math.isfinite(losses[-1]):
            said = f"the loss became {losses[-1]} at step {state.global_step}"
            if self.looks is None or not self.looks.can_publish():
                raise TuningError(f"{said}; lower learning_rate ({self.learning_rate:.3g})")
            self.looks.ended = said
            control.should_training_stop, control.should_save = True, False
            return
        step, seconds = state.global_step, time.monotonic() - self._begun - self._looking_s
        tokens_per_s = sum(self.num_tokens[self._first_step : step]) / seconds
        num_left = sum(self.num_tokens[step:])
        self.progress(
            TrainProgress(
                step=step,
                num_steps=len(self.num_tokens),
                loss=sum(losses) / len(losses),
                step_loss=losses[-1],
                num_tokens=sum(self.num_tokens[:step]),
                tokens_per_s=tokens_per_s,
                seconds_left=num_left / tokens_per_s if step - self._first_step > 1 else None,
                looks=tuple(self.looks.taken) if self.looks is not None else (),
                checkpoint=self._checkpoint,
            )
        )

    def _look(self, step: int, model: Any) -> bool:
        """Whether a look was due, and taken."""
        if self.looks is None or not self.looks.is_due(step):
            return False
        began = time.monotonic()
        self.looks.take(step, model)
        self._looking_s += time.monotonic() - began
        return True


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint: how many steps were done, the seconds spent and the looks taken, if there were any."""

    path: Path
    step: int
    elapsed_s: float
    looks: dict[str, Any] | None


def last_checkpoint(folder: Path, packages: Mapping[str, str]) -> Checkpoint | None:
    """The newest complete checkpoint of these package versions; others are removed."""
    usable: dict[int, Checkpoint] = {}
    for path in folder.glob("checkpoint-*"):
        manifest = read_manifest(path) if is_complete(path) else {}
        if manifest.get("packages") == packages:
            step = int(path.name.rpartition("-")[2])
            usable[step] = Checkpoint(path, step, float(manifest["elapsed_s"]), manifest.get("looks"))
        else:
            shutil.rmtree(path)
    return usable[max(usable)] if usable else None
