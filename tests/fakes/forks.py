"""Processes to be killed, started in milliseconds: forked from one that has run a program's imports and has one thread.

with Forks(program) as forks:  # source text that imports what it needs and defines main(), which reads sys.argv
    child = forks.start("argument")
    child.kill()
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

_PARENT = """
import json, os, socket, sys, traceback

asked = socket.socket(fileno=int(sys.argv[1]))
program = {"__name__": "forked"}
exec(sys.argv[2], program)
while True:
    message, outputs, _, _ = socket.recv_fds(asked, 1 << 20, 1)
    if not message:
        break
    request = json.loads(message)
    if isinstance(request, int):
        reply = os.waitstatus_to_exitcode(os.waitpid(request, 0)[1])
    elif not (reply := os.fork()):
        code = 1
        try:
            asked.close()
            os.dup2(outputs[0], 1)
            os.close(outputs[0])
            sys.argv[1:] = request
            program["main"]()
            sys.stdout.flush()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    for output in outputs:
        os.close(output)
    asked.send(json.dumps(reply).encode())
"""


@dataclass
class Fork:
    """A started process; `stdout` is what it prints."""

    pid: int
    stdout: IO[str]
    _parent: socket.socket

    def kill(self) -> None:
        """Ended at once, whatever it does."""
        assert self.kill_or_finished(), "it had ended before"

    def kill_or_finished(self) -> bool:
        """The same of one that may have come to a good end before; whether it was killed."""
        os.kill(self.pid, signal.SIGKILL)
        code = self._wait()
        assert code in (0, -signal.SIGKILL)
        return code != 0

    def finish(self) -> list[str]:
        """The lines that it prints from here to its end, which must be a good one."""
        lines = self.stdout.read().splitlines()
        assert self._wait() == 0
        return lines

    def _wait(self) -> int:
        code = _ask(self._parent, self.pid)
        self.stdout.close()
        return code


class Forks:
    """The parent of processes that all run one program."""

    def __init__(self, program: str, environment: Mapping[str, str] | None = None) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-c", _PARENT, str(theirs.fileno()), program]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env={**os.environ, **(environment or {})})
        theirs.close()

    def start(self, *arguments: object) -> Fork:
        """One more process, with these in its `sys.argv`."""
        reading, writing = os.pipe()
        try:
            pid = _ask(self._socket, [str(argument) for argument in arguments], writing)
        finally:
            os.close(writing)
        return Fork(pid, os.fdopen(reading), self._socket)

    def __enter__(self) -> Forks:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.wait()


def _ask(parent: socket.socket, request: object, *outputs: int) -> int:
    socket.send_fds(parent, [json.dumps(request).encode()], outputs)
    reply = parent.recv(64)
    assert reply, "the parent of the forks has ended"
    return int(reply)
