"""What a run has taken in all, however often it was stopped: seconds that are written down while they are spent.

with SpentTime(home / "spent.db", run="3f9c12ab") as spent:
    ...                                     # ask and score
scorecard = replace(scorecard, evaluation_s=spent.total_s)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from storage.errors import StorageError
from storage.row_cache import RowCache

_TABLE = "CREATE TABLE IF NOT EXISTS spent (run TEXT PRIMARY KEY, seconds REAL NOT NULL)"
_ADD = "INSERT INTO spent VALUES (?, ?) ON CONFLICT (run) DO UPDATE SET seconds = seconds + excluded.seconds"


class SpentTime:
    """Adds the seconds inside the `with` to those of the run's earlier processes, and writes them down as they pass.

    A process that is killed loses what it spent since the last write, `every_s` at most.
    """

    def __init__(
        self, path: Path, run: str, *, every_s: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`path` is a file for all runs; `run` is what the evaluation is made of, as a hash."""
        self._path, self._run, self._every_s, self._clock = path, run, every_s, clock
        self._is_over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="spent-time", daemon=True)
        self._error: StorageError | None = None
        self._started = 0.0
        self.total_s = 0.0

    def __enter__(self) -> SpentTime:
        """Raises StorageError where the file cannot be written, before anything is spent."""
        self._rows = RowCache(self._path, (_TABLE,), called="record of spent time", row="the time spent")
        self._started = self._clock()
        self._keeper.start()
        return self

    def __exit__(self, kind: object, value: BaseException | None, trace: object) -> None:
        """Raises what writing raised, a full disk for example, unless something else was raised before."""
        self._is_over.set()
        self._keeper.join()
        self._rows.close()
        if self._error is not None and value is None:
            raise self._error

    def _keep(self) -> None:
        written, is_over = self._started, False
        try:
            while not is_over:
                is_over = self._is_over.wait(self._every_s)
                now = self._clock()
                self._rows.write(_ADD, (self._run, now - written))
                written = now
            self.total_s = self._rows.find("SELECT seconds FROM spent WHERE run = ?", self._run, float) or 0.0
        except StorageError as error:
            self._error = error
