"""Runs a command and ends its whole process group when the command ends, or when the parent is gone.

`python process_group.py PARENT_PID GRACE_S COMMAND...`, started by serving/engine/supervisor.py to lead a new session.
vLLM's own children (engine core, workers) stay in that group, so nothing outlives a parent that was killed with
`kill -9`.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

_POLL_S = 0.2
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def main(parent: int, grace_s: float, command: list[str]) -> None:
    """Waits for the command's end, a signal, or another parent; then ends the group, itself included."""
    asked_to_end = False

    def note(_signum: int, _frame: object) -> None:
        nonlocal asked_to_end
        asked_to_end = True

    # The group's SIGTERM arrives here too: it must not end the guard before the engine.
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, note)
    # Orphans of the engine become children of the guard, so it can see when the last one has ended.
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # Sockets and rendezvous files that an ended engine leaves behind go here instead of /tmp.
    scratch = tempfile.mkdtemp(prefix="arbiter-engine-")
    engine = subprocess.Popen(command, env={**os.environ, "TMPDIR": scratch}).pid
    ended: set[int] = set()
    while _reap(ended) and engine not in ended and not asked_to_end and os.getppid() == parent:
        time.sleep(_POLL_S)
    os.killpg(0, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while _reap(ended) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    shutil.rmtree(scratch, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def _reap(ended: set[int]) -> bool:
    """Adds the pid of every child that has ended; False when no child is left."""
    while True:
        try:
            pid, _status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
        ended.add(pid)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
