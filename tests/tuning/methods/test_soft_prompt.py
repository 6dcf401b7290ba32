"""Prompts of numbers on the tiny base: against PEFT's own reading of the files, and files that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tuning.errors import TuningError
from tuning.export.gate import Parity, open_gate
from tuning.export.opening import open_exported
from tuning.methods.registry import METHODS
from tuning.methods.size import served_bytes, shapes_of
from tuning.methods.soft_prompt import read_prompt
from tuning.recipe import Occasion, Prepared, Recipe

# It imports torch and peft.
pytestmark = pytest.mark.slow

ROWS = [[4, 11, 6, 3, 5, 9, 3], [4, 12, 7, 8, 3, 5, 10, 3]]
KINDS: dict[str, dict[str, Any]] = {"prompt": {"num_tokens": 3}, "p_tuning": {"num_tokens": 3, "hidden": 16}}


def opened(base: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base)


def recipe_of(method: str) -> Recipe:
    return METHODS[method].recipe(**KINDS[method])


def moved(base: Path, method: str) -> Prepared:
    import torch

    torch.manual_seed(1)
    prepared = METHODS[method].prepare(opened(base), recipe_of(method), Occasion(lambda _size, _count: [], 1))
    with torch.no_grad():
        for parameter in prepared.model.parameters():
            if parameter.requires_grad:
                parameter += 0.3 * torch.randn_like(parameter)
    return prepared


def logits_of(model: Any, ids: list[int]) -> Any:
    import torch

    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([ids])).logits[0]


def gated(base: Path, method: str, folder: Path, size: float = 1.0) -> Parity:
    """The gate on an export whose first token is so many times as large."""
    from safetensors.torch import save_file

    prepared = moved(base, method)
    gate = open_gate(prepared.model, ROWS)
    METHODS[method].export(prepared, recipe_of(method), folder)
    prompt = read_prompt(folder)
    prompt[0] *= size
    save_file({"prompt_embeddings": prompt}, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return gate.check(lambda: opened(base), lambda plain: open_exported("prompt", plain, folder, opened), name=method)


@pytest.mark.parametrize("method", KINDS)
def test_the_gate_lets_the_prompt_through_and_no_other(method: str, tiny_base: Path, tmp_path: Path) -> None:
    parity = gated(tiny_base, method, tmp_path / "right")
    assert parity.largest <= 1e-4 < 0.05 < parity.effect
    with pytest.raises(TuningError, match=r"logits differ by \d\.?\d*, and training moved them by \d"):
        gated(tiny_base, method, tmp_path / "wrong", size=0.5)


@pytest.mark.parametrize("method", KINDS)
def test_plain_peft_reads_the_files_the_same_way(method: str, tiny_base: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    prepared = moved(tiny_base, method)
    METHODS[method].export(prepared, recipe_of(method), tmp_path)
    expected = logits_of(PeftModel.from_pretrained(opened(tiny_base), tmp_path), ROWS[0])[3:]
    assert float((logits_of(prepared.model, ROWS[0]) - expected).abs().max()) < 1e-5


@pytest.mark.parametrize("method", KINDS)
def test_the_loss_is_that_of_the_texts_own_places(method: str, tiny_base: Path) -> None:
    import torch

    from tuning.objectives.objective import IGNORED
    from tuning.objectives.supervised import completion_loss

    model = moved(tiny_base, method).model.eval()
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in ROWS], batch_first=True)
    mask = torch.tensor([[1] * 7 + [0], [1] * 8])
    labels = torch.where(mask.bool() & (torch.arange(8) >= 4), ids, IGNORED)
    loss = completion_loss(model, {"input_ids": ids, "attention_mask": mask, "labels": labels})
    alone = [
        torch.nn.functional.cross_entropy(logits_of(model, row)[3:-1], torch.tensor(row[4:]), reduction="sum")
        for row in ROWS
    ]
    assert float(loss) == pytest.approx(float(sum(alone)) / 7, rel=1e-5)


@pytest.mark.parametrize("method", KINDS)
def test_rows_of_a_padded_batch_generate_what_the_logits_say(method: str, tiny_base: Path) -> None:
    import torch

    model = moved(tiny_base, method).model.eval()
    prompts = [ROWS[0][:3], ROWS[1][:6]]
    expected = []
    for prompt in prompts:
        ids = list(prompt)
        for _ in range(5):
            ids.append(int(logits_of(model, ids)[-1].argmax()))
        expected.append(ids[len(prompt) :])
    made = model.generate(
        input_ids=torch.tensor([[0, 0, 0, *prompts[0]], prompts[1]]),
        attention_mask=torch.tensor([[0, 0, 0, 1, 1, 1], [1] * 6]),
        max_new_tokens=5,
        do_sample=False,
        use_cache=True,
        eos_token_id=18,
        pad_token_id=0,
    )
    ends = [one.index(18) + 1 if 18 in one else len(one) for one in expected]
    assert [row[:end] for row, end in zip(made[:, 6:].tolist(), ends, strict=True)] == [
        one[:end] for one, end in zip(expected, ends, strict=True)
    ]


@pytest.mark.parametrize("method", KINDS)
def test_nothing_but_the_prompt_is_trained(method: str, tiny_base: Path) -> None:
    import torch

    model = moved(tiny_base, method).model
    parameters = dict(model.named_parameters())
    assert {name.split(".")[0] for name, value in parameters.items() if value.requires_grad} == {"soft_prompt"}
    assert all(torch.equal(parameters[name], value) for name, value in opened(tiny_base).named_parameters())


@pytest.mark.parametrize("method", KINDS)
def test_its_size_is_known_before(method: str, tiny_base: Path) -> None:
    assert served_bytes(shapes_of(str(tiny_base)), recipe_of(method)) == 3 * 32 * 4


def test_a_prompt_for_a_wider_model_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"prompt_embeddings": torch.zeros(3, 48)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(TuningError, match="does not fit the base model: its tokens have 48 numbers, not 32"):
        open_exported("prompt", opened(tiny_base), tmp_path, opened)
