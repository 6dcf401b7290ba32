"""How many threads torch runs a call on, which is the whole process's: `with torch_threads(1): model.encode(texts)`.

The reranker and `encode` go through here, one call at a time; the embedder's own forward pass has one thread a batch
(rag/embedding/workers.py).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

# A tokenizer, too, must not be reconfigured while another thread uses it.
_LOCK = threading.Lock()


@contextlib.contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """The only torch call of the process, on so many threads; None leaves the number as it is."""
    import torch

    with _LOCK:
        before = torch.get_num_threads()
        if threads is None or threads == before:
            yield
            return
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


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
