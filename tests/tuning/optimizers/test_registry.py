"""What each optimizer keeps, refuses, and takes back from a checkpoint, on one weight."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fakes.lazy import Lazy

from tuning.errors import TuningError
from tuning.methods.adalora import AdaLoraRecipe
from tuning.methods.delta_lora import DeltaLoraRecipe
from tuning.methods.lora import LoraRecipe
from tuning.methods.lora_fa import LoraFaRecipe
from tuning.methods.lora_plus import LoraPlusRecipe
from tuning.optimizers.registry import OPTIMIZERS, Course

if TYPE_CHECKING:
    import torch
else:
    torch = Lazy("torch")

COURSE = Course(learning_rate=0.01, num_steps=40, warmup_steps=4)
INSTALLED = [
    name
    for name, optimizer in OPTIMIZERS.items()
    if importlib.util.find_spec(optimizer.package.replace("-", "_") or "torch")
]


@pytest.fixture
def no_gpu_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """AdaLomo's library puts its state on a GPU, and does the same on a CPU."""
    monkeypatch.setattr("torch.Tensor.cuda", lambda tensor: tensor)


def network(*, rows: int = 8, columns: int = 16) -> Any:
    """A vector, a matrix and a table of tokens."""
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Embedding(7, columns),
        torch.nn.LayerNorm(columns, bias=False),
        torch.nn.Linear(columns, rows, bias=False),
    )


def make(name: str, model: Any, course: Course = COURSE) -> Any:
    """As a training makes it, where AdamW comes from transformers."""
    if name == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=course.learning_rate)
    build = OPTIMIZERS[name].make
    assert build is not None
    return build(model, course)


def step(made: Any, model: Any, number: int) -> None:
    """One step towards numbers that depend on its own."""
    getattr(made, "train", lambda: None)()
    tokens = torch.arange(7).roll(number)
    target = torch.randn(7, model[-1].out_features, generator=torch.Generator().manual_seed(number))
    loss = ((model(tokens) - target) ** 2).mean()
    if hasattr(made, "fused_backward"):
        made.fused_backward(loss, 0.1)
        assert all(weight.grad is None for weight in model.parameters())
        return
    loss.backward()
    made.step()
    made.zero_grad()


def tensors_of(value: Any) -> list[torch.Tensor]:
    if isinstance(value, dict | list | tuple):
        parts = value.values() if isinstance(value, dict) else value
        return [tensor for part in parts for tensor in tensors_of(part)]
    return [value] if isinstance(value, torch.Tensor) else []


@pytest.mark.slow
@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.usefixtures("no_gpu_needed")
def test_what_it_keeps_is_what_is_said(name: str) -> None:
    model = network(rows=256, columns=256)
    model[:2].requires_grad_(False)
    made = make(name, model)
    step(made, model, 0)
    kept = sum(tensor.numel() * tensor.element_size() for tensor in tensors_of(made.state_dict()))
    assert kept / 256**2 == pytest.approx(OPTIMIZERS[name].state_bytes, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.usefixtures("no_gpu_needed")
def test_it_goes_on_from_a_checkpoint_as_if_nothing_had_happened(name: str, tmp_path: Path) -> None:
    models = [network(rows=256), network(rows=256)]  # the least that 8 bits are kept of
    made = make(name, models[0])
    for number in range(6):
        step(made, models[0], number)
    torch.save({"weights": models[0].state_dict(), "state": made.state_dict()}, tmp_path / "half.pt")
    for number in range(6, 12):
        step(made, models[0], number)

    stored = torch.load(tmp_path / "half.pt", weights_only=True)
    models[1].load_state_dict(stored["weights"])
    again = make(name, models[1])
    again.load_state_dict(stored["state"])
    for number in range(6, 12):
        step(again, models[1], number)

    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["galore", "apollo", "muon", "adamw_8bit"])
def test_vectors_and_tables_of_tokens_are_left_to_adamw(name: str) -> None:
    if name not in INSTALLED:
        pytest.skip(OPTIMIZERS[name].obstacle() or name)
    model = network()
    table, vector, matrix = model.parameters()
    groups = make(name, model).param_groups
    assert len(groups) == 2
    of_matrices = [group for group in groups if all(weight is matrix for weight in group["params"])]
    assert [[id(weight) for weight in group["params"]] for group in of_matrices] == [[id(matrix)]]
    others = [id(weight) for group in groups if group is not of_matrices[0] for weight in group["params"]]
    assert others == [id(table), id(vector)]


@pytest.mark.slow
def test_a_rank_that_saves_nothing_is_adamw() -> None:
    pytest.importorskip("galore_torch")
    groups = make("galore", network(), replace(COURSE, rank=8)).param_groups  # the matrix is 8 x 16
    assert [len(group["params"]) for group in groups] == [3]
    assert "rank" not in groups[0]


def test_a_missing_package_is_one_line_with_what_installs_it() -> None:
    galore = replace(OPTIMIZERS["galore"], package="no-such-package")
    assert galore.obstacle() == (
        "optimizer galore needs the package no-such-package; install it: pip install 'arbiter[optimizers]'"
    )
    apollo = replace(OPTIMIZERS["apollo"], package="no-such-package").obstacle()
    assert apollo is not None
    assert "pip install apollo-torch (its licence, CC BY-NC 4.0, is for non-commercial use alone)" in apollo
    assert OPTIMIZERS["adamw"].obstacle() is None


@pytest.mark.slow
def test_adalomo_is_refused_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lomo_optim")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert OPTIMIZERS["adalomo"].obstacle() == (
        "optimizer adalomo needs a CUDA GPU, where lomo-optim puts its state; take lomo on a CPU"
    )


@pytest.mark.parametrize(
    ("kind", "numbers", "fault"),
    [
        (
            LoraPlusRecipe,
            {"optimizer": "muon"},
            "optimizer must be adamw, not 'muon': lora_plus brings its own way to move the weights",
        ),
        (LoraFaRecipe, {"optimizer": "lomo"}, "optimizer must be adamw, not 'lomo': lora_fa brings its own"),
        (
            LoraRecipe,
            {"optimizer": "lomo", "accumulate": 2},
            r"accumulate \(2\) must be 1 with lomo, which moves weights in the backward pass",
        ),
        (
            AdaLoraRecipe,
            {"optimizer": "lomo"},
            "optimizer must be another than 'lomo', which has no steps: adalora changes weights after each",
        ),
        (
            DeltaLoraRecipe,
            {"optimizer": "schedule_free"},
            "'schedule_free', which serves a mean over the steps: delta_lora changes weights after each",
        ),
        (
            LoraRecipe,
            {"optimizer_rank": 4},
            r"optimizer_rank \(4\) must be null with adamw; it is for galore and apollo",
        ),
        (
            LoraRecipe,
            {"optimizer": "schedule_free", "patience": 2},
            "keep must be last and patience 0 with schedule_free, whose mean of the weights no look sees",
        ),
        (LoraRecipe, {"optimizer": "moun"}, r"optimizer must be one of .*, not 'moun' \(did you mean 'muon'\?\)"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(kind: Any, numbers: dict[str, Any], fault: str) -> None:
    with pytest.raises(TuningError, match=fault) as caught:
        kind(**numbers)
    assert len(str(caught.value).splitlines()) == 1
