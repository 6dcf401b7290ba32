from pathlib import Path

import pytest

from arbiter.cli.methods import show_methods
from storage.errors import ArbiterError
from tuning.methods.registry import METHODS
from tuning.objectives.registry import OBJECTIVES
from tuning.optimizers.registry import OPTIMIZERS


def test_every_method_is_listed_with_what_it_serves(tmp_path: Path) -> None:
    text, found = show_methods(None, [], tmp_path)
    lines = text.splitlines()
    assert [row["method"] for row in found["methods"]] == list(METHODS)
    assert all(any(line.startswith(f"{name} ") for line in lines) for name in METHODS)
    # The embedded model is not converted in an empty home: without it there are no sizes.
    assert {row["bytes"] for row in found["methods"]} == {None}
    assert {row["method"]: row["served_rank"] for row in found["methods"]}["pissa"] == 32
    assert {row["method"]: row["usual_rate"] for row in found["methods"]}["full"] == 5e-5
    (full,) = (line for line in lines if line.startswith("full "))
    assert " 5e-05 " in full
    needs = {row["method"]: (row["base_quantization"], row["package"]) for row in found["methods"]}
    assert (needs["qlora"], needs["lora"]) == (("nf4", "bitsandbytes"), (None, None))
    assert any("for HuggingFaceTB/SmolLM2-135M-Instruct" in line for line in lines)


def test_every_optimizer_is_listed_with_what_it_keeps_and_needs(tmp_path: Path) -> None:
    text, found = show_methods(None, [], tmp_path)
    lines = text.splitlines()
    assert [row["optimizer"] for row in found["optimizers"]] == list(OPTIMIZERS)
    assert all(any(line.startswith(f"{name} ") for line in lines) for name in OPTIMIZERS)
    rows = {row["optimizer"]: row for row in found["optimizers"]}
    assert (rows["adamw"]["state_bytes"], rows["adamw"]["package"], rows["adamw"]["obstacle"]) == (8.0, None, None)
    assert rows["lomo"]["rate_factor"] == 300.0


def test_every_objective_is_listed_with_what_it_learns_and_its_numbers(tmp_path: Path) -> None:
    text, found = show_methods(None, [], tmp_path)
    lines = text.splitlines()
    assert [row["objective"] for row in found["objectives"]] == list(OBJECTIVES)
    rows = {row["objective"]: row for row in found["objectives"]}
    assert (rows["dpo"]["rate_factor"], rows["dpo"]["has_reference"], rows["orpo"]["has_reference"]) == (
        0.1,
        True,
        False,
    )
    assert rows["simpo"]["numbers"] == {"held_out": 0.1, "measured_pairs": None, "beta": 2.0, "gamma": 1.0}
    (kto,) = (line for line in lines if line.startswith("kto "))
    assert "answers that are rated" in kto
    assert "held_out 0.1, measured_pairs null, beta 0.1, wanted_weight 1, unwanted_weight 1" in kto


@pytest.mark.slow  # it imports torch
def test_a_size_is_said_in_its_own_unit(tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(f"data: .\nmodel: {tiny_base}\n")
    text, found = show_methods(tmp_path / "x.yaml", [], tmp_path)
    assert {row["method"]: row["bytes"] for row in found["methods"]}["prompt"] == 20 * 32 * 4
    sizes = {line.split()[0]: line for line in text.splitlines() if line}
    assert "  2.6 kB  " in sizes["prompt"]
    assert " 0.0 " not in text


def test_a_config_names_the_model_and_its_faults_are_said(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("data: .\nadapters: {raft: {method: magic}}\n")
    with pytest.raises(ArbiterError, match=r"method must be one of lora, rslora, .* not 'magic'"):
        show_methods(tmp_path / "x.yaml", [], tmp_path)
