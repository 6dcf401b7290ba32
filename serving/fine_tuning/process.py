"""A training's process as its server sees it: started, listened to, ended.

with start_process("train", folder) as process:
    while (message := process.hear(0.2)) is not ENDED: ...
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from serving.engine.vllm import spin_briefly

Stage = Literal["check", "train"]
Message = Mapping[str, Any]
Command = Callable[[Stage, Path, int], Sequence[str]]
"""The argument vector of a stage, of a job's folder, and of the connection that the process tells of itself on."""

ENDED: Message = {"kind": "ended"}
_LOG = "log"
_LOG_LINES = 20


def worker_command(stage: Stage, folder: Path, descriptor: int) -> Sequence[str]:
    """That of serving/fine_tuning/worker.py."""
    return [sys.executable, "-P", "-m", "serving.fine_tuning.worker", stage, str(folder), str(descriptor)]


@dataclass(frozen=True, slots=True)
class TrainingProcess:
    """One process. What it prints goes to a file in its folder."""

    process: subprocess.Popen[bytes]
    channel: Connection
    log: Path

    def hear(self, timeout_s: float) -> Message | None:
        """The next message, ENDED when there will be none, None when there is none yet."""
        try:
            return self.channel.recv() if self.channel.poll(timeout_s) else None
        except (EOFError, OSError):
            return ENDED

    def how_it_ended(self) -> str:
        """The name of the signal that ended it, "" where it ended by itself; waits for the end."""
        status = self.process.wait()
        return signal.Signals(-status).name if status < 0 else ""

    def last_words(self) -> str:
        """The end of what it printed."""
        with contextlib.suppress(OSError), self.log.open(encoding="utf-8", errors="replace") as lines:
            return "".join(deque(lines, _LOG_LINES)).strip()
        return ""

    def kill(self) -> None:
        """End it at once: a training goes on from its last checkpoint, whatever it was doing."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@contextlib.contextmanager
def start_process(stage: Stage, folder: Path, command: Command = worker_command) -> Iterator[TrainingProcess]:
    """A process that works on a job's folder; it is gone at the end of the block. Raises OSError."""
    ours, theirs = Pipe()
    with ours:
        with theirs, (folder / _LOG).open("wb") as log:
            process = subprocess.Popen(
                command(stage, folder, theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=_environment(),
            )
        started = TrainingProcess(process, ours, folder / _LOG)
        try:
            yield started
        finally:
            started.kill()


def _environment() -> dict[str, str]:
    # Threads that spin while they wait for each other take the processor from chats.
    env = spin_briefly(dict(os.environ))
    return {**env, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
