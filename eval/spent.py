"""What a run has taken in all, however often it was stopped: seconds that are written down while they are spent.

with spend_time(home / "spent.db", run="3f9c12ab") as spent:
    ...                                     # ask and score
scorecard = replace(scorecard, evaluation_s=spent.total_s)
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from storage.row_cache import RowCache

_TABLE = "CREATE TABLE IF NOT EXISTS spent (run TEXT PRIMARY KEY, seconds REAL NOT NULL)"
_ADD = "INSERT INTO spent VALUES (?, ?) ON CONFLICT (run) DO UPDATE SET seconds = seconds + excluded.seconds"


@dataclass(slots=True)
class Spent:
    """The seconds of all processes of a run; known at the end."""

    total_s: float = 0.0


@contextlib.contextmanager
def spend_time(
    path: Path, run: str, *, every_s: float = 1.0, clock: Callable[[], float] = time.monotonic
) -> Iterator[Spent]:
    """Adds the seconds inside the `with` to those of the run's earlier processes, and writes them down as they pass.

    `path` is a file for all runs; `run` is what the evaluation is made of, as a hash. A process that is killed loses
    what it spent since the last write, `every_s` at most. Raises StorageError where the file cannot be written, before
    anything is spent; what writing raises later, a full disk for example, unless something else was raised before.
    """
    spent, is_over = Spent(), threading.Event()
    with RowCache(path, (_TABLE,), called="record of spent time", row="the time spent") as rows:

        def keep(written: float) -> None:
            is_last = False
            while not is_last:
                is_last = is_over.wait(every_s)
                now = clock()
                rows.write(_ADD, (run, now - written))
                written = now

        with ThreadPoolExecutor(1, "spent-time") as pool:
            kept = pool.submit(keep, clock())
            try:
                yield spent
            finally:
                is_over.set()
        kept.result()
        spent.total_s = rows.find("SELECT seconds FROM spent WHERE run = ?", run, float) or 0.0
