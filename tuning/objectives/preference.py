"""Learning from pairs of answers of which one was preferred: DPO, SimPO and ORPO.

The losses are those of TRL's trainers, which a test compares them with; the rewards are what each takes an answer to be
worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from storage.settings import Above0, NotNegative, Share, settings
from storage.settings import Whole as WholeNumber
from tuning.data.rows import PairRow, TrainingRow
from tuning.errors import TuningError
from tuning.objectives.objective import IGNORED, Batch, EncodedRow, Objective, ObjectiveSettings, Whole
from tuning.objectives.supervised import encode_completion
from tuning.objectives.texts import num_rows, side_by_side, text_log_probs, token_log_probs

if TYPE_CHECKING:
    import torch


@settings(TuningError)
class PreferenceSettings(ObjectiveSettings):
    """What is learned from answers that were preferred to others."""

    held_out: Share = 0.1
    """The share of the prompts whose answers are not learned, where the data has no test pairs: how often the chosen
    answer is preferred is measured on them, before and after. A training that is looked at takes as many again, where
    the data has no dev pairs."""
    measured_pairs: WholeNumber | None = None
    """At most so many of the held-out pairs are measured. Null is 200, and no more than half as many as are learned in
    all epochs, but 10 at least: measuring then takes at most about half as long as the training. 0 measures none."""


@settings(TuningError)
class Dpo(PreferenceSettings):
    """The chosen answer becomes likelier than the rejected one, beside what both were at the beginning."""

    name: Literal["dpo"] = "dpo"
    beta: Above0 = 0.1
    """How much a departure from the beginning costs: lower departs further."""
    rate_factor = 0.1


@settings(TuningError)
class Simpo(PreferenceSettings):
    """The chosen answer becomes likelier than the rejected one by a margin, per token and without a reference."""

    name: Literal["simpo"] = "simpo"
    beta: Above0 = 2.0
    """Scales the log-probability of a token."""
    gamma: NotNegative = 1.0
    """The margin that is aimed at, on the scale of beta."""
    rate_factor = 0.05


@settings(TuningError)
class Orpo(PreferenceSettings):
    """The chosen answer is learned as in supervised tuning, and the odds of the rejected one fall meanwhile."""

    name: Literal["orpo"] = "orpo"
    beta: Above0 = 0.1
    """The weight of the odds ratio beside the loss of the chosen text; lambda in the paper."""
    rate_factor = 0.3


def encode_pair(tokenizer: Any, row: PairRow) -> EncodedRow:
    """The chosen text, with the rejected one beside it. Raises TuningError as `encode_completion` does."""
    chosen, rejected = (
        encode_completion(tokenizer, TrainingRow(row.prompt, answer)) for answer in (row.chosen, row.rejected)
    )
    return replace(chosen, others=(rejected,))


def reference_rewards(sums: torch.Tensor, _counts: torch.Tensor, reference: torch.Tensor, numbers: Any) -> torch.Tensor:
    """Beta times how much likelier an answer is than it was at the beginning."""
    return numbers.beta * (sums - reference)  # type: ignore[no-any-return]  # its numbers may be any objective's


def _mean_rewards(sums: torch.Tensor, counts: torch.Tensor, _reference: torch.Tensor, numbers: Any) -> torch.Tensor:
    return numbers.beta * sums / counts  # type: ignore[no-any-return]


def _dpo_loss(model: Any, part: Batch, whole: Whole, numbers: Dpo) -> torch.Tensor:
    rewards = reference_rewards(*text_log_probs(model, part), part["reference"], numbers)
    return _lost(rewards[:, 0] - rewards[:, 1]) / whole["rows"]


def _simpo_loss(model: Any, part: Batch, whole: Whole, numbers: Simpo) -> torch.Tensor:
    sums, counts = text_log_probs(model, part)
    rewards = _mean_rewards(sums, counts, sums, numbers)
    return _lost(rewards[:, 0] - rewards[:, 1] - numbers.gamma) / whole["rows"]


def _lost(margins: torch.Tensor) -> torch.Tensor:
    from torch.nn.functional import logsigmoid

    return -logsigmoid(margins).sum()


def _orpo_loss(model: Any, part: Batch, whole: Whole, numbers: Orpo) -> torch.Tensor:
    """The mean loss of the chosen texts' tokens, prompts included as in the paper's code, and the odds ratio's."""
    import torch
    from torch.nn.functional import logsigmoid

    is_text, answers = part["attention_mask"][:, 0] == 1, side_by_side(part)["labels"][:, 1:]
    labels = part["labels"].clone()
    labels[:, 0] = torch.where(is_text, part["input_ids"][:, 0], IGNORED)
    found = token_log_probs(model, side_by_side({**part, "labels": labels}))
    is_answer = (answers != IGNORED)[:, (labels[..., 1:] != IGNORED).flatten(0, 1).any(dim=0)]
    means = ((found * is_answer).sum(1) / is_answer.sum(1)).view(-1, 2)
    log_odds = means[:, 0] - means[:, 1] - (log1mexp(means[:, 0]) - log1mexp(means[:, 1]))
    learned = -found.view(*part["labels"].shape[:2], -1)[:, 0].sum() / whole["tokens"]
    return learned - numbers.beta * logsigmoid(log_odds).sum() / whole["rows"]


def log1mexp(x: torch.Tensor) -> torch.Tensor:
    """log(1 - exp(x)) of x below 0, each side of -log 2 by what is exact there (Maechler 2012)."""
    import torch

    x = x.clamp(max=-1e-7)
    return torch.where(x < -0.6931472, torch.log1p(-torch.exp(x)), torch.log(-torch.expm1(x)))


def _rows_and_tokens(model: Any, parts: Sequence[Batch], numbers: Any) -> dict[str, torch.Tensor]:
    import torch

    tokens = torch.stack([part["attention_mask"][:, 0, 1:].sum() for part in parts]).sum()
    return {**num_rows(model, parts, numbers), "tokens": tokens}


DPO = Objective(
    name="dpo",
    title="direct preference optimization: the chosen answer gains on the rejected one, beside a reference",
    paper="arxiv.org/abs/2305.18290",
    settings=Dpo,
    row=PairRow,
    encode=encode_pair,
    loss=_dpo_loss,
    whole=num_rows,
    rewards=reference_rewards,
    has_reference=True,
)
SIMPO = Objective(
    name="simpo",
    title="simple preference optimization: the same per token, by a margin and without a reference",
    paper="arxiv.org/abs/2405.14734",
    settings=Simpo,
    row=PairRow,
    encode=encode_pair,
    loss=_simpo_loss,
    whole=num_rows,
    rewards=_mean_rewards,
)
ORPO = Objective(
    name="orpo",
    title="odds ratio preference optimization: supervised tuning on the chosen answer that avoids the rejected one",
    paper="arxiv.org/abs/2403.07691",
    settings=Orpo,
    row=PairRow,
    encode=encode_pair,
    loss=_orpo_loss,
    whole=_rows_and_tokens,
    rewards=_mean_rewards,
)
