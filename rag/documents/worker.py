"""A child process that converts files, kept for later: `with borrow_worker(limits) as worker: worker.convert(...)`.

A parser that hangs, crashes or eats the memory ends with its child: that file is refused, and the next one gets a new
child.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from rag.documents import child
from rag.documents.converted import Converted
from rag.documents.limits import Limits, describe_size
from rag.errors import RagError

_START_S = 60.0
_EXIT_S = 5.0
_MAX_IDLE = 2
# Parsers of one file gain nothing from threads, and each thread takes address space.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

_idle: list[Worker] = []
_lock = threading.Lock()


class Worker:
    """At most one child process, alive between conversions. For one thread at a time."""

    def __init__(self, max_memory_bytes: int) -> None:
        self.max_memory_bytes = max_memory_bytes
        self.owner = os.getpid()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None

    def convert(self, kind: str, data: bytes, limits: Limits) -> Converted:
        """The file as text, by `rag.documents.convert` in the child.

        Raises RagError with the reason if it cannot be converted within the limits. Whatever else ends this call, an
        interrupt among it, ends the child.
        """
        try:
            header, body = self._ask(kind, data, limits)
        except BaseException:
            self.close()
            raise
        if reason := header.get("reason"):
            raise RagError(reason)
        return Converted(header["title"], body.decode(), tuple(header["pages"]))

    def close(self) -> None:
        """End the child, whatever it is doing."""
        if self._channel:
            self._channel.close()
        if self._process:
            self._process.kill()
            self._process.wait()
        self._channel = self._process = None

    def _ask(self, kind: str, data: bytes, limits: Limits, *, is_retry: bool = False) -> tuple[dict[str, Any], bytes]:
        process, channel = self._running()
        deadline = time.monotonic() + limits.timeout_s
        try:
            child.send(channel, child.request(kind, limits), data, deadline)
            return child.receive(channel, deadline)
        except TimeoutError as error:
            raise RagError(f"not converted within {limits.timeout_s:g} s (timeout_s)") from error
        except (EOFError, OSError) as error:
            status = _status_of(process)
            if status == 0 and not is_retry:
                # It had nothing to do for a minute and ended just now.
                self.close()
                return self._ask(kind, data, limits, is_retry=True)
            if status == child.NO_MEMORY:
                limit = describe_size(limits.max_memory_bytes)
                raise RagError(f"needs over {limit} of memory (max_memory_bytes)") from error
            ended = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
            raise RagError(f"its conversion crashed ({ended})") from error

    def _running(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        if self._process and self._channel and self._process.poll() is None:
            return self._process, self._channel
        self.close()
        _end_idle_at_exit()
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", child.__name__, str(theirs.fileno()), str(self.max_memory_bytes)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # An interrupt at the terminal is for the parent, which then ends the child.
                start_new_session=True,
                env={**os.environ, **_ONE_THREAD, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
        try:
            child.receive(self._channel, time.monotonic() + _START_S)
        except (EOFError, OSError) as error:
            raise RagError(
                f"the process that converts files does not start; look at: {sys.executable} -m {child.__name__}"
            ) from error
        return self._process, self._channel


def _status_of(process: subprocess.Popen[bytes]) -> int:
    """The exit status of a child that has hung up, and that is ended if it lingers."""
    try:
        return process.wait(_EXIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


@contextmanager
def borrow_worker(limits: Limits) -> Iterator[Worker]:
    """A worker for this block alone, a kept one if there is one with this limit on memory."""
    with _lock:
        kept = [worker for worker in _idle if worker.owner == os.getpid()]
        fitting = [worker for worker in kept if worker.max_memory_bytes == limits.max_memory_bytes]
        worker = fitting[0] if fitting else Worker(limits.max_memory_bytes)
        _idle[:] = [other for other in kept if other is not worker]
    try:
        yield worker
    finally:
        with _lock:
            _idle.insert(0, worker)
            spare = _idle[_MAX_IDLE:]
            del _idle[_MAX_IDLE:]
        for other in spare:
            other.close()


@cache
def _end_idle_at_exit() -> None:
    atexit.register(_end_idle)


def _end_idle() -> None:
    for worker in _idle:
        if worker.owner == os.getpid():
            worker.close()
