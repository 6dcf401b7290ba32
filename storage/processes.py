"""Which process works on something, and whether it still lives: `is_running(process_name(os.getpid()))`."""

from __future__ import annotations

import platform


def process_name(pid: int) -> str:
    """A process of this machine by its id and start, as ids come back. Raises psutil.NoSuchProcess."""
    import psutil

    return f"{platform.node()}:{pid}:{psutil.Process(pid).create_time():.2f}"


def is_here(owner: str) -> bool:
    """Whether the process that `process_name` named is, or was, one of this machine."""
    return owner.startswith(f"{platform.node()}:")


def is_running(owner: str) -> bool:
    """Whether the process that `process_name` named still lives; of another machine's nobody knows."""
    import psutil

    try:
        return process_name(int(owner.split(":")[1])) == owner
    except (psutil.Error, ValueError, IndexError):
        return False
