"""How right a model is, against what it generates."""

from pathlib import Path
from typing import Any

import pytest

from tuning.data.rows import TrainingRow
from tuning.objectives.supervised import SUPERVISED
from tuning.recipe import CheckRows
from tuning.training.measuring import make_measure

# It loads the toy model.
pytestmark = pytest.mark.slow


def row(question: str, answer: str) -> TrainingRow:
    return TrainingRow(({"role": "user", "content": question},), answer)


@pytest.fixture(scope="module")
def toy(tiny_base: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(tiny_base), AutoTokenizer.from_pretrained(tiny_base)


@pytest.fixture(scope="module")
def spoken(toy: tuple[Any, Any]) -> list[TrainingRow]:
    """Questions with what the toy answers greedily, cut after six words: it may not have come to an end by then."""
    model, tokenizer = toy
    rows = []
    for question in ("what is sea", "what is one two", "red green blue", "north", "is colour what sea south"):
        prompt = [{"role": "user", "content": question}]
        ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        made = model.generate(**ids, max_new_tokens=6, do_sample=False, eos_token_id=None, pad_token_id=0)
        rows.append(row(question, tokenizer.decode(made[0, ids["input_ids"].shape[1] :])))
    return rows


def greedy(toy: tuple[Any, Any], asked: TrainingRow) -> bool:
    """Whether greedy decoding, one token after another, gives the completion and then ends."""
    import torch

    model, tokenizer = toy
    encoded = SUPERVISED.encode(tokenizer, asked)
    wanted = [label for label in encoded.labels if label != -100]
    wanted = wanted[: wanted.index(tokenizer.eos_token_id) + 1]
    ids = [one for one, label in zip(encoded.input_ids, encoded.labels, strict=True) if label == -100]
    with torch.no_grad():
        for token in wanted:
            if int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()) != token:
                return False
            ids.append(token)
    return True


def test_one_forward_pass_says_what_greedy_decoding_would_give(toy: tuple[Any, Any], spoken: list[TrainingRow]) -> None:
    _, tokenizer = toy
    # Whole, cut short, and with another word.
    rows = [*spoken, *(row(str(one.prompt[0]["content"]), one.completion.rsplit(" ", 1)[0]) for one in spoken)]
    rows += [row(str(one.prompt[0]["content"]), f"{one.completion.rsplit(' ', 1)[0]} colour") for one in spoken]
    expected = []
    for one in rows:
        measure = make_measure(CheckRows([one]), tokenizer, SUPERVISED)
        expected.append(float(greedy(toy, one)))
        assert measure(toy[0])[0] == expected[-1], one
    assert 0 < sum(expected) < len(rows), "both kinds were tried"
    measure = make_measure(CheckRows(rows), tokenizer, SUPERVISED)
    assert measure(toy[0])[0] == pytest.approx(sum(expected) / len(rows)), "padding changes nothing"


def test_the_loss_is_that_of_transformers(toy: tuple[Any, Any], spoken: list[TrainingRow]) -> None:
    import torch

    model, tokenizer = toy
    total, count = 0.0, 0
    for one in spoken:
        encoded = SUPERVISED.encode(tokenizer, one)
        labels = torch.tensor([encoded.labels])
        num_tokens = int((labels != -100).sum())
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([encoded.input_ids]), labels=labels).loss
        total, count = total + float(loss) * num_tokens, count + num_tokens
    measured = make_measure(CheckRows(spoken), tokenizer, SUPERVISED)(model)[1]
    assert measured == pytest.approx(total / count, rel=1e-5)


def test_long_answers_are_generated_and_scored(toy: tuple[Any, Any]) -> None:
    model, tokenizer = toy
    long = "red " * 20
    rows = [row("what is sea", long.strip()), row("north", long.strip())]
    shown: list[list[str]] = []

    def score(answers: Any) -> list[float]:
        shown.append(list(answers))
        return [0.25, 0.75]

    model.train()
    measured = make_measure(CheckRows(rows, "token_f1", score), tokenizer, SUPERVISED)(model)[0]
    assert measured == 0.5
    assert len(shown[0]) == 2
    assert all(answer.split() for answer in shown[0])
    assert model.training, "the model is left as it was"
    short = make_measure(CheckRows([row("north", "red")], "token_f1", score), tokenizer, SUPERVISED)
    assert short.score is None


def test_padding_on_the_left_changes_no_generated_answer(toy: tuple[Any, Any]) -> None:
    model, tokenizer = toy
    long = ("red " * 20).strip()
    rows = [row("what is sea", long), row("north " * 12, long)]
    together: list[str] = []
    alone: list[str] = []

    def keep(place: list[str]) -> Any:
        return lambda answers: place.extend(answers) or [0.0] * len(answers)

    make_measure(CheckRows(rows, "token_f1", keep(together)), tokenizer, SUPERVISED)(model)
    for one in rows:
        make_measure(CheckRows([one], "token_f1", keep(alone)), tokenizer, SUPERVISED)(model)
    assert together == alone
