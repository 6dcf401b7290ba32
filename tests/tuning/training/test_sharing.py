"""Rows that share the tokens with which they begin: the same loss and gradients, or none of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes.trainings import train

from storage.folders import read_manifest
from tuning.data.rows import TrainingRow
from tuning.methods.lora import LoraRecipe
from tuning.methods.prefix import PrefixRecipe
from tuning.methods.soft_prompt import PromptRecipe
from tuning.objectives.objective import IGNORED, Objective
from tuning.objectives.registry import OBJECTIVES
from tuning.objectives.supervised import SUPERVISED, completion_loss
from tuning.training.sharing import agrees, num_shared

# It loads the toy model.
pytestmark = pytest.mark.slow

COLOURS = {"sea": "blue", "north": "red green two", "south": "green", "one": "two", "two": "three red"}
SYSTEM = {"role": "system", "content": "what is red is red what is blue is blue one two three"}
ROWS = [
    TrainingRow((SYSTEM, {"role": "user", "content": f"what is {word}"}), answer) for word, answer in COLOURS.items()
]


@pytest.fixture(scope="module")
def toy(tiny_base: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(tiny_base), AutoTokenizer.from_pretrained(tiny_base)


def batch_of(toy: tuple[Any, Any], rows: list[TrainingRow]) -> Any:
    from tuning.training.measuring import padded

    return padded([SUPERVISED.encode(toy[1], row) for row in rows], 0, "cpu")


def gradients(model: Any, loss: Any) -> dict[str, Any]:
    model.zero_grad()
    loss.backward()
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("num_rows", [1, 2, 5])
def test_the_loss_and_its_gradients_are_those_of_whole_rows(
    num_rows: int, attention: str, toy: tuple[Any, Any]
) -> None:
    model = toy[0]
    model.set_attn_implementation(attention)
    lengths: list[int] = []
    batch = batch_of(toy, ROWS[:num_rows])
    with model.get_input_embeddings().register_forward_hook(lambda _m, given, _out: lengths.append(given[0].numel())):
        plain = completion_loss(model, batch)
        expected = gradients(model, plain)
        whole = lengths.copy()
        lengths.clear()
        shared = completion_loss(model, batch, shares_prefix=True)
        found = gradients(model, shared)
    assert shared.item() == pytest.approx(plain.item(), abs=1e-6)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name] - value).abs().max() < 2e-6 * max(1.0, float(value.abs().max())), name
    assert sum(lengths) < sum(whole) if num_rows > 1 else lengths == whole, "tokens were worked on once"


def test_short_beginnings_are_not_shared(toy: tuple[Any, Any]) -> None:
    rows = [TrainingRow(row.prompt[1:], row.completion) for row in ROWS]
    seen: list[Any] = []
    with toy[0].get_input_embeddings().register_forward_hook(lambda _m, given, _out: seen.append(given[0].shape)):
        completion_loss(toy[0], batch_of(toy, rows), shares_prefix=True)
    assert len(seen) == 1


def test_rows_that_are_all_alike_share_all_but_what_is_scored(toy: tuple[Any, Any]) -> None:
    batch = batch_of(toy, [ROWS[1]] * 3)
    plain, shared = completion_loss(toy[0], batch), completion_loss(toy[0], batch, shares_prefix=True)
    assert shared.item() == pytest.approx(plain.item(), abs=1e-6)


def _refuses(model: Any, batch: Any) -> Any:
    raise ValueError("no keys and values from outside")


def _is_off(model: Any, batch: Any) -> Any:
    return completion_loss(model, batch) * 1.01


def _has_other_gradients(model: Any, batch: Any) -> Any:
    loss = completion_loss(model, batch)
    return loss + 0.01 * (model.get_input_embeddings().weight ** 2).sum() * (1 - loss / loss.detach())


@pytest.mark.parametrize(
    ("loss", "is_same"),
    [
        (lambda model, batch: completion_loss(model, batch, shares_prefix=True), True),
        (_refuses, False),
        (_is_off, False),
        (_has_other_gradients, False),
    ],
)
def test_what_answers_otherwise_is_found_out(
    loss: Callable[[Any, Any], Any], is_same: bool, toy: tuple[Any, Any]
) -> None:
    model, batch = toy[0], batch_of(toy, ROWS)
    model.zero_grad()
    found = agrees(
        lambda batch: completion_loss(model, batch),
        lambda batch: loss(model, batch),
        list(model.parameters()),
        batch,
        is_bf16=False,
    )
    assert found == is_same
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_training_shares_where_it_may_and_learns_the_same(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = LoraRecipe(rank=4, alpha=8, learning_rate=0.01, epochs=4, batch_size=4)

    def trained(name: str, recipe: LoraRecipe = recipe, objective: Objective = SUPERVISED) -> dict[str, Any]:
        monkeypatch.setitem(OBJECTIVES, "supervised", objective)  # type: ignore[arg-type]  # a dict
        adapter = train(tiny_base, tmp_path, rows=ROWS, recipe=recipe, name=name)
        return read_manifest(adapter.path)

    shared, plain = trained("shared"), trained("plain", objective=replace(SUPERVISED, shared_loss=None))
    assert (shared["shares_prefix"], plain["shares_prefix"]) == (True, False)
    assert shared["loss_curve"] == pytest.approx(plain["loss_curve"], rel=1e-4)
    assert shared["num_tokens"] == plain["num_tokens"]
    assert not trained("dropped", replace(recipe, dropout=0.1))["shares_prefix"]
    refusing = replace(SUPERVISED, shared_loss=lambda model, batch, *_: _refuses(model, batch))
    assert not trained("refused", objective=refusing)["shares_prefix"]


def test_sharing_is_tried_on_rows_that_share(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first batch shares nothing here, and what stands before the text as a prompt of numbers never does."""
    short = [TrainingRow(row.prompt[1:], row.completion) for row in ROWS]
    curves = []
    for objective in (SUPERVISED, replace(SUPERVISED, shared_loss=None)):
        monkeypatch.setitem(OBJECTIVES, "supervised", objective)  # type: ignore[arg-type]  # a dict
        for recipe in (PromptRecipe(num_tokens=4, epochs=2, batch_size=4), PrefixRecipe(epochs=2, batch_size=4)):
            given: dict[str, Any] = {"rows": [*short, *ROWS], "recipe": recipe}
            adapter = train(tiny_base, tmp_path / str(len(curves)), **given)
            curves.append(read_manifest(adapter.path)["loss_curve"])
    assert curves[0] == pytest.approx(curves[2], rel=1e-5)
    assert curves[1] == pytest.approx(curves[3], rel=1e-5)


def test_how_many_tokens_rows_share(toy: tuple[Any, Any]) -> None:
    encoded = [SUPERVISED.encode(toy[1], row) for row in ROWS]
    first = next(place for place, label in enumerate(encoded[0].labels) if label != IGNORED)
    # [system] ... [end] [user] what is: 14 + 3 + 2 - 1 tokens before the word that differs.
    same = next(i for i in range(first) if len({row.input_ids[i] for row in encoded}) > 1)
    assert num_shared(encoded) == same > 8
    assert num_shared([encoded[0]] * 3) == first - 1
    assert num_shared(encoded[:1]) == 0


def test_a_shared_beginning_ends_before_the_first_answer() -> None:
    import torch

    asked: list[Any] = []

    def model(**inputs: Any) -> Any:
        asked.append(inputs["input_ids"].shape[1])
        cache = SimpleNamespace(batch_repeat_interleave=lambda _: None)
        keep = inputs["logits_to_keep"]
        width = keep if isinstance(keep, int) else len(keep)
        return SimpleNamespace(logits=torch.zeros(len(inputs["input_ids"]), width, 30), past_key_values=cache)

    ids = torch.arange(12).repeat(2, 1)
    labels = torch.full_like(ids, IGNORED)
    labels[0, 10:], labels[1, 11:] = ids[0, 10:], ids[1, 11:]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    completion_loss(model, inputs, shares_prefix=True)
    assert asked == [9, 3], "the token before the first answer is asked of every row"
