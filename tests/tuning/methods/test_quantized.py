"""Rounding the tiny base: what is served is what bitsandbytes' bits stand for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from fakes import trainings
from fakes.lazy import Lazy
from fakes.loras import opened, published

from storage.folders import read_manifest
from tuning.errors import TuningError
from tuning.methods.lora import linear_layers
from tuning.methods.quantized import QuantizedRecipe, packed_bytes, rounded
from tuning.methods.registry import METHODS

if TYPE_CHECKING:
    import torch
else:
    torch = Lazy("torch")

# It imports torch.
pytestmark = pytest.mark.slow

Kind = Literal["nf4", "int8"]


def in_bits(base: Path, kind: Kind) -> Any:
    """As transformers stores a model by bitsandbytes."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    config = (
        BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
        if kind == "nf4"
        else BitsAndBytesConfig(load_in_8bit=True)
    )
    return AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, quantization_config=config, device_map={"": "cpu"}
    )


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_the_weights_that_the_bits_stand_for_are_served(kind: Kind, tiny_base: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    adapter = trainings.train(tiny_base, tmp_path, recipe=QuantizedRecipe(kind=kind), name="rounded")
    stored = in_bits(tiny_base, kind)
    packed = sum(_bytes(part) for part in linear_layers(stored).values())
    wanted, found, base = stored.dequantize(torch.float32), opened(adapter.path), opened(tiny_base)
    for name, value in found.named_parameters():
        assert torch.equal(value, wanted.get_parameter(name)), name
        is_layer = name.removesuffix(".weight") in linear_layers(base)
        assert torch.equal(value, base.get_parameter(name)) != is_layer, name
    told = adapter.compression
    assert told is not None
    assert (told.kind, told.before, told.is_trained) == (kind, "", False)
    assert told.packed_bytes == told.num_bytes - 4 * told.layer_numbers + packed
    manifest = read_manifest(adapter.path)
    assert manifest["num_steps"] == 0
    assert manifest["parity"]["largest"] <= manifest["parity"]["tolerance"] < manifest["parity"]["effect"]


def _bytes(part: Any) -> int:
    """Of a layer's bits and their scales, as they lie in the memory."""
    if hasattr(part.weight, "quant_state"):
        state = part.weight.quant_state
        return int(part.weight.nbytes + state.absmax.nbytes + state.state2.absmax.nbytes)
    return int(part.weight.nbytes + part.weight.SCB.nbytes)


def test_packed_a_weight_takes_four_or_eight_bits_and_its_scales() -> None:
    weight = torch.zeros(128, 256)
    # 32,768 numbers: 512 scales of a byte, two of which share one of four bytes.
    assert packed_bytes(weight, "nf4") == 16_384 + 512 + 8
    assert packed_bytes(weight, "int8") == 32_768 + 4 * 128


def test_a_rounded_number_is_near(tiny_base: Path) -> None:
    pytest.importorskip("bitsandbytes")
    torch.manual_seed(0)
    weight = torch.randn(64, 128)
    off = {kind: float((rounded(weight, kind) - weight).norm() / weight.norm()) for kind in ("nf4", "int8")}
    assert 0.05 < off["nf4"] < 0.15
    assert 0.001 < off["int8"] < 0.02


def test_layers_that_lie_on_their_side_are_rounded_by_their_outputs(conv1d_base: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    adapter = trainings.train(conv1d_base, tmp_path, recipe=QuantizedRecipe(kind="int8"), name="rounded")
    before, after = linear_layers(opened(conv1d_base)), linear_layers(opened(adapter.path))
    for name, part in after.items():
        assert torch.equal(part.weight.T, rounded(before[name].weight.data.T, "int8")), name


def test_a_tuned_lora_is_merged_then_rounded(tiny_base: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    from peft import PeftModel

    lora = published(tiny_base, tmp_path / "adapters", "tuned")
    recipe = QuantizedRecipe(continue_from=lora.name, target_modules=("o_proj",))
    adapter = trainings.train(tiny_base, tmp_path, recipe=recipe, name="rounded")
    merged = PeftModel.from_pretrained(opened(tiny_base), str(lora.path)).merge_and_unload()
    for name, part in linear_layers(opened(adapter.path)).items():
        whole = merged.get_submodule(name).weight.data
        assert torch.equal(part.weight, rounded(whole, "nf4") if "o_proj" in name else whole), name


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"epochs": 2}, r"epochs \(2\) must be 0 with quantized, which trains nothing; take qlora"),
        ({"kind": "int4"}, "kind must be one of nf4, int8, not 'int4'"),
        ({"patience": 2}, "keep must be last and patience 0 with epochs 0"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(numbers: dict[str, Any], said: str) -> None:
    with pytest.raises(TuningError, match=said):
        QuantizedRecipe(**numbers)


def test_without_its_package_the_way_to_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'arbiter[qlora]'" in (METHODS["quantized"].obstacle() or "")
