"""What a training's process says, as rows: `Progress(store, job, model).note(messages)`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serving.fine_tuning.process import Message
from serving.fine_tuning.store import Checkpoint, Event, Job, JobStore

# A training keeps so many on the disk.
_KEPT = 2


class Progress:
    """Every step is told once: one that is gone through again, after a stop, gives the same numbers."""

    def __init__(self, store: JobStore, job: Job, model: str) -> None:
        """`model` is what the trained model will be called, as far as that is known."""
        self._store = store
        self._job_id = job.id
        self._model = model
        self._step = int(job.step)
        self._checkpoints = list(store.resumable(job.id))
        self._metrics: dict[int, dict[str, Any]] = {}

    def note(self, messages: Sequence[Message]) -> None:
        """Keep what was said, in one transaction. Raises StorageError, and then nothing was kept."""
        events: list[Event] = []
        values: dict[str, Any] = {}
        step, checkpoints, now = self._step, self._checkpoints, self._store.clock()
        for message in messages:
            seconds_left = None
            match message["kind"]:
                case "forecast":
                    seconds_left = message["seconds"]
                    events.append(Event(_forecast(message)))
                case "step":
                    seconds_left, told = message["seconds_left"], message["step"]
                    looks = {one["step"]: one for one in message["looks"]}
                    measured = {"step": told, "train_loss": message["train_loss"]}
                    # A checkpoint may come after a stop, of a step that was told before it.
                    self._metrics[told] = {**measured, **self._metrics.get(told, {}), **looks.get(told, {})}
                    if told > step:
                        step = told
                        events.append(_step(message, self._metrics[step]))
                    saved = message["checkpoint"]
                    if saved > (checkpoints[-1].step if checkpoints else 0):
                        name = f"{self._model}:step-{saved}"
                        metrics = self._metrics.get(saved, {"step": saved})
                        checkpoints = [*checkpoints, Checkpoint(saved, name, metrics)][-_KEPT:]
                        events.append(Event(f"checkpoint after step {saved}"))
            if seconds_left is not None:
                values["estimated_finish"] = round(now + seconds_left)
        if step > self._step:
            values |= {"step": step, "attempts": 0}
        is_new = checkpoints is not self._checkpoints
        self._store.change(
            self._job_id, ("running",), events=events, checkpoints=checkpoints if is_new else None, **values
        )
        self._step, self._checkpoints = step, checkpoints


def _step(message: Message, metrics: dict[str, Any]) -> Event:
    said = f"step {message['step']}/{message['num_steps']}: training loss {message['train_loss']:.4f}"
    if metrics.get("valid_loss") is not None:
        said += f", validation loss {metrics['valid_loss']:.4f}"
    return Event(
        said, metrics={**metrics, "total_steps": message["num_steps"], "trained_tokens": message["num_tokens"]}
    )


def _forecast(message: Message) -> str:
    seconds = message["seconds"]
    time = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    return f"the training will take about {time} and {message['memory_bytes'] / 1e9:.1f} GB of memory"
