"""Parts of a batch give the gradients of the batch, whichever is ready first."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fakes.lazy import Lazy

from tuning.objectives.objective import IGNORED
from tuning.objectives.supervised import completion_loss

if TYPE_CHECKING:
    import torch

    from tuning.training.parts import Batch
else:
    torch = Lazy("torch")
split = Lazy("tuning.training.parts")


@pytest.fixture
def keep_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def batch(rows: int) -> Batch:
    """Rows of 3, 4, 5, ... tokens, padded on the right, the last two of each scored."""
    longest = rows + 2
    ids = torch.randint(6, 19, (rows, longest), generator=torch.Generator().manual_seed(0))
    places = torch.arange(longest).expand(rows, -1)
    lengths = torch.arange(3, rows + 3).unsqueeze(1)
    mask = (places < lengths).long()
    labels = torch.where((places >= lengths - 2) & (places < lengths), ids, IGNORED)
    return {"input_ids": ids * mask, "attention_mask": mask, "labels": labels}


def test_parts_hold_all_rows_without_the_padding_they_share() -> None:
    inputs = batch(5)
    parts = split.parts_of(inputs, 2)
    assert [part["input_ids"].shape for part in parts] == [(2, 4), (2, 6), (1, 7)]
    assert torch.equal(parts[1]["labels"], inputs["labels"][2:4, :6])
    assert sum(int(part["attention_mask"].sum()) for part in parts) == int(inputs["attention_mask"].sum())


@pytest.mark.parametrize(
    ("batch_size", "cores", "rows", "threads"),
    [(8, 1, 8, [1]), (8, 2, 4, [1, 1]), (4, 2, 2, [1, 1]), (8, 3, 3, [1, 1, 1]), (2, 2, 2, [2]), (1, 2, 2, [2])],
)
def test_every_core_gets_a_part_and_torchs_threads_are_divided_among_them(
    keep_threads: None, batch_size: int, cores: int, rows: int, threads: list[int]
) -> None:
    torch.set_num_threads(cores)
    everybody = threading.Barrier(len(threads), timeout=10)

    def threads_here(_: int) -> int:
        everybody.wait()
        return torch.get_num_threads()

    with split.open_parts(batch_size) as parts:
        assert parts.rows == rows
        assert list(parts.pool.map(threads_here, threads)) == threads
    assert torch.get_num_threads() == cores


def test_gradients_are_those_of_the_whole_batch(keep_threads: None, tiny_base: Path) -> None:
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(2)
    inputs = batch(5)
    whole: Any = AutoModelForCausalLM.from_pretrained(tiny_base)
    expected = completion_loss(whole, inputs)
    expected.backward()  # type: ignore[no-untyped-call]
    found = []
    for _ in range(2):
        model: Any = AutoModelForCausalLM.from_pretrained(tiny_base)
        parameters = list(model.parameters())
        with split.open_parts(5) as parts:
            loss = parts.add_gradients(inputs, parameters, partial(completion_loss, model, num_tokens=10))
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
        found.append([parameter.grad for parameter in parameters])
    for mine, again, parameter in zip(*found, whole.parameters(), strict=True):
        assert torch.allclose(mine, parameter.grad, atol=1e-5)
        assert torch.equal(mine, again), "whichever part is ready first"


def test_gradients_are_added_to_those_of_the_batch_before() -> None:
    weight = torch.ones(1, requires_grad=True)
    weight.grad = torch.full((1,), 5.0)
    unused = torch.ones(1, requires_grad=True)
    ones = torch.ones(3, 1, dtype=torch.long)
    inputs = {"input_ids": ones, "attention_mask": ones, "labels": ones}
    with split.open_parts(3) as parts:
        total = parts.add_gradients(inputs, [weight, unused], lambda part: (weight * part["labels"]).sum())
    assert (total.item(), weight.grad.item(), unused.grad) == (3.0, 8.0, None)


def test_fused_adamw_finds_each_gradient_at_its_number() -> None:
    """A gradient may lie in memory in another order than its parameter, as here, and AdamW takes no notice."""
    weight = torch.zeros(2, 3, requires_grad=True)
    slopes = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
    ones = torch.ones(3, 1, dtype=torch.long)
    inputs = {"input_ids": ones, "attention_mask": ones, "labels": ones}
    with split.open_parts(3) as parts:
        parts.add_gradients(inputs, [weight], lambda part: (weight.t() * slopes).sum())
    torch.optim.AdamW([weight], lr=0.5, weight_decay=0.0, fused=True).step()
    assert torch.allclose(weight.detach(), -0.5 * slopes.t())


def test_a_fault_in_a_part_is_raised() -> None:
    def fail(_part: Batch) -> torch.Tensor:
        raise MemoryError("too little")

    with split.open_parts(2) as parts, pytest.raises(MemoryError, match="too little"):
        parts.add_gradients(batch(2), [], fail)
