"""Threads that run batches side by side, each on one thread of the backend: `Workers().run(forward, batches)`.

The usual way is one call after another, each on all of torch's threads, which meet at a barrier after every operation.
Where anything else wants a core they wait for the one that was interrupted: beside busy processes, two threads were
three to five times slower than one (docs/experiments/embedding). Batches have no barrier to meet at.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from rag.torch_threads import torch_threads

Batch = TypeVar("Batch")
Result = TypeVar("Result")

# Fewer workers must be faster by so much to be preferred: a single measurement beside other work is no finer.
_CLEARLY = 1.1


class Workers:
    """Runs batches on as many threads as were fastest with the first of them, or on `limit`; starts none before."""

    def __init__(
        self,
        limit: int | None = None,
        *,
        clock: Callable[[], float] = time.perf_counter,
        num_cores: int | None = None,
    ) -> None:
        self._cores = num_cores or _available_cores()
        self.limit = limit or self._cores
        self._clock = clock
        self._chosen = limit or (1 if self._cores == 1 else None)
        self._lock = threading.Lock()
        self._pools: dict[str, ThreadPoolExecutor] = {}

    @property
    def chosen(self) -> int | None:
        """The number of workers in use; None until it is measured."""
        return self._chosen

    def run(
        self, function: Callable[[Batch], Result], batches: Sequence[Batch], sizes: Sequence[int]
    ) -> Generator[tuple[Batch, Result], None, None]:
        """Each batch with its result, in the order of the batches. `sizes` says how much work each is.

        A single batch does not queue behind those of other calls: somebody may be waiting for it. The first batches of
        the first long call are work and measurement at once. Closing the generator drops what has not begun.
        """
        start = 0
        if len(batches) == 1:
            yield batches[0], self._pool("urgent").submit(function, batches[0]).result()
            return
        if self._chosen is None and len(batches) > sum(_rounds(self._cores)) + 1:
            rates: dict[int, float] = {}
            # The first batch pays for what is built once: its time is overwritten.
            for workers in (1, *_rounds(self._cores)):
                end = start + workers
                began = self._clock()
                yield from self._side_by_side(function, batches[start:end], workers)
                rates[workers] = sum(sizes[start:end]) / max(self._clock() - began, 1e-9)
                start = end
            self._chosen = _fastest(rates)
        yield from self._side_by_side(function, batches[start:], self._chosen or self._cores)

    def _side_by_side(
        self, function: Callable[[Batch], Result], batches: Sequence[Batch], workers: int
    ) -> Generator[tuple[Batch, Result], None, None]:
        pool = self._pool("bulk")
        waiting: dict[int, Future[Result]] = {}
        try:
            # No more than `workers` at once are given to the pool; it may have more threads than that.
            for index in range(min(workers, len(batches))):
                waiting[index] = pool.submit(function, batches[index])
            for index, batch in enumerate(batches):
                result = waiting.pop(index).result()
                following = index + workers
                if following < len(batches):
                    waiting[following] = pool.submit(function, batches[following])
                yield batch, result
        finally:
            for future in waiting.values():
                future.cancel()

    def _pool(self, name: str) -> ThreadPoolExecutor:
        with self._lock:
            if name not in self._pools:
                self._pools[name] = _one_thread_each(self.limit, f"embed-{name}")
            return self._pools[name]


def _one_thread_each(count: int, name: str) -> ThreadPoolExecutor:
    """A pool whose threads each run torch on one thread; for everybody else torch stays as it is."""
    import torch

    everybody_here = threading.Barrier(count)

    def start() -> None:
        # torch gives a new thread everybody's number when it is first asked for; only after that one's own stays.
        torch.get_num_threads()
        torch.set_num_threads(1)

    pool = ThreadPoolExecutor(count, thread_name_prefix=name, initializer=start)
    with torch_threads(None):
        before = torch.get_num_threads()
        for waiting in [pool.submit(everybody_here.wait) for _ in range(count)]:
            waiting.result()
        # The number is a thread's own, but the last one set is what threads to come begin with.
        torch.set_num_threads(before)
    return pool


def _rounds(cores: int) -> list[int]:
    """Numbers of workers worth a try: half the cores is what hyper-threads leave of them."""
    return sorted({1, (cores + 1) // 2, cores})


def _fastest(rates: dict[int, float]) -> int:
    best = max(rates)
    for workers in sorted(rates, reverse=True):
        if rates[workers] > _CLEARLY * rates[best]:
            best = workers
    return best


def _available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
