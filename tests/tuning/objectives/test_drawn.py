"""What answers that were drawn are credited with, and the losses, by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from fakes.lazy import Lazy

from tuning.objectives.drawn import GRPO, PPO, RLOO, Grpo, Ppo, Rloo
from tuning.objectives.expected import add_head, has_head, take_head_off, values_of
from tuning.objectives.objective import IGNORED, Batch, Objective

if TYPE_CHECKING:
    import torch
else:
    torch = Lazy("torch")

# Two prompts of two tokens, two answers each; the last one is a token shorter.
LENGTHS = (2, 2, 2, 1)


def batch_of(drawn: list[list[float]], begun: list[list[float]], **more: list[list[float]]) -> Batch:
    """Answers with numbers of each of their tokens."""
    labels = torch.full((4, 4), IGNORED)
    for row, length in enumerate(LENGTHS):
        labels[row, 2 : 2 + length] = 7
    ids = torch.where(labels == IGNORED, 5, labels)
    mask = torch.ones_like(ids)
    mask[3, 3] = 0

    def per_token(numbers: list[list[float]]) -> torch.Tensor:
        return torch.tensor([[0.0, 0.0, *some, *[0.0] * (2 - len(some))] for some in numbers])

    given = {"drawn": drawn, "begun": begun, **more}
    return {"input_ids": ids, "attention_mask": mask, "labels": labels} | {k: per_token(v) for k, v in given.items()}


DRAWN = [[-1.0, -2.0], [-1.0, -1.0], [-3.0, -1.0], [-2.0]]
BEGUN = [[-1.0, -3.0], [-1.0, -1.0], [-3.0, -1.0], [-1.0]]
REWARDS = [[1.0, 0.0], [0.5, 0.25]]


def credit(objective: Objective, numbers: Any, **more: Any) -> Batch:
    assert objective.drawing is not None
    return objective.drawing.credit(batch_of(DRAWN, BEGUN, **more), torch.tensor(REWARDS), numbers)


def test_rloo_credits_what_an_answer_is_better_than_the_others_to_its_prompt() -> None:
    found = credit(RLOO, Rloo(beta=0.5))["advantage"]
    # The first has become likelier by one nat, the last less likely by one.
    worth = [1.0 - 0.5, 0.0, 0.5, 0.25 + 0.5]
    expected = [worth[0] - worth[1], worth[1] - worth[0], worth[2] - worth[3], worth[3] - worth[2]]
    assert found[:, 2].tolist() == pytest.approx(expected)


def test_grpo_credits_standard_deviations_among_the_answers_to_a_prompt() -> None:
    found = credit(GRPO, Grpo())["advantage"][:, 2].tolist()
    assert found == pytest.approx([0.5**0.5, -(0.5**0.5)] * 2, abs=1e-3)
    plain = credit(GRPO, Grpo(scale_rewards=False))["advantage"][:, 2].tolist()
    assert plain == pytest.approx([0.5, -0.5, 0.125, -0.125])


def test_ppo_credits_tokens_beside_what_was_expected() -> None:
    values = [[0.2, 0.4], [0.0, 0.0], [0.0, 0.0], [0.3]]
    found = credit(PPO, Ppo(beta=0.5, lam=0.5), values=values)
    # Of the first answer: its second token cost half a nat's departure, and brought the reward.
    last = -0.5 * (-2.0 - -3.0) + 1.0 - 0.4
    first = 0.0 + 0.4 - 0.2 + 0.5 * last
    advantages = [first, last, 0.0, 0.0, 0.5 * 0.5, 0.5, -0.5 * (-2.0 - -1.0) + 0.25 - 0.3]
    assert found["returns"][0, 2:].tolist() == pytest.approx([first + 0.2, last + 0.4])
    mean = sum(advantages) / 7
    spread = math.sqrt(sum((one - mean) ** 2 for one in advantages) / 7)
    scaled = [(one - mean) / spread for one in advantages]
    shown = [found["advantage"][row, 2 + i].item() for row, length in enumerate(LENGTHS) for i in range(length)]
    assert shown == pytest.approx(scaled, abs=1e-3)
    assert found["advantage"][3, 3] == 0
    assert not found["advantage"][:, :2].any()


def fixed(log_prob: float) -> Any:
    """A model that gives token 7 this log-probability, wherever it is asked."""
    rest = math.log((1 - math.exp(log_prob)) / 9)
    row = torch.tensor([rest] * 7 + [log_prob] + [rest] * 2)

    def model(*, input_ids: torch.Tensor, logits_to_keep: torch.Tensor, **_: Any) -> Any:
        logits = row.expand(len(input_ids), len(logits_to_keep), 10).clone()
        return type("Out", (), {"logits": logits})

    return model


@pytest.mark.parametrize(
    ("advantage", "log_prob", "ratio"),
    [(1.0, -1.0, 1.0), (1.0, -0.9, math.exp(0.1)), (1.0, -0.5, 1.2), (-1.0, -0.5, math.exp(0.5)), (-1.0, -1.5, 0.8)],
)
def test_beyond_the_clip_nothing_more_is_gained(advantage: float, log_prob: float, ratio: float) -> None:
    ones = [[1.0] * length for length in LENGTHS]
    part = batch_of(
        [[-1.0] * length for length in LENGTHS],
        [[-1.0] * length for length in LENGTHS],
        advantage=[[advantage * one for one in row] for row in ones],
    )
    whole = {"answers": torch.tensor(4), "tokens": torch.tensor(7)}
    found = GRPO.loss(fixed(log_prob), part, whole, Grpo(beta=0.0))
    assert float(found) == pytest.approx(-ratio * advantage, abs=1e-5)
    # A whole answer is as much likelier as its tokens are together.
    ratios = [math.exp(length * (log_prob + 1.0)) for length in LENGTHS]
    clipped = [max(min(one, 1.2), 0.8) for one in ratios]
    expected = -sum(min(a * advantage, b * advantage) for a, b in zip(ratios, clipped, strict=True)) / 4
    assert float(RLOO.loss(fixed(log_prob), part, whole, Rloo())) == pytest.approx(expected, abs=1e-5)


def test_a_departure_costs_in_grpo_what_schulmans_estimate_says() -> None:
    part = batch_of(DRAWN, [[-1.0] * length for length in LENGTHS], advantage=[[0.0] * n for n in LENGTHS])
    found = GRPO.loss(fixed(-1.5), part, {"answers": torch.tensor(4)}, Grpo(beta=2.0))
    assert float(found) == pytest.approx(2.0 * (math.exp(0.5) - 0.5 - 1), abs=1e-5)


def test_the_head_expects_nothing_at_first_and_leaves_the_model_as_it_was(tiny_base: Any) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    before = set(model.state_dict())
    add_head(model)
    assert has_head(model)
    model(input_ids=torch.tensor([[4, 17, 9]]))
    assert values_of(model).tolist() == [[0.0, 0.0, 0.0]]
    model.value_head.bias.data.fill_(2.0)
    model(input_ids=torch.tensor([[4, 17]]))
    assert values_of(model).tolist() == [[2.0, 2.0]]
    take_head_off(model)
    assert set(model.state_dict()) == before
    assert not model.get_output_embeddings()._forward_pre_hooks
