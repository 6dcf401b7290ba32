"""Which process works on something, and whether it still lives: `is_running(process_name(os.getpid()))`."""

from __future__ import annotations


def process_name(pid: int) -> str:
    """A process by its id and start, as ids come back. Raises psutil.NoSuchProcess."""
    import psutil

    return f"{pid}:{psutil.Process(pid).create_time():.2f}"


def is_running(owner: str) -> bool:
    """Whether the process that `process_name` named still lives."""
    import psutil

    try:
        return process_name(int(owner.partition(":")[0])) == owner
    except (psutil.Error, ValueError):
        return False
