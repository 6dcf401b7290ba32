"""Every method, for real on the tiny base: it learns, what is exported answers as what was trained, and a training that
was stopped ends with the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import trainings
from fakes.trainings import NUMBERS, TRAINED, served_files, skip_without_gpu

from storage.folders import read_manifest
from storage.hashes import hash_files
from tuning.base import WEIGHTS, ResolvedModel
from tuning.errors import TuningError
from tuning.export.adapters import Adapter
from tuning.export.admission import chat_template_hash, check_admission
from tuning.methods.registry import METHODS, export_rank
from tuning.training.progress import TrainProgress

# It trains.
pytestmark = pytest.mark.slow


def train(
    method: str,
    base: Path,
    home: Path,
    *,
    progress: Callable[[TrainProgress], object] = lambda _: None,
    checkpoint_every_s: float = 60.0,
    **numbers: Any,
) -> Adapter:
    skip_without_gpu(method)
    kind = METHODS[method].recipe
    usual = {"learning_rate": 0.03, "epochs": 6, "batch_size": 2, "seed": 3, "rank": 4}
    own = {name: value for name, value in usual.items() if name in kind.__dataclass_fields__}
    recipe = kind(**(own | NUMBERS.get(method, {}) | numbers))
    return trainings.train(
        base,
        home,
        recipe=recipe,
        name=method,
        progress=progress,
        checkpoint_every_s=checkpoint_every_s,
    )


@pytest.mark.parametrize("method", TRAINED)
def test_it_learns_and_what_is_served_answers_as_what_was_trained(method: str, tiny_base: Path, tmp_path: Path) -> None:
    adapter = train(method, tiny_base, tmp_path)

    manifest = read_manifest(adapter.path)
    curve, parity = manifest["loss_curve"], manifest["parity"]
    assert sum(curve[-4:]) < 0.8 * sum(curve[:4])
    assert manifest["base_quantization"] == METHODS[method].quantization
    assert parity["largest"] <= 1e-4 < 0.05 < parity["effect"]
    recipe = METHODS[method].recipe(**{"rank": 4, **NUMBERS.get(method, {})} if adapter.form == "lora" else {})
    served = {"max_rank": export_rank(recipe), "chat_template_hash": chat_template_hash(tiny_base)}
    assert check_admission(adapter, ResolvedModel(adapter.base_name, adapter.base_revision, ""), **served) == []


@pytest.mark.parametrize("method", ["corda", "lora_ga", "eva"])
def test_what_looks_at_rows_first_learns_where_layers_are_no_linear_ones_of_torch(
    method: str, conv1d_base: Path, tmp_path: Path
) -> None:
    manifest = read_manifest(train(method, conv1d_base, tmp_path).path)
    curve, parity = manifest["loss_curve"], manifest["parity"]
    assert sum(curve[-4:]) < 0.8 * sum(curve[:4])
    assert parity["largest"] <= 1e-4 < 0.05 < parity["effect"]


class Stop(Exception):
    """A kill."""


@pytest.mark.parametrize("method", TRAINED)
def test_a_stopped_training_ends_with_the_same_bytes(method: str, tiny_base: Path, tmp_path: Path) -> None:
    whole = train(method, tiny_base, tmp_path / "whole")

    def stop(progress: TrainProgress) -> None:
        if progress.step == 9:
            raise Stop

    with pytest.raises(Stop):
        train(method, tiny_base, tmp_path / "stopped", progress=stop, checkpoint_every_s=0)
    seen: list[int] = []
    again = train(method, tiny_base, tmp_path / "stopped", progress=lambda progress: seen.append(progress.step))

    assert seen[0] == 9
    assert again.name == whole.name  # a hash of the bytes
    assert served_files(again) == served_files(whole)


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if method.form == "lora"])
def test_only_the_chosen_blocks_move(method: str, tiny_base: Path, tmp_path: Path) -> None:
    from safetensors import safe_open

    adapter = train(method, tiny_base, tmp_path, layers=(1,))
    with safe_open(adapter.path / WEIGHTS, "pt") as weights:
        names = list(weights.keys())
    assert len(names) == 2 * 7
    assert all(".layers.1." in name for name in names)


@pytest.mark.parametrize("dropout", [0.0, 1e-12])  # in parts side by side, and a batch at once
@pytest.mark.parametrize("method", ["lora", "adalora"])
def test_a_batch_in_parts_one_after_the_other_gives_the_same_weights(
    method: str, dropout: float, tiny_base: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    numbers = {"batch_size": 4, "dropout": dropout, "epochs": 3}
    whole = train(method, tiny_base, tmp_path, **numbers)
    parts = train(method, tiny_base, tmp_path, **numbers, accumulate=4)
    assert parts.final_loss == pytest.approx(whole.final_loss, rel=1e-4)
    one, other = (load_file(adapter.path / WEIGHTS) for adapter in (whole, parts))
    assert whole.name != parts.name
    for name, value in one.items():
        assert float((value - other[name]).abs().max()) < 1e-4, name


def test_noise_on_the_embeddings_changes_the_weights_and_resumes(tiny_base: Path, tmp_path: Path) -> None:
    plain, noisy = (train("lora", tiny_base, tmp_path, neftune_alpha=alpha) for alpha in (0.0, 5.0))
    assert hash_files(noisy.path)[WEIGHTS] != hash_files(plain.path)[WEIGHTS]
    assert read_manifest(noisy.path)["parity"]["largest"] <= 1e-4


@pytest.mark.parametrize(
    ("method", "numbers"),
    [("delora", {"rank": 20}), ("vera", {"rank": 32}), ("gralora", {"rank": 16}), ("loha", {"rank": 5})],
)
def test_a_rank_over_the_smallest_layers_is_exact_in_the_others(
    method: str, numbers: dict[str, Any], tiny_base: Path, tmp_path: Path
) -> None:
    adapter = train(method, tiny_base, tmp_path, **numbers)  # keys and values are 16 wide
    assert adapter.rank > 16
    assert read_manifest(adapter.path)["parity"]["largest"] <= 1e-4


def test_eva_is_refused_where_a_look_would_never_end(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match=r"a batch of \d+ tokens is too few to find 32 directions; raise batch_size"):
        train("eva", tiny_base, tmp_path, rank=32, rho=1.0)


@pytest.mark.parametrize(
    ("method", "numbers", "said"),
    [
        ("lora_ga", {"rank": 12}, r"rank \(12\) must be at most 8, half the smallest side"),
        ("corda", {"rank": 20}, r"rank \(20\) must be at most 16, the smallest side"),
        ("lora", {"init": "orthogonal", "rank": 5}, "these numbers do not fit the base model: Orthogonal"),
    ],
)
def test_numbers_that_do_not_fit_are_one_line(
    method: str, numbers: dict[str, Any], said: str, tiny_base: Path, tmp_path: Path
) -> None:
    with pytest.raises(TuningError, match=said) as caught:
        train(method, tiny_base, tmp_path, **numbers)
    assert len(str(caught.value).splitlines()) == 1


def test_slices_that_do_not_divide_the_inputs_are_served_as_they_were_trained(tiny_base: Path, tmp_path: Path) -> None:
    adapter = train("miss", tiny_base, tmp_path, rank=7)
    assert read_manifest(adapter.path)["parity"]["largest"] <= 1e-4 < adapter.parity.effect  # type: ignore[union-attr]


def test_a_training_of_one_step_learns(tiny_base: Path, tmp_path: Path) -> None:
    adapter = train("lora", tiny_base, tmp_path, epochs=0.2)
    assert read_manifest(adapter.path)["num_steps"] == 1


def test_what_is_merged_stands_alone_whatever_the_base_has_beside_its_weights(tiny_base: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    base = tmp_path / "base"
    AutoModelForCausalLM.from_pretrained(tiny_base).save_pretrained(base, max_shard_size="20KB")
    for path in tiny_base.iterdir():
        if path.suffix != ".safetensors" and not (base / path.name).exists():
            (base / path.name).write_bytes(path.read_bytes())
    # As older repositories have it: newer libraries refuse to write it again.
    (base / "generation_config.json").write_text('{"temperature": 0.6, "do_sample": false, "eos_token_id": 3}')
    assert (base / "model.safetensors.index.json").exists()

    merged = train("full", base, tmp_path)

    names = {path.name for path in merged.path.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "generation_config.json"} <= names
    assert not any(name.endswith(".index.json") for name in names)
    assert json.loads((merged.path / "generation_config.json").read_text())["temperature"] == 0.6
    assert json.loads((merged.path / "config.json").read_text()).get("use_cache", True)


def test_a_block_that_the_model_lacks_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match=r"layers \[2\] do not fit the base model, which has blocks 0 to 1"):
        train("miss", tiny_base, tmp_path, layers=(0, 2))
