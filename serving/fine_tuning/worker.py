"""The process that checks a job's files, or trains: `python -m serving.fine_tuning.worker check|train FOLDER FD`.

It tells what it does on the connection FD, one dictionary a message with its `kind`, and ends when nobody listens any
more: a server that was killed leaves no training behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from serving.fine_tuning.checking import num_in_both, rows_of
from serving.fine_tuning.recipes import read_recipe, settle
from serving.fine_tuning.results import as_metrics
from serving.fine_tuning.task import Part, Task, file_path, keep_step, read_rows, write_rows
from storage.errors import ArbiterError
from storage.files import hold_lock, refuse_full_disk
from tuning.data.examples import sample
from tuning.data.rows import PairRow
from tuning.errors import TuningError
from tuning.objectives.registry import OBJECTIVES
from tuning.recipe import CheckRows
from tuning.training.obstacles import obstacles
from tuning.training.progress import Forecast, TrainProgress
from tuning.training.run import train_adapter

Say = Callable[[dict[str, Any]], None]

# Chats come first on a machine that serves, too.
_NICENESS = 5


class Unfit(Exception):
    """The job cannot be trained: `code` and `param` as in OpenAI's error."""

    def __init__(self, message: str, *, code: str, param: str | None) -> None:
        super().__init__(message)
        self.code, self.param = code, param


def check(task: Task, folder: Path, say: Say) -> None:
    """Read the job's files, keep their rows, and settle the numbers that follow from them."""
    notes: list[str] = []
    rows = {part: _checked(part, file_path(folder, part, name), task, notes) for part, name in task.files.items()}
    training, validation = rows["training_file"], rows.get("validation_file", [])
    asked = read_recipe(task.recipe)
    num_looked_at = min(len(validation), asked.look_rows)
    try:
        recipe = settle(
            asked,
            len(training),
            num_looked_at=num_looked_at if task.spreads_looks else 0,
            adapters_dir=Path(task.adapters),
            rate_factor=task.rate_factor,
            max_rank=task.max_rank,
        )
        reasons = obstacles({"": recipe}, task.base, Path(task.adapters))
    except TuningError as error:
        reasons = {"": str(error)}
    if reasons:
        raise Unfit(f"it cannot be trained: {reasons['']}", code="invalid_hyperparameters", param="arbiter")
    if recipe.has_looks and len({str(row.prompt) for row in validation if isinstance(row, PairRow)}) == 1:
        words = f"{task.files['validation_file']}: its pairs answer one prompt; keep and patience need two at least"
        raise Unfit(words, code="invalid_validation_file", param="validation_file")
    if both := num_in_both(training, validation):
        notes.append(f"{both} of the {len(validation)} rows to look at it with are learned, too")
    if num_looked_at < len(validation):
        notes.append(f"{num_looked_at} of the {len(validation)} rows to look at it with are taken (arbiter.look_rows)")
    if recipe.look_every != asked.look_every:
        every = f"the training is looked at every {recipe.look_every:.3g} epochs"
        notes.append(f"{every}, so that no more rows are looked at than learned (arbiter.look_every)")
    for part, found in rows.items():
        write_rows(folder, part, found)
    say(
        {
            "kind": "checked",
            "recipe": asdict(recipe),
            "num_rows": len(training),
            "num_validation_rows": len(validation),
            "notes": notes,
        }
    )


def train(task: Task, folder: Path, say: Say) -> None:
    """Train on the rows that were kept, from the last checkpoint if there is one, and publish the adapter."""
    recipe = read_recipe(task.recipe)
    objective = OBJECTIVES[recipe.objective.name]
    looked_at = sample(read_rows(folder, "validation_file", objective.row), recipe.look_rows, recipe.seed)
    begun: list[bool] = []
    told: set[int] = set()

    def progress(now: TrainProgress) -> None:
        new = [look for look in now.looks if look.step not in told]
        told.update(look.step for look in new)
        step = {
            "kind": "step",
            "step": now.step,
            "num_steps": now.num_steps,
            "train_loss": now.step_loss,
            "num_tokens": now.num_tokens,
            "seconds_left": now.seconds_left,
            "looks": [as_metrics(look, recipe.objective.name) for look in new],
            "checkpoint": now.checkpoint,
        }
        # Before a checkpoint from which it would not be gone through again.
        keep_step(folder, step)
        say(step)

    def foretold(found: Forecast) -> None:
        say({"kind": "forecast", "seconds": found.seconds, "memory_bytes": found.memory_bytes})

    adapter = train_adapter(
        base=task.base,
        rows=read_rows(folder, "training_file", objective.row),
        recipe=recipe,
        name=task.name,
        adapters_dir=Path(task.adapters),
        work_dir=folder / "training",
        provenance=task.provenance,
        progress=progress,
        dev=CheckRows(looked_at) if looked_at else None,
        starting=lambda: begun.append(True),
        foretold=foretold,
    )
    say({"kind": "trained", "adapter": adapter.name, "was_there": not begun})


def main() -> None:
    """One stage of one job."""
    stage, name, descriptor = sys.argv[1:]
    folder, work = Path(name), {"check": check, "train": train}[stage]
    # An interrupt at the terminal is for the server, which then ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _give_way()
    with Connection(int(descriptor)) as channel:
        threading.Thread(target=_end_with, args=(channel,), daemon=True).start()
        try:
            # Of a server that was killed, the process may still be about to end.
            with refuse_full_disk(folder), hold_lock(folder / "lock"):
                work(Task.read(folder), folder, channel.send)
        except Unfit as error:
            channel.send({"kind": "failed", "message": str(error), "code": error.code, "param": error.param})
        except ArbiterError as error:
            channel.send({"kind": "failed", "message": str(error), "code": f"{stage}_failed", "param": None})


def _checked(part: Part, path: Path, task: Task, notes: list[str]) -> Any:
    try:
        return rows_of(path, task, notes)
    except ArbiterError as error:
        raise Unfit(str(error), code=f"invalid_{part}", param=part) from error


def _give_way() -> None:
    os.nice(_NICENESS)
    with contextlib.suppress(OSError):  # where the kernel shares the machine among sessions
        Path("/proc/self/autogroup").write_text(str(_NICENESS))


def _end_with(channel: Connection) -> None:
    """The other side says nothing: what comes is its end."""
    with contextlib.suppress(EOFError, OSError):
        channel.recv()
    os._exit(1)


if __name__ == "__main__":
    main()
