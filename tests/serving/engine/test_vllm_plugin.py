"""The LoRA operators against a loop over rows, which is what they mean."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from fakes.lazy import Lazy

if TYPE_CHECKING:
    import torch
else:
    torch = Lazy("torch")
ops = Lazy("serving.engine.vllm_plugin")

RANK, WIDTH, OUT = 4, 10, 12
NO_ADAPTER = -1

# Slots per run of rows: one adapter, only base, both mixed with base, and adapters that return after others.
BATCHES = {
    "one adapter": ([0], [5]),
    "only base": ([NO_ADAPTER], [5]),
    "base between adapters": ([0, NO_ADAPTER, 2], [3, 2, 4]),
    "adapters alternate": ([1, 0, 1, NO_ADAPTER, 0, NO_ADAPTER], [1, 1, 1, 1, 1, 1]),
    "an adapter returns after a long run": ([2, 1, 2], [2, 5, 3]),
}


def rows_of(batch: str) -> list[int]:
    slots, lengths = BATCHES[batch]
    return [slot for slot, length in zip(slots, lengths, strict=True) for _ in range(length)]


def random(*shape: int, dtype: torch.dtype | None = None) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape) * 7 + sum(shape))).to(
        dtype or torch.float32
    )


def weights_of(out: int, width: int, dims: int, dtype: torch.dtype | None = None) -> torch.Tensor:
    weights = random(3, out, width, dtype=dtype)
    return weights.unsqueeze(1) if dims == 4 else weights


def expected_shrink(x: torch.Tensor, w: torch.Tensor, y: torch.Tensor, slots: list[int], scale: float) -> torch.Tensor:
    result = y.clone()
    for row, slot in enumerate(slots):
        if slot != NO_ADAPTER:
            weight = w.reshape(w.shape[0], *w.shape[-2:])[slot].to(y.dtype)
            result[row, : weight.shape[0]] = scale * (weight @ x[row].to(y.dtype))
    return result


def expected_expand(
    x: torch.Tensor, w: torch.Tensor, y: torch.Tensor, slots: list[int], *, offset: int, size: int, add: bool
) -> torch.Tensor:
    result = y.clone()
    for row, slot in enumerate(slots):
        if slot != NO_ADAPTER:
            weight = w.reshape(w.shape[0], *w.shape[-2:])[slot].to(y.dtype)
            product = (weight @ x[row].to(y.dtype))[:size]
            before = y[row, offset : offset + size] if add else 0
            result[row, offset : offset + size] = before + product
    return result


def metadata(batch: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int, int, int]:
    """What PunicaWrapperBase.prefill_metadata gives: starts, lengths, slots, number of runs, longest, rows."""
    slots, lengths = (torch.tensor(values) for values in BATCHES[batch])
    starts = torch.cumsum(lengths, 0) - lengths
    return starts, lengths, slots, len(slots), int(lengths.max()), int(lengths.sum())


@pytest.mark.parametrize("dims", [3, 4])
@pytest.mark.parametrize("batch", BATCHES)
def test_shrink_multiplies_each_row_with_its_own_adapter_and_scales(batch: str, dims: int) -> None:
    slots = rows_of(batch)
    x, w = random(len(slots), WIDTH), weights_of(RANK, WIDTH, dims)
    y = random(len(slots), RANK + 2)
    expected = expected_shrink(x, w, y, slots, 0.5)

    per_row, per_run = y.clone(), y.clone()
    ops.bgmv_shrink(x, w, per_row, torch.tensor(slots), 0.5)
    ops.sgmv_shrink(x, w, per_run, *metadata(batch), 0.5)

    torch.testing.assert_close(per_row, expected)
    torch.testing.assert_close(per_run, expected)


@pytest.mark.parametrize("add", [True, False])
@pytest.mark.parametrize("dims", [3, 4])
@pytest.mark.parametrize("batch", BATCHES)
def test_expand_adds_or_overwrites_the_rows_of_each_adapter(batch: str, dims: int, add: bool) -> None:
    slots = rows_of(batch)
    x, w = random(len(slots), RANK), weights_of(OUT, RANK, dims)
    y = random(len(slots), OUT + 3)
    expected = expected_expand(x, w, y, slots, offset=0, size=OUT, add=add)

    per_row, per_run = y.clone(), y.clone()
    ops.bgmv_expand(x, w, per_row, torch.tensor(slots), add)
    ops.sgmv_expand(x, w, per_run, *metadata(batch), add)

    torch.testing.assert_close(per_row, expected)
    torch.testing.assert_close(per_run, expected)


@pytest.mark.parametrize("add", [True, False])
@pytest.mark.parametrize("batch", BATCHES)
def test_expand_slice_touches_only_its_columns(batch: str, add: bool) -> None:
    slots = rows_of(batch)
    x, w = random(len(slots), RANK), weights_of(OUT, RANK, 4)
    y = random(len(slots), OUT + 9)
    expected = expected_expand(x, w, y, slots, offset=5, size=OUT, add=add)

    per_row, per_run = y.clone(), y.clone()
    ops.bgmv_expand_slice(x, w, per_row, torch.tensor(slots), 5, OUT, add)
    ops.sgmv_expand_slice(x, w, per_run, *metadata(batch), 5, OUT, add)

    torch.testing.assert_close(per_row, expected)
    torch.testing.assert_close(per_run, expected)


@pytest.mark.parametrize("is_prefill", [True, False])
@pytest.mark.parametrize("batch", BATCHES)
def test_a_linear_layer_adds_both_products_to_each_of_its_slices(batch: str, is_prefill: bool) -> None:
    slots, sizes = rows_of(batch), (OUT, 3)
    x = random(len(slots), WIDTH)
    lora_a = (weights_of(RANK, WIDTH, 4), weights_of(RANK, WIDTH, 4) + 1)
    lora_b = (weights_of(OUT, RANK, 4), weights_of(3, RANK, 4))
    y = random(len(slots), sum(sizes))
    expected = y.clone()
    for row, slot in enumerate(slots):
        if slot != NO_ADAPTER:
            expected[row, :OUT] += 0.5 * (lora_b[0][slot, 0] @ (lora_a[0][slot, 0] @ x[row]))
            expected[row, OUT:] += 0.5 * (lora_b[1][slot, 0] @ (lora_a[1][slot, 0] @ x[row]))
    wrapper = SimpleNamespace(
        is_prefill=is_prefill, prefill_metadata=metadata(batch), token_lora_indices=torch.tensor(slots)
    )

    ops.add_lora_linear(wrapper, y, x, lora_a, lora_b, 0.5, sizes)

    torch.testing.assert_close(y, expected)


def test_expand_cuts_an_adapter_that_is_padded_wider_than_the_layer() -> None:
    x, w, y = random(2, RANK), weights_of(OUT, RANK, 4), random(2, OUT - 4)

    result = y.clone()
    ops.bgmv_expand(x, w, result, torch.tensor([2, NO_ADAPTER]), True)

    torch.testing.assert_close(result, expected_expand(x, w, y, [2, NO_ADAPTER], offset=0, size=OUT - 4, add=True))


def test_rows_without_an_adapter_keep_every_bit_even_when_not_adding() -> None:
    slots = [0, NO_ADAPTER, 1, NO_ADAPTER, 0]
    y = random(5, OUT)
    y[1, 0] = float("inf")

    result = y.clone()
    ops.bgmv_expand(random(5, RANK), weights_of(OUT, RANK, 4), result, torch.tensor(slots), False)

    assert torch.equal(result[1], y[1])
    assert torch.equal(result[3], y[3])
    assert not torch.equal(result[0], y[0])


def test_a_buffer_full_of_nan_is_overwritten() -> None:
    x, w = random(3, WIDTH), weights_of(RANK, WIDTH, 4)
    y = torch.full((3, RANK), float("nan"))

    ops.bgmv_shrink(x, w, y, torch.tensor([1, 1, 1]), 2.0)

    torch.testing.assert_close(y, 2.0 * x @ w[1, 0].T)


def test_bfloat16_inputs_are_multiplied_in_the_dtype_of_the_buffer() -> None:
    slots = [0, NO_ADAPTER, 1]
    x, w = random(3, WIDTH, dtype=torch.bfloat16), weights_of(RANK, WIDTH, 4, dtype=torch.bfloat16)
    y = torch.zeros(3, RANK)

    ops.bgmv_shrink(x, w, y, torch.tensor(slots), 1.0)

    torch.testing.assert_close(y, expected_shrink(x, w, torch.zeros(3, RANK), slots, 1.0))
