"""The child process that converts: `python -m rag.documents.child FD MAX_MEMORY_BYTES`, as worker.py starts it.

Both sides speak in messages over a socket: two lengths, a JSON header and a body.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rag.documents.convert import convert
from rag.documents.limits import Limits
from rag.errors import RagError

# A child that nobody asks ends itself, and with it the memory that its parsers hold.
_IDLE_S = 60.0
# The parent ends a conversion in time; a child whose parent has died ends itself this much later.
_GRACE_S = 10.0
# The exit status of a child that has used up its memory.
NO_MEMORY = 77
_LENGTHS = struct.Struct("!QQ")


def send(channel: socket.socket, header: Mapping[str, Any], body: bytes, deadline: float) -> None:
    """Send one message. Raises OSError if the other side is gone or `deadline` (monotonic, in s) has passed."""
    encoded = json.dumps(header).encode()
    channel.settimeout(max(deadline - time.monotonic(), 0.001))
    channel.sendall(_LENGTHS.pack(len(encoded), len(body)) + encoded + body)


def receive(channel: socket.socket, deadline: float) -> tuple[dict[str, Any], bytes]:
    """The next message. Raises EOFError if the other side is gone, TimeoutError after `deadline` (monotonic, in s)."""
    header_length, body_length = _LENGTHS.unpack(_receive_exactly(channel, _LENGTHS.size, deadline))
    header = json.loads(_receive_exactly(channel, header_length, deadline))
    return header, _receive_exactly(channel, body_length, deadline)


def _receive_exactly(channel: socket.socket, size: int, deadline: float) -> bytes:
    received = bytearray()
    while len(received) < size:
        channel.settimeout(max(deadline - time.monotonic(), 0.001))
        part = channel.recv(min(size - len(received), 1 << 20))
        if not part:
            raise EOFError("the other side is gone")
        received += part
    return bytes(received)


def _answer(kind: str, data: bytes, limits: Limits) -> tuple[dict[str, Any], bytes]:
    try:
        converted = convert(kind, data, limits)
    except RagError as error:
        return {"reason": str(error)}, b""
    except MemoryError:
        raise
    except Exception as error:
        # Parsers raise whatever a torn file leads them to.
        detail = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return {"reason": f"corrupt, or no {kind} file ({detail})"}, b""
    return {"title": converted.title, "pages": converted.pages}, converted.text.encode()


def main() -> None:
    """Answer requests until nobody asks."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    # Where a system has no such limit, the time limit remains.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]), int(sys.argv[2])))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        _serve(channel)
    except MemoryError:
        # What the parser holds is not given back by an ordinary exit, which may need memory itself.
        os._exit(NO_MEMORY)


def _serve(channel: socket.socket) -> None:
    with contextlib.suppress(EOFError, OSError):
        send(channel, {"is_ready": True}, b"", time.monotonic() + _IDLE_S)
        while True:
            header, data = receive(channel, time.monotonic() + _IDLE_S)
            limits = Limits(**header["limits"])
            signal.setitimer(signal.ITIMER_REAL, limits.timeout_s + _GRACE_S)
            answer = _answer(header["kind"], data, limits)
            send(channel, *answer, time.monotonic() + limits.timeout_s)
            signal.setitimer(signal.ITIMER_REAL, 0)


def request(kind: str, limits: Limits) -> dict[str, Any]:
    """The header of a request whose body is the file."""
    return {"kind": kind, "limits": asdict(limits)}


if __name__ == "__main__":
    main()
