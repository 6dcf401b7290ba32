"""What is served merged, on the tiny base: it begins as the base was, and C3A learns by the gradient of its outputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fakes.lazy import Lazy
from fakes.trainings import NUMBERS

from tuning.automatic import settled
from tuning.errors import TuningError
from tuning.methods.c3a import convolve
from tuning.methods.registry import METHODS
from tuning.recipe import Occasion

if TYPE_CHECKING:
    import torch
else:
    torch = Lazy("torch")

# It imports torch and peft.
pytestmark = pytest.mark.slow

IDS = [[4, 11, 6, 3, 5, 9, 3]]


@pytest.mark.parametrize(("method", "number"), [("road", "group"), ("hra", "rank")])
def test_a_number_that_must_be_even_says_so(method: str, number: str) -> None:
    with pytest.raises(
        TuningError, match=f"^{number} must be a whole number of at least 2 and a multiple of 2, not 3$"
    ):
        METHODS[method].recipe(**{number: 3})


@pytest.mark.parametrize(
    "method",
    # What is pruned or rounded differs from the beginning.
    [name for name, one in METHODS.items() if one.form == "merged" and not one.needs_cuda and one.measure is None],
)
def test_it_begins_as_the_base_was(method: str, tiny_base: Path) -> None:
    from tuning.training.loading import load_base

    def logits(model: torch.nn.Module) -> torch.Tensor:
        with torch.no_grad():
            return model.eval()(input_ids=torch.tensor(IDS)).logits  # type: ignore[no-any-return]  # untyped model

    own = METHODS[method]
    first, second = (load_base(str(tiny_base), "float32", longest=8, quantization=own.quantization) for _ in range(2))
    torch.manual_seed(1)
    recipe = settled(own.recipe(**NUMBERS.get(method, {})))
    prepared = own.prepare(first, recipe, Occasion(lambda _size, _count: [], 4))
    assert float((logits(prepared.model) - logits(second)).abs().max()) < 1e-5


def test_a_block_is_its_row_turned_on_by_one_place_each_time() -> None:
    found = convolve(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([[[1.0, 10.0, 100.0]]]))
    # 1 x 1 + 2 x 10 + 3 x 100; 1 x 100 + 2 x 1 + 3 x 10; 1 x 10 + 2 x 100 + 3 x 1
    assert found.tolist() == pytest.approx([321, 132, 213])


def test_c3a_has_the_gradients_of_the_weight_that_it_is_merged_into() -> None:
    from peft.tuners.c3a.utils import get_circulant_fast

    torch.manual_seed(0)
    inputs, rows = torch.randn(5, 8, requires_grad=True), torch.randn(3, 2, 4, requires_grad=True)
    wanted, found = inputs @ get_circulant_fast(rows).T, convolve(inputs, rows)
    slope = torch.randn(5, 12)
    assert torch.allclose(found, wanted, atol=1e-5)
    of_found, of_wanted = (torch.autograd.grad(one, (inputs, rows), slope) for one in (found, wanted))
    for one, other in zip(of_found, of_wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
