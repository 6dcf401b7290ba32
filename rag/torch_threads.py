"""How models are loaded and run beside each other: `with silent_loading(): ...`, `one_thread_pool(4)`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

_LOCK = threading.Lock()


def one_thread_pool(count: int) -> ThreadPoolExecutor:
    """A pool whose threads each run torch on one thread; for everybody else torch stays as it is."""
    import torch

    everybody_here = threading.Barrier(count)

    def start() -> None:
        # torch gives a new thread everybody's number when it is first asked for; only after that one's own stays.
        torch.get_num_threads()
        torch.set_num_threads(1)

    pool = ThreadPoolExecutor(count, initializer=start)
    with _LOCK:
        before = torch.get_num_threads()
        for waiting in [pool.submit(everybody_here.wait) for _ in range(count)]:
            waiting.result()
        # The number is a thread's own, but the last one set is what threads to come begin with.
        torch.set_num_threads(before)
    return pool


@contextlib.contextmanager
def silent_loading() -> Iterator[None]:
    """No progress bar for 0.1 s of reading weights."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()
