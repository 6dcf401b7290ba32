"""What is served beside vLLM, on the tiny base: where it begins, what it leaves alone, and files that do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuning.errors import TuningError
from tuning.export.gate import Parity, open_gate
from tuning.export.opening import first_cache, open_exported, without_first_cache
from tuning.methods.registry import METHODS
from tuning.methods.size import served_bytes, shapes_of
from tuning.recipe import Occasion, Prepared, Recipe

# It imports torch and peft.
pytestmark = pytest.mark.slow

ROWS = [[4, 11, 6, 3, 5, 9, 3], [4, 12, 7, 8, 3, 5, 10, 3]]
RECIPES: dict[str, dict[str, Any]] = {"prefix": {"num_tokens": 5}, "bottleneck": {"width": 4}}


def opened(base: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base)


def recipe_of(method: str, **numbers: Any) -> Recipe:
    return METHODS[method].recipe(**RECIPES[method] | numbers)


def begun(base: Path, method: str, **numbers: Any) -> Prepared:
    import torch

    rows = [{"input_ids": torch.tensor([row]), "attention_mask": torch.ones(1, len(row))} for row in ROWS]
    occasion = Occasion(batches=lambda _size, count: rows[:count], num_steps=4)
    return METHODS[method].prepare(opened(base), recipe_of(method, **numbers), occasion)


def moved(base: Path, method: str, **numbers: Any) -> Prepared:
    """As a training leaves it: every number that is trained has moved."""
    import torch

    prepared = begun(base, method, **numbers)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in prepared.model.parameters():
            if parameter.requires_grad:
                parameter += 0.3 * torch.randn_like(parameter)
    return prepared


def logits_of(model: Any, ids: list[int]) -> Any:
    import torch

    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([ids])).logits[0]


@pytest.mark.parametrize("after", ["mlp", "both"])
def test_bottlenecks_begin_as_the_model_was(after: str, tiny_base: Path) -> None:
    model = begun(tiny_base, "bottleneck", after=after).model
    assert (logits_of(model, ROWS[0]) == logits_of(opened(tiny_base), ROWS[0])).all()


def test_a_prefix_begins_as_a_text_that_was_read(tiny_base: Path) -> None:
    model = begun(tiny_base, "prefix").model
    found, read = logits_of(model, ROWS[1]), logits_of(opened(tiny_base), ROWS[0][:5] + ROWS[1])[5:]
    assert float((found - read).abs().max()) < 1e-5


@pytest.mark.parametrize("method", RECIPES)
def test_the_base_is_not_touched(method: str, tiny_base: Path) -> None:
    from tuning.objectives.supervised import completion_loss

    torch = pytest.importorskip("torch")
    model = begun(tiny_base, method).model
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.1)
    ids = torch.tensor([ROWS[0]])
    for _ in range(3):
        completion_loss(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}).backward()
        optimizer.step()
        optimizer.zero_grad()

    before = dict(opened(tiny_base).named_parameters())
    own = {name.removeprefix("base_model."): value for name, value in model.named_parameters()}
    assert all(torch.equal(own[name], value) for name, value in before.items())
    assert sum(value.numel() for value in trained) == sum(own[name].numel() for name in own.keys() - before.keys())
    assert float((logits_of(model, ROWS[0]) - logits_of(opened(tiny_base), ROWS[0])).abs().max()) > 0.05


def gated(prepared: Prepared, method: str, base: Path, folder: Path, spoil: Any = None, **numbers: Any) -> Parity:
    gate = open_gate(prepared.model, ROWS)
    METHODS[method].export(prepared, recipe_of(method, **numbers), folder)
    if spoil is not None:
        spoil(folder)
    form = METHODS[method].form
    return gate.check(lambda: opened(base), lambda plain: open_exported(form, plain, folder, opened), name=method)


def halved(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    tensors[sorted(tensors)[0]] *= 0.5
    save_file(tensors, path, metadata={"format": "pt"})


def cut(folder: Path) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "after": ["mlp"]}))


@pytest.mark.parametrize("method", RECIPES)
def test_the_gate_lets_what_is_exported_through_and_nothing_else(method: str, tiny_base: Path, tmp_path: Path) -> None:
    parity = gated(moved(tiny_base, method), method, tiny_base, tmp_path / "right")
    assert parity.largest <= 1e-4 < 0.05 < parity.effect
    with pytest.raises(TuningError, match=r"logits differ by \d\.?\d*, and training moved them by \d"):
        gated(moved(tiny_base, method), method, tiny_base, tmp_path / "wrong", halved)


def test_bottlenecks_of_another_shape_are_refused(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match=r"does not fit the base model: model\.layers\.0\.self_attn\.bottleneck"):
        gated(moved(tiny_base, "bottleneck"), "bottleneck", tiny_base, tmp_path, cut)


def test_a_base_without_named_blocks_is_refused() -> None:
    from types import SimpleNamespace

    from tuning.methods.bottleneck import attach

    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    text = SimpleNamespace(num_hidden_layers=2, hidden_size=2)
    model.config = SimpleNamespace(get_text_config=lambda: text)
    with pytest.raises(TuningError, match="bottleneck finds no mlp in the blocks of the base model"):
        attach(model, width=2, after=["mlp"])


@pytest.mark.parametrize("method", RECIPES)
def test_its_size_is_known_before(method: str, tiny_base: Path) -> None:
    trained = [value for value in begun(tiny_base, method).model.parameters() if value.requires_grad]
    size = served_bytes(shapes_of(str(tiny_base)), recipe_of(method))
    assert size == 4 * sum(value.numel() for value in trained)


@pytest.mark.parametrize("method", RECIPES)
def test_a_text_goes_on_from_its_first_cache(method: str, tiny_base: Path) -> None:
    torch = pytest.importorskip("torch")
    model = moved(tiny_base, method).model
    whole = logits_of(model, ROWS[0])
    with torch.no_grad():
        cache, plain = first_cache(model), without_first_cache(model)
        parts = [
            plain(input_ids=torch.tensor([part]), past_key_values=cache).logits[0]
            for part in (ROWS[0][:3], ROWS[0][3:])
        ]
    assert float((torch.cat(parts) - whole).abs().max()) < 1e-5
