"""LoftQ on the tiny base: without a CUDA GPU it is refused; with one it begins nearer to the base than QLoRA does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fakes import trainings
from fakes.lazy import Lazy

from tuning.errors import TuningError
from tuning.methods.loftq import LOFTQ, LoftqRecipe
from tuning.methods.qlora import QLORA
from tuning.recipe import Method, Occasion

if TYPE_CHECKING:
    import torch
else:
    torch = Lazy("torch")

# It imports torch and peft.
pytestmark = pytest.mark.slow

ROWS = [[4, 11, 6, 3, 5, 9, 3], [4, 12, 7, 8, 3, 5, 10, 3]]
# Scales of 8, 4 and 1.
RECIPE = LoftqRecipe(rank=4, alpha=32, rank_pattern={"down_proj": 8}, alpha_pattern={"q_proj": 4})
REFUSAL = "method loftq needs a CUDA GPU, where PEFT finds its first weights; take qlora or pissa on a CPU"


def test_without_a_gpu_it_is_refused_before_anything_is_trained(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert LOFTQ.obstacle() == REFUSAL
    seen: list[Any] = []
    with pytest.raises(TuningError) as caught:
        trainings.train(tiny_base, tmp_path, recipe=RECIPE, foretold=seen.append, progress=seen.append)
    assert str(caught.value) == REFUSAL
    assert not seen
    assert not list(tmp_path.glob("training/*/checkpoint-*"))
    assert not list(tmp_path.glob("adapters/*"))


def test_with_a_gpu_it_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert LOFTQ.obstacle() is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert LOFTQ.obstacle() == ("method loftq needs the package bitsandbytes; install it: pip install 'arbiter[qlora]'")


def test_it_cannot_begin_with_an_adapter() -> None:
    with pytest.raises(TuningError, match=r"continue_from must be empty with loftq: .* rounded to four bits again"):
        LoftqRecipe(continue_from="raft@3f9c01ab")


def opened(base: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base)


def begun(method: Method, base: Path, folder: Path) -> Any:
    """The whole weights that a method begins with, as it would serve them."""
    from tuning.training.loading import load_base

    torch.manual_seed(0)
    model = load_base(str(base), "float32", longest=8, quantization="nf4")
    method.export(method.prepare(model, RECIPE, Occasion(lambda _size, _count: [], 1)), RECIPE, folder)
    return opened(folder)


@pytest.mark.gpu
def test_it_begins_with_the_nearest_weights_of_its_rank(tiny_base: Path, tmp_path: Path) -> None:
    trainings.skip_without_gpu("loftq")
    base = opened(tiny_base)
    rounded, mended = (begun(method, tiny_base, tmp_path / method.name) for method in (QLORA, LOFTQ))
    layers = {name: weight.detach() for name, weight in base.named_parameters() if name.endswith("_proj.weight")}
    for name, weight in layers.items():
        lost = weight - rounded.get_parameter(name).detach()  # QLoRA's update begins with zeros
        rank = 8 if "down_proj" in name else 4
        sizes = torch.linalg.svdvals(lost)
        # Of a matrix nothing of a lower rank leaves less than the smaller singular values (Eckart and Young).
        left = float((weight - mended.get_parameter(name).detach()).norm())
        assert left == pytest.approx(float(sizes[rank:].norm()), rel=1e-3)
        assert left < 0.9 * float(sizes.norm())
    with torch.no_grad():
        wanted, plain, near = ([one(torch.tensor([row])).logits for row in ROWS] for one in (base, rounded, mended))
    off, less = (max(float((a - b).abs().max()) for a, b in zip(one, wanted, strict=True)) for one in (plain, near))
    assert less < off
