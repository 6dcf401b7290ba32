"""Adapters of the tiny base written for other programs, and read again by them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fakes.lazy import Lazy
from fakes.loras import ROWS, opened, published

from storage.folders import read_manifest
from storage.hashes import hash_files
from tuning.base import ResolvedModel
from tuning.errors import TuningError
from tuning.exchange.export import export_adapter, refuse_little_space
from tuning.exchange.settings import ExportSettings
from tuning.export.adapters import Adapter
from tuning.methods.lora import linear_layers

if TYPE_CHECKING:
    import torch
else:
    torch = Lazy("torch")

# It imports torch and peft.
pytestmark = pytest.mark.slow

SIZE = 0.05
CONVERTER = Path(__file__).parents[2] / "fakes" / "gguf_converter.py"


@pytest.fixture(scope="module")
def adapter(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    return published(tiny_base, tmp_path_factory.mktemp("adapters"), "raft")


@pytest.fixture(scope="module")
def even_base(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base with weights of one size, of which four bits lose little once an update is on them that is as even.
    Of random numbers they lose a tenth, which moves this model's logits as far as a training.
    """
    folder = tmp_path_factory.mktemp("even") / "tiny"
    shutil.copytree(tiny_base, folder)
    model = opened(tiny_base)
    with torch.no_grad():
        for part in linear_layers(model).values():
            part.weight.copy_(SIZE * part.weight.sign())
    model.save_pretrained(folder)
    return folder


def exported(adapter: Adapter, base: Path, target: Path, **numbers: Any) -> dict[str, Any]:
    model = ResolvedModel("org/tiny", "r1", str(base))
    return export_adapter(adapter, model, target, ExportSettings(**numbers), ROWS)


def off(model: Any, adapter: Adapter, base: Path) -> float:
    """How far a model's logits are from the adapter's, as PEFT computes them."""
    from peft import PeftModel

    tuned = PeftModel.from_pretrained(opened(base), str(adapter.path))
    with torch.no_grad():
        rows = torch.tensor(ROWS[:1])
        return float((model(input_ids=rows).logits.float() - tuned(input_ids=rows).logits).abs().max())


def is_clean(folder: Path) -> bool:
    """Whether nothing half-done lies there."""
    return not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_plain_transformers_loads_the_merged_model(adapter: Adapter, tiny_base: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    told = exported(adapter, tiny_base, tmp_path / "out")
    assert off(AutoModelForCausalLM.from_pretrained(tmp_path / "out"), adapter, tiny_base) < 1e-4
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(tiny_base).chat_template
    assert told == read_manifest(tmp_path / "out")
    assert told["files"] == hash_files(tmp_path / "out")
    assert (told["adapter"], told["format"], told["dtype"], told["compared_rows"]) == (
        adapter.name,
        "safetensors",
        "float32",
        2,
    )
    parity = told["parity"]
    assert parity["largest"] <= parity["tolerance"] < 0.1 < parity["effect"]
    assert is_clean(tmp_path)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_other_dtypes_are_rounded_and_the_figure_is_told(
    dtype: str, adapter: Adapter, tiny_base: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    told = exported(adapter, tiny_base, tmp_path / "out", dtype=dtype)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert str(model.dtype) == f"torch.{dtype}"
    assert 1e-5 < told["parity"]["largest"] < told["parity"]["effect"] / 4
    assert off(model.float(), adapter, tiny_base) == pytest.approx(told["parity"]["largest"], rel=1.0)


@pytest.mark.parametrize("quantize", ["nf4", "int8"])
def test_quantised_weights_are_loaded_by_plain_transformers(quantize: str, even_base: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    from transformers import AutoModelForCausalLM

    adapter = published(even_base, tmp_path / "adapters", "raft", r=1, lora_alpha=1, even=2 * SIZE)
    told = exported(adapter, even_base, tmp_path / "out", quantize=quantize)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.is_quantized
    assert 1e-4 < told["parity"]["largest"] < told["parity"]["effect"] / 4
    assert not (tmp_path / "out" / "whole").exists()
    assert is_clean(tmp_path)


def test_plain_peft_loads_the_adapter(adapter: Adapter, tiny_base: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    told = exported(adapter, tiny_base, tmp_path / "out", format="peft")
    assert off(PeftModel.from_pretrained(opened(tiny_base), str(tmp_path / "out")), adapter, tiny_base) == 0.0
    assert sorted(told["files"]) == ["adapter_config.json", "adapter_model.safetensors"]


@pytest.mark.parametrize(("numbers", "most"), [({}, 1e-4), ({"dtype": "float16"}, 0.1), ({"quantize": "q8_0"}, 0.5)])
def test_a_gguf_is_read_again_and_compared(
    numbers: dict[str, str],
    most: float,
    adapter: Adapter,
    tiny_base: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = exported(adapter, tiny_base, tmp_path / "out", format="gguf", converter=CONVERTER, **numbers)
    (name,) = told["files"]
    assert name.startswith(adapter.name.replace("@", "-"))
    assert capsys.readouterr().err == ""
    assert told["parity"]["largest"] < most
    assert is_clean(tmp_path)


def test_what_a_converter_spoils_is_not_written(adapter: Adapter, tiny_base: Path, tmp_path: Path) -> None:
    text = CONVERTER.read_text().replace("swapaxes(1, 2)", "swapaxes(1, 1)")
    spoilt = tmp_path / "convert.py"
    spoilt.write_text(text)
    (tmp_path / "there").mkdir()
    with pytest.raises(TuningError, match=r"as gguf \(float32\) does not answer as it does here: logits differ by"):
        exported(adapter, tiny_base, tmp_path / "there" / "out", format="gguf", converter=spoilt)
    assert not [*(tmp_path / "there").iterdir()]


def test_ollama_has_a_modelfile_beside_the_weights(
    adapter: Adapter, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    exported(adapter, tiny_base, tmp_path / "plain", format="ollama", system="Be brief.")
    text = (tmp_path / "plain" / "Modelfile").read_text()
    assert text.startswith("FROM .\n")
    assert "[user] {{ .Content }} [end] " in text
    assert 'PARAMETER stop "[end]"\n' in text
    assert 'SYSTEM """Be brief."""\n' in text
    told = exported(adapter, tiny_base, tmp_path / "out", format="ollama", converter=CONVERTER)
    (weights,) = {*told["files"]} - {"Modelfile"}
    assert (tmp_path / "out" / "Modelfile").read_text().startswith(f"FROM ./{weights}\n")


def test_without_a_converter_the_way_to_it_is_said(
    adapter: Adapter, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TuningError, match=r"gguf needs llama.cpp's converter.*--converter llama.cpp/convert_hf_to"):
        exported(adapter, tiny_base, tmp_path / "out", format="gguf")


def test_what_cannot_be_written_so_is_refused(adapter: Adapter, tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(TuningError, match=r"'.*there' is there already; give a folder that is not"):
        exported(adapter, tiny_base, tmp_path / "there")
    with pytest.raises(TuningError, match=r"cannot be merged into a model: it is of the form prompt.*take --as peft"):
        exported(replace(adapter, form="prompt"), tiny_base, tmp_path / "out")
    with pytest.raises(TuningError, match="cannot be exported for PEFT: it is whole weights; take --as safetensors"):
        exported(replace(adapter, form="merged"), tiny_base, tmp_path / "out", format="peft")
    with pytest.raises(TuningError, match="it is layers that PEFT does not know"):
        exported(replace(adapter, form="beside", method="bottleneck"), tiny_base, tmp_path / "out", format="peft")


def test_a_disk_without_room_is_said_before_anything_is_written(tmp_path: Path) -> None:
    needed = shutil.disk_usage(tmp_path).free + 10**12
    with pytest.raises(TuningError, match=r"needs \d+\.\d\d GB while it is written, and \d+\.\d\d GB are free"):
        refuse_little_space(tmp_path / "a" / "b", needed)
    refuse_little_space(tmp_path / "a" / "b", 1)


def test_whole_weights_are_exported_in_another_dtype(tiny_base: Path, tmp_path: Path, adapter: Adapter) -> None:
    from transformers import AutoModelForCausalLM

    exported(adapter, tiny_base, tmp_path / "whole")
    merged = replace(adapter, form="merged", path=tmp_path / "whole")
    exported(merged, tiny_base, tmp_path / "out", dtype="bfloat16")
    assert str(AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype) == "torch.bfloat16"
