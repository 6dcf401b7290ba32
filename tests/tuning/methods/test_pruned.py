"""Pruning the tiny base: where the zeros lie, that they stay, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fakes import trainings
from fakes.lazy import Lazy
from fakes.loras import opened, published

from storage.folders import read_manifest
from tuning.base import ResolvedModel
from tuning.errors import TuningError
from tuning.export.adapters import Adapter
from tuning.methods.lora import linear_layers
from tuning.methods.pruned import PRUNED, PrunedRecipe, least
from tuning.methods.registry import METHODS
from tuning.methods.whole import FullRecipe
from tuning.recipe import CheckRows, Occasion, Prepared
from tuning.training.obstacles import obstacles
from tuning.training.run import forecast_training

if TYPE_CHECKING:
    import torch
else:
    torch = Lazy("torch")

# It imports torch, and trains.
pytestmark = pytest.mark.slow

TRAINED = {"learning_rate": 0.01, "epochs": 4, "batch_size": 2, "seed": 3}
NO_ROWS = Occasion(lambda _size, _count: [], 1)


def train(base: Path, home: Path, **numbers: Any) -> Adapter:
    return trainings.train(base, home, recipe=PrunedRecipe(**({"epochs": 0} | numbers)), name="pruned")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """(outputs, inputs) of each layer, as transformers loads it."""
    model = opened(folder)
    return {
        name: part.weight.data.T if hasattr(part, "nf") else part.weight.data
        for name, part in linear_layers(model).items()
    }


@pytest.mark.parametrize("epochs", [0, 4])
@pytest.mark.parametrize("by", ["magnitude", "activations"])
@pytest.mark.parametrize("base", ["tiny_base", "conv1d_base"])
@pytest.mark.parametrize(("pattern", "sparsity"), [("unstructured", 0.75), ("2:4", 0.5)])
def test_the_exported_layers_have_as_many_zeros_as_were_asked_for(
    pattern: str, sparsity: float, base: str, by: str, epochs: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(base)
    adapter = train(folder, tmp_path, **TRAINED | {"epochs": epochs}, pattern=pattern, sparsity=sparsity, by=by)
    for name, weight in weights(adapter.path).items():
        assert int((weight == 0).sum()) == sparsity * weight.numel(), name
        if pattern == "2:4":
            assert ((weight.reshape(-1, 4) == 0).sum(1) == 2).all(), name
        if by == "activations":
            assert ((weight == 0).sum(1) == sparsity * weight.shape[1]).all(), name
    told = adapter.compression
    assert told is not None
    assert (told.sparsity, told.kind, told.before, told.is_trained) == (sparsity, pattern, "", epochs > 0)
    counted = sum(int(value.count_nonzero()) for value in opened(adapter.path).parameters())
    assert told.nonzero == counted
    assert told.num_bytes > 4 * told.numbers > 4 * counted


def test_what_is_left_is_trained_and_nothing_else(tiny_base: Path, tmp_path: Path) -> None:
    adapter = train(tiny_base, tmp_path, **TRAINED, layers=(1,), target_modules=("q_proj", "down_proj"))
    before, after = opened(tiny_base), opened(adapter.path)
    for name, value in after.named_parameters():
        was = before.get_parameter(name)
        if ".layers.1." in name and ("q_proj" in name or "down_proj" in name):
            kept = value != 0
            assert 2 * int(kept.sum()) == value.numel()
            assert not torch.equal(value[kept], was[kept]), name
        else:  # the table of tokens, which is the head too, among it
            assert torch.equal(value, was), name
    assert after.lm_head.weight.data_ptr() == after.model.embed_tokens.weight.data_ptr()


def test_untrained_the_largest_stay_as_they_were_as_torch_prunes(tiny_base: Path, tmp_path: Path) -> None:
    from torch.nn.utils import prune

    found = weights(train(tiny_base, tmp_path, sparsity=0.4).path)
    model = opened(tiny_base)
    for name, part in linear_layers(model).items():
        prune.l1_unstructured(part, "weight", 0.4)
        assert torch.equal(found[name], part.weight), name


def test_by_activations_what_weighs_least_on_its_inputs_goes() -> None:
    recipe = PrunedRecipe(by="activations")
    weight, norms = torch.tensor([[1.0, 2.0, 3.0, 4.0], [9.0, 8.0, 7.0, 6.0]]), torch.tensor([10.0, 1.0, 1.0, 1.0])
    # 10, 2, 3, 4 and 90, 8, 7, 6: two of each output.
    gone = least(weight * norms, recipe)
    assert gone.tolist() == [[False, True, True, False], [False, False, True, True]]
    assert least(weight, PrunedRecipe()).tolist() == [[True, True, True, True], [False] * 4]
    four = torch.arange(8.0).reshape(1, 8)
    assert least(four, PrunedRecipe(pattern="2:4")).tolist() == [[True, True, False, False] * 2]


def test_norms_are_those_of_what_the_layers_read(tiny_base: Path) -> None:
    rows = [[4, 11, 6, 3], [4, 12, 7, 8, 3]]
    batches = [{"input_ids": torch.tensor([row]), "attention_mask": torch.ones(1, len(row))} for row in rows]
    model = opened(tiny_base)
    recipe = PrunedRecipe(by="activations", target_modules=("q_proj",), layers=(0,), sparsity=0.25)
    (layer,) = (part for name, part in model.named_modules() if name == "model.layers.0.self_attn.q_proj")
    weight = layer.weight.data.clone()
    PRUNED.prepare(model, recipe, Occasion(lambda size, count: batches[:count] if size == 1 else [], 1))
    first = opened(tiny_base).model
    with torch.no_grad():
        read = torch.cat([first.layers[0].input_layernorm(first.embed_tokens(torch.tensor(row))) for row in rows])
    kept = (weight.abs() * read.norm(dim=0)).argsort(1) >= 0  # the shape
    order = (weight.abs() * read.norm(dim=0)).argsort(1)[:, :8]
    wanted = torch.ones_like(kept).scatter(1, order, value=False)
    assert torch.equal(layer.weight != 0, wanted)


def test_the_mask_holds_whatever_an_optimizer_does(tiny_base: Path) -> None:
    prepared = PRUNED.prepare(opened(tiny_base), PrunedRecipe(), NO_ROWS)
    moved = [value for value in prepared.model.parameters() if value.requires_grad]
    assert len(moved) == 2 * 7
    zeros = [value == 0 for value in moved]
    with torch.no_grad():
        for value in moved:
            value += 1.0
    assert prepared.on_step is not None
    prepared.on_step(0)
    assert all(torch.equal(value == 0, zero) for value, zero in zip(moved, zeros, strict=True))


def test_a_tuned_lora_is_merged_then_pruned(tiny_base: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    lora = published(tiny_base, tmp_path / "adapters", "tuned")
    adapter = train(tiny_base, tmp_path, continue_from=lora.name, sparsity=0.25)
    assert adapter.compression is not None
    assert adapter.compression.before == lora.name
    merged = PeftModel.from_pretrained(opened(tiny_base), str(lora.path)).merge_and_unload()
    for name, weight in weights(adapter.path).items():
        kept = weight != 0
        assert torch.equal(weight[kept], merged.get_submodule(name).weight[kept]), name


def test_whole_weights_are_pruned_too_and_pruned_ones_rounded(tiny_base: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    full = trainings.train(tiny_base, tmp_path, recipe=FullRecipe(**TRAINED), name="full")
    pruned = train(tiny_base, tmp_path, continue_from=full.name)
    recipe = METHODS["quantized"].recipe(continue_from=pruned.name)
    rounded = trainings.train(tiny_base, tmp_path, recipe=recipe, name="both")
    assert rounded.compression is not None
    assert rounded.compression.sparsity >= 0.5
    assert rounded.compression.before == pruned.name


def _written(change: Callable[[Any], None]) -> Callable[[Prepared, Any, Path], None]:
    def export(prepared: Prepared, recipe: Any, folder: Path) -> None:
        layer = prepared.model.model.layers[0].mlp.up_proj.weight.data
        kept = layer.clone()
        change(layer)
        PRUNED.export(prepared, recipe, folder)
        layer.copy_(kept)

    return export


def _fill(weight: torch.Tensor) -> None:
    weight[weight == 0] = 1e-30


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda weight: weight.neg_(), r"what pruned would serve does not answer as what was trained: logits differ"),
        (_fill, r"what pruned would serve is not pruned: model.layers.0.mlp.up_proj has 0 zeros of 1,024 \(2:4\)"),
    ],
)
def test_a_spoilt_export_is_not_published(
    change: Callable[[Any], None], said: str, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "pruned", replace(PRUNED, export=_written(change)))  # type: ignore[arg-type]  # a dict
    with pytest.raises(TuningError, match=said):
        train(tiny_base, tmp_path, pattern="2:4")
    assert not [*(tmp_path / "adapters").glob("*@*")]


def test_nothing_trained_is_told_so_and_foretold(tiny_base: Path, tmp_path: Path) -> None:
    given = trainings.arguments(tiny_base, tmp_path, recipe=PrunedRecipe(epochs=0), name="pruned")
    forecast = forecast_training(**given)
    assert forecast is not None
    assert 0 < forecast.memory_bytes < forecast.free_bytes
    manifest = read_manifest(trainings.train(tiny_base, tmp_path, recipe=PrunedRecipe(epochs=0), name="pruned").path)
    assert (manifest["num_steps"], manifest["num_tokens"], manifest["final_loss"]) == (0, 0, None)
    assert manifest["parity"]["largest"] <= manifest["parity"]["tolerance"] < manifest["parity"]["effect"]
    assert forecast_training(**given) is None, "it is there"


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"sparsity": 1.0}, "sparsity must be a number above 0 and below 1, not 1"),
        ({"pattern": "2:4", "sparsity": 0.6}, r"sparsity \(0.6\) must be 0.5 with pattern 2:4, which is two of four"),
        ({"pattern": "4:8"}, "pattern must be one of unstructured, 2:4, not '4:8'"),
        ({"epochs": 0, "keep": "best"}, "keep must be last and patience 0 with epochs 0, which trains nothing"),
        ({"epochs": 0, "objective": {"name": "dpo"}}, "objective must be supervised with epochs 0"),
        ({"epochs": 0, "optimizer": "muon"}, "optimizer must be adamw with epochs 0"),
        ({"optimizer": "lomo"}, "optimizer must be another than 'lomo', which has no steps: pruned changes weights"),
        ({"target_modules": ("lm_head",)}, "target_modules must be without lm_head"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(numbers: dict[str, Any], said: str) -> None:
    with pytest.raises(TuningError, match=said):
        PrunedRecipe(**numbers)


def test_what_a_base_does_not_fit_is_said_before(tiny_base: Path, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(tiny_base, intermediate_size=66)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "odd")
    for path in tiny_base.iterdir():
        if not (tmp_path / "odd" / path.name).exists():
            (tmp_path / "odd" / path.name).write_bytes(path.read_bytes())
    recipes = {"fours": PrunedRecipe(pattern="2:4"), "free": PrunedRecipe(), "gone": PrunedRecipe(layers=(7,))}
    found = obstacles(recipes, ResolvedModel("org/tiny", "r1", str(tmp_path / "odd")), tmp_path)
    assert found.keys() == {"fours", "gone"}
    assert found["fours"].startswith("pattern 2:4 needs layers whose inputs are a multiple of 4, and the base model's")
    assert "32, 66; take unstructured" in found["fours"]


def test_dev_rows_are_looked_at_while_what_is_left_is_trained(tiny_base: Path, tmp_path: Path) -> None:
    recipe = PrunedRecipe(**TRAINED, keep="mean", look_every=1)
    adapter = trainings.train(tiny_base, tmp_path, recipe=recipe, name="pruned", dev=CheckRows(trainings.ROWS[:3]))
    assert len(adapter.looks) == 5
    assert adapter.compression is not None
    assert adapter.compression.sparsity == 0.5
