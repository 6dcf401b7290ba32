"""What a person sees while a command works: steps with progress on standard error, results on standard output.

with console.step("embedding") as step:
    step.update(done, total, "812 chunks/s")
"""

from __future__ import annotations

import errno
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from storage.errors import StorageError
from storage.files import hold_lock

# Without a terminal a line every few seconds shows that the work goes on, without filling a log.
PLAIN_EVERY_S = 5.0
_POLL_S = 1.0

# What a command gives: the text for a person, and the same for a program.
Output = tuple[str, Any]


def pad_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns padded for a terminal."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    return "\n".join(line.rstrip() for line in lines)


@dataclass(frozen=True, slots=True)
class Step:
    """One piece of work with progress."""

    show: Callable[[float, float | None, str], None]

    def update(self, done: float, total: float | None, note: str = "") -> None:
        """Show how far the work is; `total` None when that is unknown."""
        self.show(done, total, note)


class Console:
    """Progress and notices go to standard error, so that standard output holds nothing but the result."""

    def __init__(self, *, is_json: bool = False, stderr: TextIO | None = None, stdout: TextIO | None = None) -> None:
        self.is_json = is_json
        self._err = RichConsole(file=stderr or sys.stderr, highlight=False, soft_wrap=True)
        self._out = stdout or sys.stdout

    def say(self, line: str) -> None:
        """A notice."""
        self._err.print(line, markup=False)

    def result(self, text: str, row: Any) -> None:
        """The command's result: `row` as one JSON object with --json, else `text`. Raises StorageError."""
        try:
            if self._out is None:
                raise OSError(errno.EBADF, "it is closed")
            self._out.write((json.dumps(row, allow_nan=False) if self.is_json else text.rstrip("\n")) + "\n")
            self._out.flush()
        except BrokenPipeError:
            raise  # who reads has seen enough
        except OSError as error:
            raise StorageError(
                f"the result cannot be written to standard output: {str(error.strerror).lower()}; send it elsewhere "
                "and run the same command again"
            ) from error

    @contextmanager
    def alone(self, lock: Path, busy: str) -> Iterator[None]:
        """Hold a lock; while another process has it, wait and show `busy`."""
        with ExitStack() as held, ExitStack() as shown:
            for waited in itertools.count():
                try:
                    held.enter_context(hold_lock(lock, busy=BlockingIOError()))
                    break
                except BlockingIOError:
                    if not waited:
                        step = shown.enter_context(self.step(busy))
                    step.update(waited, None)
                    time.sleep(_POLL_S)
            shown.close()
            yield

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show a piece of work from start to end, with the time it took."""
        started = shown = time.monotonic()

        def say_at_times(done: float, total: float | None, note: str) -> None:
            nonlocal shown
            now = time.monotonic()
            if now - shown >= PLAIN_EVERY_S:
                shown = now
                progress = f"{done:g}/{total:g}" if total is not None else f"{now - started:.0f} s"
                self.say(f"  {title} {progress} {note}".rstrip())

        if self._err.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[note]}"),
            )
            with Progress(*columns, console=self._err, transient=True) as bar:
                task = bar.add_task(title, total=None, note="")
                yield Step(lambda done, total, note: bar.update(task, completed=done, total=total, note=note))
        else:
            self.say(f"{title} ...")
            yield Step(say_at_times)
        self.say(f"{title}: {time.monotonic() - started:.1f} s")
