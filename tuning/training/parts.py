"""A batch in parts that are worked on side by side: `with open_parts(8) as parts: parts.add_gradients(...)`.

The usual way is one batch on all of OpenMP's threads, which meet at a barrier after every operation: where another
process wants a core, all of them wait for the one that was interrupted. Parts meet once a step
(docs/experiments/sharing). A batch has the same parts at every step, and their gradients are added in their order, so
that the weights do not depend on what else runs.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from tuning.objectives.objective import PADDED, PER_TOKEN, Batch

# Tokens a second of processor time in parts of 1, 2, 4 and 8 rows of 42 tokens: 76, 88, 102, 105.
_LEAST_ROWS = 2


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts of up to `rows` rows, each on a thread of the pool."""

    rows: int
    pool: ThreadPoolExecutor

    def add_gradients(
        self, inputs: Batch, parameters: Sequence[Any], loss_of: Callable[[Batch], torch.Tensor]
    ) -> torch.Tensor:
        """The sum of the parts' losses; their gradients are added to those of the parameters."""

        def work(part: Batch) -> tuple[torch.Tensor, tuple[torch.Tensor | None, ...]]:
            loss = loss_of(part)
            return loss.detach(), torch.autograd.grad(loss, parameters, allow_unused=True)

        total = torch.zeros(())
        for loss, gradients in self.pool.map(work, parts_of(inputs, self.rows)):
            total += loss
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    laid = _laid_out_as(parameter, gradient)
                    parameter.grad = laid if parameter.grad is None else parameter.grad.add_(laid)
        return total


def _laid_out_as(parameter: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """The gradient in the parameter's order of numbers in memory, as `backward` would leave it: torch's fused AdamW
    takes one for the other where the two differ.
    """
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


@contextlib.contextmanager
def open_parts(batch_size: int) -> Iterator[Parts]:
    """A part for every core, as far as parts do not become too small to be quick; torch's threads are divided."""
    cores = torch.get_num_threads()
    rows = max(_LEAST_ROWS, math.ceil(batch_size / cores))
    workers = math.ceil(batch_size / rows)
    everybody_here = threading.Barrier(workers)

    def start() -> None:
        # torch gives a new thread everybody's number when it is first asked for; only after that one's own stays.
        torch.get_num_threads()
        torch.set_num_threads(cores // workers)

    with ThreadPoolExecutor(workers, thread_name_prefix="training", initializer=start) as pool:
        for waiting in [pool.submit(everybody_here.wait) for _ in range(workers)]:
            waiting.result()
        # The number is a thread's own, but the last one set is what threads to come begin with.
        torch.set_num_threads(cores)
        yield Parts(rows, pool)


def parts_of(inputs: Batch, rows: int) -> list[Batch]:
    """The batch in parts of up to so many rows, the padding that all texts of a part share cut off."""
    parts = []
    for start in range(0, len(inputs["input_ids"]), rows):
        part = slice(start, start + rows)
        longest = int(inputs["attention_mask"][part].sum(dim=-1).max())
        cut = {name: tensor[part] for name, tensor in inputs.items()}
        parts.append(cut | {name: cut[name][..., :longest] for name in (*PADDED, *PER_TOKEN) if name in cut})
    return parts
