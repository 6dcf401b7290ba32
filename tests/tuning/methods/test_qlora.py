"""QLoRA on the tiny base: what is stored, what is served, and what would answer otherwise without a word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fakes import trainings
from fakes.lazy import Lazy
from fakes.trainings import ROWS as TRAINED_ON

from storage.folders import read_manifest
from tuning.errors import TuningError
from tuning.export.gate import Parity, open_gate
from tuning.methods.qlora import QLORA, QloraRecipe, dequantized
from tuning.recipe import CheckRows, Occasion, Prepared
from tuning.training.progress import TrainProgress

if TYPE_CHECKING:
    import torch
else:
    torch = Lazy("torch")

# It imports torch and peft, and trains.
pytestmark = pytest.mark.slow

ROWS = [[4, 11, 6, 3, 5, 9, 3], [4, 12, 7, 8, 3, 5, 10, 3]]
RECIPE = QloraRecipe(rank=4, rank_pattern={"down_proj": 2}, learning_rate=0.03, epochs=4, batch_size=2, seed=3)


def opened(base: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base)


def with_biases(base: Path, folder: Path) -> Path:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(2)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base, attention_bias=True, mlp_bias=True))
    for name, parameter in model.named_parameters():
        if name.endswith(".bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return folder


def in_four_bits(base: Path) -> Any:
    from tuning.training.loading import load_base

    return load_base(str(base), "float32", longest=8, quantization="nf4")


def moved(base: Path) -> Prepared:
    prepared = QLORA.prepare(in_four_bits(base), RECIPE, Occasion(lambda _size, _count: [], 1))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in prepared.model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    return prepared


def as_it_is(prepared: Prepared, base: Path, folder: Path) -> Any:
    QLORA.export(prepared, RECIPE, folder)
    return opened(folder)


def on_the_base_as_it_was(prepared: Prepared, base: Path, folder: Path) -> Any:
    from peft import PeftModel

    prepared.model.save_pretrained(str(folder))
    return PeftModel.from_pretrained(opened(base), str(folder))


def merged_in_four_bits(prepared: Prepared, _base: Path, _folder: Path) -> Any:
    return dequantized(prepared.model.merge_and_unload())


def gated(serve: Callable[[Prepared, Path, Path], Any], base: Path, folder: Path) -> Parity:
    prepared = moved(base)
    gate = open_gate(prepared.model, ROWS)
    return gate.check(lambda: dequantized(in_four_bits(base)), lambda _: serve(prepared, base, folder), name="qlora")


@pytest.mark.parametrize("has_biases", [False, True])
def test_the_weights_that_the_four_bits_stand_for_are_served(has_biases: bool, tiny_base: Path, tmp_path: Path) -> None:
    base = with_biases(tiny_base, tmp_path / "base") if has_biases else tiny_base
    parity = gated(as_it_is, base, tmp_path / "served")
    assert parity.largest <= 1e-4 < 0.1 < parity.effect


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("serve", [on_the_base_as_it_was, merged_in_four_bits])
def test_what_libraries_serve_without_a_word_is_refused_with_the_figures(
    serve: Callable[[Prepared, Path, Path], Any], tiny_base: Path, tmp_path: Path
) -> None:
    with pytest.raises(TuningError, match=r"logits differ by \d\.?\d*, and training moved them by \d"):
        gated(serve, tiny_base, tmp_path)


def test_two_numbers_of_the_layers_lie_in_a_byte_and_the_rest_as_it_was(tiny_base: Path) -> None:
    from bitsandbytes.nn import Linear4bit

    stored, plain = in_four_bits(tiny_base), opened(tiny_base)
    layers = {name: part for name, part in stored.named_modules() if isinstance(part, Linear4bit)}
    assert len(layers) == 2 * 7
    for name, part in layers.items():
        assert part.weight.nbytes == plain.get_submodule(name).weight.numel() / 2
        assert part.weight.quant_state.nested, "scales of scales"
    others = {name: value for name, value in plain.named_parameters() if name.removesuffix(".weight") not in layers}
    assert {"model.embed_tokens.weight", "model.norm.weight"} <= others.keys()
    assert all(torch.equal(stored.get_parameter(name), value) for name, value in others.items())


def test_an_answer_between_two_steps_changes_nothing_on_a_processor_with_short_floats(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: True)
    model = in_four_bits(tiny_base).eval()
    ids = torch.tensor(ROWS[:1])
    with torch.no_grad():
        found = [model(input_ids=ids).logits for _ in range(2)]
        wanted = dequantized(model)(input_ids=ids).logits
    assert all(float((one - wanted).abs().max()) < 1e-5 for one in found)


class Stop(Exception):
    """A kill."""


def test_a_training_in_bfloat16_keeps_its_lora_in_float32_and_is_looked_at(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tuning.training import trainer

    monkeypatch.setattr(trainer, "choose_precision", lambda: "bf16")
    recipe = QloraRecipe(rank=4, learning_rate=0.03, epochs=4, batch_size=2, seed=3, keep="best", look_every=2)
    given: dict[str, Any] = {"recipe": recipe, "dev": CheckRows(TRAINED_ON[:3])}

    def stop(progress: TrainProgress) -> None:
        if progress.step == 7:
            raise Stop

    with pytest.raises(Stop):
        trainings.train(tiny_base, tmp_path, **given, progress=stop, checkpoint_every_s=0)
    (newest, *_) = sorted((tmp_path / "training").glob("*/checkpoint-*/trained.pt"))
    weights = torch.load(newest, weights_only=False)["weights"]
    assert all("lora_" in name and value.dtype == torch.float32 for name, value in weights.items())

    manifest = read_manifest(trainings.train(tiny_base, tmp_path, **given).path)
    assert manifest["precision"] == "bf16"
    assert manifest["parity"]["largest"] < 1e-4, "in float32 both"
    assert (len(manifest["looks"]), manifest["base_quantization"]) == (3, "nf4")
    assert "bitsandbytes" in manifest["packages"]


def test_without_its_package_nothing_is_trained(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tuning.training.trainer  # noqa: F401  # libraries ask for packages while they are imported

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TuningError, match=r"method qlora needs the package bitsandbytes; install it: pip install 'ar"):
        trainings.train(tiny_base, tmp_path, recipe=RECIPE, name="qlora")
