"""Which processes the engines of a test are.

Children alone do not tell: what other tests keep open (a database) starts children of its own at any moment.
"""

from __future__ import annotations

import contextlib
import os

import psutil


def engine_groups() -> set[int]:
    """The process groups of the engines that this process has started: each is led by its guard."""
    found = set()
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if any(part.endswith("process_group.py") for part in child.cmdline()):
                found.add(child.pid)
    return found


def members(groups: set[int]) -> list[int]:
    """The processes alive in one of these groups."""
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getpgid(pid) in groups and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found
