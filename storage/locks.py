"""One process at a time: `with hold_lock(folder / "lock", busy=EvalError("another process does that")): ...`."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def hold_lock(file: Path, *, busy: Exception | None = None) -> Iterator[None]:
    """Hold the lock of a file, which is made if need be with its folder; the kernel lets go of it when we are killed.

    Where another process has it, raises `busy`, or waits if that is not given. Raises OSError.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy is not None else 0))
        except BlockingIOError:
            assert busy is not None
            raise busy from None
        yield
