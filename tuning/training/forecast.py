"""How long a training will take and how much memory, from a few steps that change nothing.

forecast = foretell(trainer, parameters, batches, rows=..., num_rows=..., longest=...)

The first steps, of half of the longest row and of all of it, show what a row takes of memory; where answers are drawn,
those of one prompt and of as many as are drawn to at once. Steps of a short and of a long batch give the seconds of a
batch as a line in its tokens. A training that will not fit is refused at once.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tuning.errors import TuningError
from tuning.optimizers.registry import OPTIMIZERS
from tuning.recipe import Recipe
from tuning.training.memory import Memory, free_bytes
from tuning.training.progress import Forecast

# The batches that are timed stand at these shares of all, ordered by their tokens.
SHORT_AND_LONG = 0.25, 0.9
# The first step of a new shape also makes the kernels and the memory for it: a third more than the steps after it.
_TIMES = 2
# Of the free memory; what is measured may be a quarter too little.
_FREE_SHARE = 0.95


@dataclass(frozen=True, slots=True)
class Batches:
    """Of all steps of a training: how many tokens each has as work, padding counted too, and its rows as tensors."""

    num_tokens: Sequence[int]
    open: Callable[[int], dict[str, torch.Tensor]]
    """The batch of a step, as it is trained on."""
    longest: dict[str, torch.Tensor]
    """What is tried: the longest of all rows alone, or as many of it as answers are drawn to at once."""
    half: dict[str, torch.Tensor]
    """Less of it: the row's second half, which holds what it learns, or one row."""
    held_tokens: float
    """Tokens of what is worked on at once, by the tokens of `longest`."""


def foretell(
    step: Callable[[dict[str, torch.Tensor]], None],
    optimizer: Any,
    batches: Batches,
    recipe: Recipe,
    *,
    first_step: int = 0,
) -> Forecast:
    """What is left of a training from `first_step` on. `step(inputs)` adds the gradients of a batch, and `optimizer`
    moves nothing: its learning rate is set to 0.

    Raises TuningError with the number of parts that fits, where the whole batch will not.
    """
    states = torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    memory = Memory()
    before = memory.now()
    step(batches.half)
    half_bytes = memory.peak() - before
    optimizer.zero_grad(set_to_none=True)
    step(batches.longest)
    row_bytes = memory.peak() - before
    state_bytes = _step(optimizer)
    gradients = _gradient_bytes(optimizer)
    optimizer.zero_grad(set_to_none=True)
    row_tokens = batches.longest["input_ids"].numel()
    weights = _of_weights(half_bytes, row_bytes, batches.half["input_ids"].numel(), row_tokens)
    a_token = max(row_bytes - weights - gradients, 0) / row_tokens
    fixed = before + weights + gradients + state_bytes
    forecast_bytes = round(fixed + a_token * max(batches.held_tokens, row_tokens))
    free = free_bytes() + memory.now()
    if forecast_bytes > _FREE_SHARE * free:
        whole_batch = a_token * batches.held_tokens * recipe.accumulate
        raise TuningError(_too_much(recipe, forecast_bytes, free, fixed, whole_batch))
    by_tokens = sorted(range(len(batches.num_tokens)), key=batches.num_tokens.__getitem__)
    points = []
    for share in SHORT_AND_LONG:
        place = by_tokens[round(share * (len(by_tokens) - 1))]
        inputs, taken = batches.open(place), []
        for _ in range(_TIMES):
            began = _now()
            step(inputs)
            _step(optimizer)
            optimizer.zero_grad(set_to_none=True)
            taken.append(_now() - began)
        points.append((batches.num_tokens[place], min(taken)))
    torch.set_rng_state(states[0])
    if states[1]:
        torch.cuda.set_rng_state_all(states[1])
    gc.collect()
    return Forecast(total_seconds(points, batches.num_tokens[first_step:]), forecast_bytes, free)


def foretell_export(model: Any, *, seconds: float) -> Forecast:
    """What is left of a training without a step, whose weights are ready after so many seconds: writing them, and
    comparing them beside those of the base, which takes about as long again.

    Raises TuningError where the two models will not fit.
    """
    memory = Memory()
    needed = memory.now() + sum(one.numel() * one.element_size() for one in model.parameters())
    free = free_bytes() + memory.now()
    if needed > _FREE_SHARE * free:
        raise TuningError(
            f"this would take {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} are free; end other programs, or "
            "take a smaller base model"
        )
    return Forecast(seconds, needed, free)


def _of_weights(half_bytes: int, row_bytes: int, half_tokens: int, row_tokens: int) -> int:
    """What a step takes however many tokens it has, where that is most of it, as with methods that turn the weights
    themselves (HRA, BOFT); else 0, for a forecast that is rather too high.
    """
    if half_tokens >= row_tokens:
        return 0
    by_tokens = (row_bytes - half_bytes) * row_tokens / (row_tokens - half_tokens)
    return round(row_bytes - by_tokens) if by_tokens < row_bytes / 2 else 0


def total_seconds(points: Sequence[tuple[int, float]], num_tokens: Sequence[int]) -> float:
    """Seconds of all batches by the line through two; by their own rate where they do not make a rising one."""
    (few, short_s), (many, long_s) = points
    slope = (long_s - short_s) / (many - few) if many > few else 0.0
    fixed = short_s - slope * few
    if slope <= 0 or fixed < 0:
        slope, fixed = (short_s + long_s) / (few + many), 0.0
    return fixed * len(num_tokens) + slope * sum(num_tokens)


def _too_much(recipe: Recipe, needed: int, free: int, fixed: float, whole_batch: float) -> str:
    said = f"this training would take {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} are free"
    if OPTIMIZERS[recipe.optimizer].in_backward:
        return f"{said}; lower batch_size ({recipe.batch_size}) or max_length ({recipe.max_length})"
    for count in recipe.finer_parts:
        if (takes := fixed + whole_batch / count) <= _FREE_SHARE * free:
            return f"{said}; set accumulate to {count}, which takes {takes / 1e9:.1f} and changes nothing else"
    return (
        f"{said}; one row at a time does not fit either: lower max_length ({recipe.max_length}), or take a method that "
        "moves less or a smaller base model"
    )


def _step(optimizer: Any) -> int:
    """Let the optimizer make its state; gives the state's bytes."""
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    optimizer.step()
    tensors = (value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value))
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _gradient_bytes(optimizer: Any) -> int:
    moved = (parameter for group in optimizer.param_groups for parameter in group["params"])
    return sum(one.grad.numel() * one.grad.element_size() for one in moved if one.grad is not None)


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
