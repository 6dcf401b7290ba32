"""Learning from answers that the model draws itself, by what each is rewarded with: RLOO, GRPO and PPO.

The losses are those of the papers, and of TRL's trainers where it has one. All of them learn by how much better an
answer was than expected; they differ in what is expected: what the others to the same prompt were rewarded with, or
what a head of the model's own says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from storage.settings import NUMBER, Above0, Count, NotNegative, Share, settings
from tuning.data.rows import TrainingRow
from tuning.errors import TuningError
from tuning.objectives.expected import values_of
from tuning.objectives.objective import IGNORED, Batch, Drawing, Objective, ObjectiveSettings, Whole
from tuning.objectives.supervised import encode_completion
from tuning.objectives.texts import completion_logits

if TYPE_CHECKING:
    import torch

# Rewards of one prompt that differ by less are alike.
_ALIKE = 1e-4
_MOVES = "it changes more than the weights that are trained, and what the model was at the beginning would be lost"
_UNFIT: Mapping[str, str] = {"adalora": _MOVES, "delta_lora": _MOVES}
_OWN = "it brings its own way to move the weights, which knows of no head; use rloo or grpo"


@settings(TuningError)
class DrawnSettings(ObjectiveSettings):
    """What is learned from answers that the model draws."""

    reward: str = ""
    """What an answer is worth: an adapter of this config with objective `reward`; empty is the metric that decides,
    against the answers of the row."""
    samples: Annotated[int, Field(ge=2), NUMBER] = 4
    """How many answers are drawn to a prompt each time."""
    temperature: Above0 = 1.0
    """That of the drawing; higher draws more various answers."""
    max_tokens: Count | None = None
    """How long a drawn answer may become; null is twice as long as the longest answer of the rows."""
    beta: NotNegative = 0.05
    """How much a departure from the beginning costs, as reward per nat: lower departs further."""
    steps_per_draw: Count = 1
    """How many steps learn from the same answers, before others are drawn."""
    clip: Above0 = 0.2
    """By which share a step may make a drawn answer likelier or less likely than it was when it was drawn."""
    rate_factor = 0.1


@settings(TuningError)
class Rloo(DrawnSettings):
    """An answer that was better than the others to its prompt becomes likelier, as a whole."""

    name: Literal["rloo"] = "rloo"


@settings(TuningError)
class Grpo(DrawnSettings):
    """The same token by token, with rewards that are scaled by how much they differ for a prompt."""

    name: Literal["grpo"] = "grpo"
    scale_rewards: bool = True
    """Whether rewards are divided by their standard deviation among the answers to a prompt."""


@settings(TuningError)
class Ppo(DrawnSettings):
    """A token after which more came than a head of the model's own expected becomes likelier."""

    name: Literal["ppo"] = "ppo"
    samples: Annotated[int, Field(ge=1), NUMBER] = 4
    """How many answers are drawn to a prompt each time."""
    steps_per_draw: Count = 2
    """How many steps learn from the same answers, before others are drawn."""
    lam: Share = 0.95
    """How far back what came is credited (lambda of generalized advantage estimation)."""
    value_weight: NotNegative = 0.1
    """The weight of the head's loss."""


def reward_of(objective: ObjectiveSettings) -> str:
    """The key of the adapter by whose rewards is learned, '' where it is by none."""
    return objective.reward if isinstance(objective, DrawnSettings) else ""


def answer_log_probs(model: Any, part: Batch, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The log-probability of each token of the answers, (tokens,), as they are drawn at this temperature; and where
    they stand, (rows, kept positions).
    """
    from torch.nn.functional import cross_entropy

    logits, targets, is_answer = completion_logits(model, part)
    return -cross_entropy(logits.float() / temperature, targets, reduction="none"), is_answer


def of_answers(batch: Batch, name: str) -> torch.Tensor:
    """What there is besides of each token of the answers, (tokens,)."""
    return batch[name][:, 1:][batch["labels"][:, 1:] != IGNORED]


def answer_sums(batch: Batch, values: torch.Tensor) -> torch.Tensor:
    """(rows,): the sum over each answer of a value per token, (rows, length)."""
    return (values * (batch["labels"] != IGNORED)).sum(1)


def _others_credit(batch: Batch, rewards: torch.Tensor, numbers: Any) -> Batch:
    """RLOO: reward, less what a departure costs, over the mean of the other answers to the prompt."""
    departure = answer_sums(batch, batch["drawn"] - batch["begun"]).view_as(rewards)
    worth = rewards - numbers.beta * departure
    others = (worth.sum(1, keepdim=True) - worth) / (worth.shape[1] - 1)
    return {"advantage": _per_token(batch, worth - others)}


def _group_credit(batch: Batch, rewards: torch.Tensor, numbers: Any) -> Batch:
    """GRPO: reward over the mean of all answers to the prompt."""
    better = rewards - rewards.mean(1, keepdim=True)
    if numbers.scale_rewards:
        better = better / (rewards.std(1, keepdim=True) + _ALIKE)
    return {"advantage": _per_token(batch, better)}


def _per_token(batch: Batch, by_answer: torch.Tensor) -> torch.Tensor:
    return by_answer.flatten()[:, None].expand(batch["labels"].shape).clone()


def _expected_credit(batch: Batch, rewards: torch.Tensor, numbers: Any) -> Batch:
    """PPO: generalized advantage estimation (Schulman et al. 2016) without discount, scaled over the step. What a
    departure costs is paid token by token, the reward comes with the last one.
    """
    import torch

    is_answer, values = batch["labels"] != IGNORED, batch["values"]
    came = -numbers.beta * (batch["drawn"] - batch["begun"]) * is_answer
    last = is_answer.long().cumsum(1).argmax(1)
    came[torch.arange(len(came)), last] += rewards.flatten()
    advantage, running = torch.zeros_like(values), torch.zeros(len(values), device=values.device)
    following = torch.zeros_like(running)
    for place in range(values.shape[1] - 1, -1, -1):
        here = is_answer[:, place]
        running = torch.where(here, came[:, place] + following - values[:, place] + numbers.lam * running, running)
        following = torch.where(here, values[:, place], following)
        advantage[:, place] = torch.where(here, running, 0.0)
    returns = (advantage + values) * is_answer
    known = advantage[is_answer]
    scaled = (advantage - known.mean()) / (known.std(correction=0) + _ALIKE)
    return {"advantage": scaled * is_answer, "returns": returns}


def _clipped(ratio: torch.Tensor, advantage: torch.Tensor, clip: float) -> torch.Tensor:
    """The loss of what became likelier by this ratio: beyond the clip nothing more is gained (Schulman et al. 2017)."""
    import torch

    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def _rloo_loss(model: Any, part: Batch, whole: Whole, numbers: Rloo) -> torch.Tensor:
    import torch

    now, is_answer = answer_log_probs(model, part, numbers.temperature)
    change = torch.zeros(is_answer.shape, device=now.device).masked_scatter(is_answer, now - of_answers(part, "drawn"))
    first = (part["labels"] != IGNORED).long().argmax(1, keepdim=True)
    advantage = part["advantage"].gather(1, first).squeeze(1)
    return _clipped(change.sum(1).exp(), advantage, numbers.clip).sum() / whole["answers"]


def _grpo_loss(model: Any, part: Batch, whole: Whole, numbers: Grpo) -> torch.Tensor:
    """Token by token; what a departure costs is Schulman's estimate of it, exp(x) - x - 1."""
    now, is_answer = answer_log_probs(model, part, numbers.temperature)
    lost = _clipped((now - of_answers(part, "drawn")).exp(), of_answers(part, "advantage"), numbers.clip)
    if numbers.beta:
        back = of_answers(part, "begun") - now
        lost = lost + numbers.beta * (back.exp() - back - 1)
    counts = is_answer.sum(1, keepdim=True).expand(is_answer.shape)[is_answer]
    return (lost / counts).sum() / whole["answers"]


def _ppo_loss(model: Any, part: Batch, whole: Whole, numbers: Ppo) -> torch.Tensor:
    now, is_answer = answer_log_probs(model, part, numbers.temperature)
    expected = values_of(model)[is_answer]
    lost = _clipped((now - of_answers(part, "drawn")).exp(), of_answers(part, "advantage"), numbers.clip)
    missed = 0.5 * (expected - of_answers(part, "returns")) ** 2
    return (lost + numbers.value_weight * missed).sum() / whole["tokens"]


def _answers_and_tokens(_model: Any, parts: Sequence[Batch], _numbers: Any) -> dict[str, torch.Tensor]:
    import torch

    tokens = torch.stack([(part["labels"][:, 1:] != IGNORED).sum() for part in parts]).sum()
    return {"answers": torch.tensor(sum(len(part["labels"]) for part in parts)), "tokens": tokens}


RLOO = Objective(
    name="rloo",
    title="REINFORCE leave-one-out: answers that are drawn are rewarded, each beside the others to its prompt",
    paper="arxiv.org/abs/2402.14740",
    settings=Rloo,
    row=TrainingRow,
    encode=encode_completion,
    loss=_rloo_loss,
    whole=_answers_and_tokens,
    drawing=Drawing(_others_credit),
    unfit=_UNFIT,
)
GRPO = Objective(
    name="grpo",
    title="group relative policy optimization: the same token by token, with scaled rewards",
    paper="arxiv.org/abs/2402.03300",
    settings=Grpo,
    row=TrainingRow,
    encode=encode_completion,
    loss=_grpo_loss,
    whole=_answers_and_tokens,
    drawing=Drawing(_group_credit),
    unfit=_UNFIT,
)
PPO = Objective(
    name="ppo",
    title="proximal policy optimization: the same beside what a head of the model's own expected",
    paper="arxiv.org/abs/1707.06347",
    settings=Ppo,
    row=TrainingRow,
    encode=encode_completion,
    loss=_ppo_loss,
    whole=_answers_and_tokens,
    drawing=Drawing(_expected_credit, has_values=True),
    unfit={**_UNFIT, "lora_plus": _OWN, "lora_fa": _OWN},
)
