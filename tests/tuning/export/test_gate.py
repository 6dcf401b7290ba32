"""Exports that PEFT writes without a word and that answer otherwise: each is refused, and the right one passes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tuning.automatic import settled
from tuning.errors import TuningError
from tuning.export.gate import Parity, distance, open_gate
from tuning.methods.registry import METHODS
from tuning.recipe import Occasion

# It imports torch and peft.
pytestmark = pytest.mark.slow

ROWS = [[4, 11, 6, 3, 5, 9, 3], [4, 12, 7, 8, 3, 5, 10, 3]]


def opened(base: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base)


def begun(base: Path, method: str) -> Any:
    """A PeftModel as a method begins, by a look at the rows."""
    import torch

    rows = [{"input_ids": torch.tensor([row]), "attention_mask": torch.ones(1, len(row))} for row in ROWS]
    batches = [{**row, "labels": row["input_ids"]} for row in rows]
    occasion = Occasion(batches=lambda _size, count: batches[:count], num_steps=4)
    return METHODS[method].prepare(opened(base), settled(METHODS[method].recipe(rank=4)), occasion).model


def moved(base: Path, method: str = "", **config: Any) -> Any:
    """A PeftModel whose every trained weight has moved from where it began."""
    import torch
    from peft import LoraConfig, get_peft_model

    if method:
        model = begun(base, method)
    else:
        shared = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
        model = get_peft_model(opened(base), LoraConfig(**shared, **config))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    return model


def plain(model: Any, folder: Path) -> None:
    """As an adapter to the base as it was, whatever the beginning took out of it."""
    model.save_pretrained(str(folder))
    change(folder, init_lora_weights=True)


def converted(model: Any, folder: Path, rank: int = 4) -> None:
    from peft import save_as_lora

    save_as_lora(folder, model, rank=rank)


def change(folder: Path, **values: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def altered(edit: Callable[[dict[str, Any]], None]) -> Callable[[Any, Path], None]:
    """As it is, but for its tensors."""

    def save(model: Any, folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        model.save_pretrained(str(folder))
        tensors = load_file(folder / "adapter_model.safetensors")
        edit(tensors)
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})

    return save


def one_zeroed(tensors: dict[str, Any]) -> None:
    tensors[sorted(tensors)[-1]].zero_()


def one_gone(tensors: dict[str, Any]) -> None:
    tensors.pop(sorted(tensors)[0])


def two_swapped(tensors: dict[str, Any]) -> None:
    q, o = (next(name for name in tensors if f"{kind}_proj.lora_A" in name) for kind in "qo")
    tensors[q], tensors[o] = tensors[o], tensors[q]


def half_scaled(model: Any, folder: Path) -> None:
    model.save_pretrained(str(folder))
    change(folder, lora_alpha=4)


CORRUPTIONS: dict[str, tuple[dict[str, Any], Callable[[Any, Path], None]]] = {
    "DoRA, converted": ({"use_dora": True}, converted),
    "biases, converted": ({"lora_bias": True}, converted),
    "PiSSA, as it is": ({"init_lora_weights": "pissa"}, plain),
    "OLoRA, as it is": ({"init_lora_weights": "olora"}, plain),
    "CorDA, as it is": ({"method": "corda"}, plain),
    "LoRA-GA, as it is": ({"method": "lora_ga"}, plain),
    "activated, converted": ({"alora_invocation_tokens": [5]}, converted),
    "Uni-LoRA, of a rank too low": ({"method": "unilora"}, partial(converted, rank=3)),
    "PSOFT, of a rank too low": ({"method": "psoft"}, partial(converted, rank=3)),
    "the scale": ({}, half_scaled),
    "a matrix of zeros": ({}, altered(one_zeroed)),
    "a matrix that is gone": ({}, altered(one_gone)),
    "two matrices swapped": ({}, altered(two_swapped)),
}


def gate(model: Any, base: Path, save: Callable[[Any, Path], None], folder: Path) -> Parity:
    from peft import PeftModel

    before = open_gate(model, ROWS)
    save(model, folder)
    return before.check(lambda: opened(base), lambda plain: PeftModel.from_pretrained(plain, folder), name="lora")


def test_what_answers_as_what_was_trained_passes_with_the_figures(tiny_base: Path, tmp_path: Path) -> None:
    parity = gate(moved(tiny_base), tiny_base, plain, tmp_path)
    assert parity.largest <= 1e-4 < parity.tolerance < 0.1 < parity.effect


@pytest.mark.parametrize("method", ["unilora", "psoft"])
def test_of_its_own_rank_a_conversion_passes(method: str, tiny_base: Path, tmp_path: Path) -> None:
    parity = gate(moved(tiny_base, method), tiny_base, converted, tmp_path)
    assert parity.largest <= 1e-4 < 0.1 < parity.effect


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_a_corrupt_export_is_refused_with_the_figures(corruption: str, tiny_base: Path, tmp_path: Path) -> None:
    config, save = CORRUPTIONS[corruption]
    with pytest.raises(TuningError, match=r"logits differ by \d\.?\d*, and training moved them by \d"):
        gate(moved(tiny_base, **config), tiny_base, save, tmp_path)


@pytest.mark.parametrize(("row", "value"), [(0, math.nan), (1, math.nan), (1, math.inf)])
def test_numbers_that_are_none_do_not_pass(row: int, value: float) -> None:
    import torch

    def model(spoilt: float | None, size: float) -> Any:
        def answer(input_ids: Any) -> Any:
            logits = torch.full((1, input_ids.shape[1], 4), size)
            if spoilt is not None and input_ids[0, 0] == row:
                logits[0, 0, 0] = spoilt
            return SimpleNamespace(logits=logits)

        made = torch.nn.Module()
        made.forward, made.device = answer, "cpu"  # type: ignore[method-assign,assignment]
        return made

    for trained, exported in ((None, value), (value, value)):
        gate = open_gate(model(trained, 1.0), [[0, 1], [1, 1]])
        with pytest.raises(TuningError, match="does not answer as what was trained"):
            gate.check(lambda: model(None, 0.0), lambda _, e=exported: model(e, 1.0), name="lora")


def test_a_training_that_changed_nothing_is_refused(tiny_base: Path) -> None:
    gate = open_gate(opened(tiny_base), ROWS)
    with pytest.raises(TuningError, match="training by lora changed no answer"):
        gate.check(lambda: opened(tiny_base), lambda base: base, name="lora")


def test_a_share_of_the_effect_may_be_lost_where_the_caller_says_so(tiny_base: Path) -> None:
    trained = moved(tiny_base)
    before = open_gate(trained, ROWS)
    trained.base_model.model.model.layers[0].self_attn.q_proj.lora_B["default"].weight.data *= 1.05
    exact = before.measure(lambda: opened(tiny_base), lambda _: trained)
    rounded = before.measure(lambda: opened(tiny_base), lambda _: trained, of_effect=1.0)
    assert (exact.is_kept, rounded.is_kept) == (False, True)
    assert exact.tolerance < exact.largest == rounded.largest < rounded.effect < rounded.tolerance
    assert distance(before, open_gate(trained, ROWS)) == exact.largest
