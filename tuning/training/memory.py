"""Memory: what this process, or the GPU, has and may have; and a limit at which an allocation fails.

memory = Memory(); work(); memory.peak() - memory.now()
with memory_limit(): ...
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch


class Memory:
    """The GPU's memory, or this process's. Making it forgets the peak so far."""

    def __init__(self) -> None:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        else:
            with contextlib.suppress(OSError):  # without it the peak is one of the whole process, which is more
                Path("/proc/self/clear_refs").write_text("5")

    def now(self) -> int:
        return torch.cuda.memory_allocated() if torch.cuda.is_available() else _status("VmRSS")

    def peak(self) -> int:
        return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else _status("VmHWM")


def free_bytes() -> int:
    """What may be had besides what is had."""
    if torch.cuda.is_available():
        unused = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return int(torch.cuda.mem_get_info()[0]) + unused
    return min(int(psutil.virtual_memory().available), _left_to_container())


@contextlib.contextmanager
def memory_limit() -> Iterator[None]:
    """Let an allocation fail that takes more memory than is free now. Linux would grant it, and end the process without
    a word once it is used.
    """
    if sys.platform != "linux" or torch.cuda.is_available():  # a GPU's library maps far more than it uses
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = _status("VmData") + free_bytes()
    limits = [one for one in (most, soft, hard) if one != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def peak_bytes() -> int:
    """The most memory that this process, or the GPU, has had since the last forecast began."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else _status("VmHWM")


def _left_to_container() -> int:
    """What a container may still take, in bytes, where Linux limits it."""
    folder = Path("/sys/fs/cgroup")
    try:
        most, now = ((folder / name).read_text(encoding="ascii").strip() for name in ("memory.max", "memory.current"))
        return sys.maxsize if most == "max" else int(most) - int(now)
    except (OSError, ValueError):
        return sys.maxsize


def _status(key: str) -> int:
    """A line of Linux's account of this process, in bytes; what the process has now where there is none."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return int(psutil.Process().memory_info().rss)
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def give_back() -> None:
    """Return to the system what was freed: glibc keeps a gigabyte of each training for the next, in pieces that do not
    fit it, and a process of forty trainings grew to eleven.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library keeps less
        ctypes.CDLL(None).malloc_trim(0)
