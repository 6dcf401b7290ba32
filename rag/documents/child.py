"""A file to text in a child process: `convert_in_child("pdf", data, limits)`.

A parser that hangs, crashes or eats the memory ends with its child (`python -m rag.documents.child FD`): that file is
refused, and the next one gets a new child. Otherwise a child is kept for the next file. One that nobody asks ends
itself, and with it the memory that its parsers hold.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from rag.documents.convert import Converted, convert
from rag.documents.limits import Limits, describe_size
from rag.errors import RagError

_IDLE_S = 60.0
# Later than this after its last file it may be about to end itself, and is asked no more.
_KEPT_S = 50.0
_START_S = 60.0
_EXIT_S = 5.0
# The parent ends a conversion in time; a child whose parent has died ends itself this much later.
_GRACE_S = 10.0
# The exit status of a child that has used up its memory.
_NO_MEMORY = 77
# Parsers of one file gain nothing from threads, and each thread takes address space.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(slots=True)
class _Child:
    """A process that waits for a file; `used_at` is monotonic, in s."""

    process: subprocess.Popen[bytes]
    channel: Connection
    used_at: float

    def close(self) -> None:
        """End it, whatever it is doing."""
        self.channel.close()
        self.process.kill()
        self.process.wait()


_idle: list[_Child] = []
# A forked process has no part in its parent's children.
os.register_at_fork(after_in_child=_idle.clear)


def convert_in_child(kind: str, data: bytes, limits: Limits) -> Converted:
    """The file as text, by `rag.documents.convert` in a child that is this call's alone.

    Raises RagError with the reason if it cannot be converted within the limits. Whatever else ends this call, an
    interrupt among it, ends the child.
    """
    child = _kept() or _start()
    answer: Converted | str | None = None
    try:
        child.channel.send((kind, limits))
        child.channel.send_bytes(data)
        if not child.channel.poll(limits.timeout_s):
            raise RagError(f"not converted within {limits.timeout_s:g} s (timeout_s)")
        answer = child.channel.recv()
    except (EOFError, OSError) as error:
        raise RagError(_reason_of_end(child.process, limits)) from error
    finally:
        if answer is None:
            child.close()
        else:
            child.used_at = time.monotonic()
            _idle.append(child)
    if isinstance(answer, str):
        raise RagError(answer)
    return answer


def _kept() -> _Child | None:
    """The child that was used last, if it is still there."""
    with contextlib.suppress(IndexError):
        while True:
            child = _idle.pop()
            if time.monotonic() - child.used_at < _KEPT_S and child.process.poll() is None:
                return child
            child.close()
    return None


def _start() -> _Child:
    ours, theirs = Pipe()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "rag.documents.child", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # An interrupt at the terminal is for the parent, which then ends the child.
            start_new_session=True,
            env={**os.environ, **_ONE_THREAD, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
    child = _Child(process, ours, time.monotonic())
    try:
        with contextlib.suppress(EOFError, OSError):
            if ours.poll(_START_S) and ours.recv():
                return child
        command = f"{sys.executable} -m rag.documents.child"
        raise RagError(f"the process that converts files does not start; look at: {command}")
    except BaseException:
        child.close()
        raise


def _reason_of_end(process: subprocess.Popen[bytes], limits: Limits) -> str:
    """Why a child has hung up, which is ended if it lingers."""
    try:
        status = process.wait(_EXIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        status = process.wait()
    if status == _NO_MEMORY:
        return f"needs over {describe_size(limits.max_memory_bytes)} of memory (max_memory_bytes)"
    return f"its conversion crashed ({f'exit status {status}' if status >= 0 else signal.Signals(-status).name})"


def main() -> None:
    """In the child: answer until nobody asks."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with contextlib.suppress(EOFError, OSError), Connection(int(sys.argv[1])) as channel:
            channel.send(True)
            while channel.poll(_IDLE_S):
                kind, limits = channel.recv()
                signal.setitimer(signal.ITIMER_REAL, limits.timeout_s + _GRACE_S)
                # Where a system has no such limit, the time limit remains.
                with contextlib.suppress(ValueError, OSError):
                    most = resource.getrlimit(resource.RLIMIT_AS)[1]
                    resource.setrlimit(resource.RLIMIT_AS, (limits.max_memory_bytes, most))
                channel.send(_answer(kind, channel.recv_bytes(), limits))
                signal.setitimer(signal.ITIMER_REAL, 0)
    except MemoryError:
        # What the parser holds is not given back by an ordinary exit, which may need memory itself.
        os._exit(_NO_MEMORY)


def _answer(kind: str, data: bytes, limits: Limits) -> Converted | str:
    """The file as text, or why it cannot be converted."""
    try:
        return convert(kind, data, limits)
    except RagError as error:
        return str(error)
    except MemoryError:
        raise
    except Exception as error:
        # Parsers raise whatever a torn file leads them to.
        detail = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return f"corrupt, or no {kind} file ({detail})"


if __name__ == "__main__":
    main()
