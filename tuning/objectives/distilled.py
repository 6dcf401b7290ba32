"""Learning from a larger model, the teacher: its answers, or how likely it finds each token of an answer.

`distill` is sequence-level knowledge distillation (Kim & Rush 2016, section 3.2): what the teacher answers is learned
as any answer. `gkd` is generalized knowledge distillation (Agarwal et al. 2024): of each token of an answer the
divergence between the teacher's distribution p and the model's own q is lowered, by default their generalized
Jensen-Shannon divergence (equation 1 there; m is beta p + (1 - beta) q),

    beta KL(p || m) + (1 - beta) KL(q || m),

at beta 0 KL(p || q), which Hinton et al. (2015) lower, and at beta 1 KL(q || p). A share `lmbda` of the steps learns
from answers that the model draws (algorithm 1; the drawing has no gradient).

A teacher that is served tells its likeliest tokens alone. All others are taken for one token, whose probability is what
is left. A divergence between distributions that are made coarser so is at most that between the whole ones, and 0 where
they are alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from storage.settings import Above0, Count, Share, settings
from tuning.data.rows import TrainingRow
from tuning.errors import TuningError
from tuning.objectives.objective import IGNORED, Batch, Objective, ObjectiveSettings, Whole
from tuning.objectives.preference import log1mexp
from tuning.objectives.supervised import SUPERVISED, encode_completion, mean_loss
from tuning.objectives.texts import completion_logits, num_labels

if TYPE_CHECKING:
    import torch

# Stands for the logarithm of 0: probabilities of it are 0, and differences and gradients stay numbers.
_NONE = -1e4
# What is left of the teacher's probabilities is known to about so much, as they are rounded.
_LEAST_LOG = -13.8


@settings(TuningError)
class Distill(ObjectiveSettings):
    """What a teacher answers to the prompts of the rows is learned, in place of the rows' own answers."""

    name: Literal["distill"] = "distill"
    max_tokens: Count = 1024
    """How long the teacher's answer may become; a row whose answer is cut off there is left out."""


@settings(TuningError)
class Gkd(ObjectiveSettings):
    """The probabilities that a teacher gives each token of an answer are learned."""

    name: Literal["gkd"] = "gkd"
    lmbda: Share = 0.5
    """The share of the steps that learn from answers which the model draws; 0 draws none, 1 takes no others."""
    beta: Share = 0.5
    """Which divergence: 0 makes likely what the teacher finds likely, 1 makes unlikely what it finds unlikely."""
    answers: Literal["given", "teacher"] = "given"
    """Which answers the other steps learn from: those of the rows, or the teacher's."""
    top_k: Count = 20
    """Of how many tokens in each place the teacher tells the probability, beside the answer's own; vLLM allows 20
    unless it is started with another `--max-logprobs`."""
    temperature: Above0 = 1.0
    """That of the drawing; higher draws more various answers."""
    max_tokens: Count | None = None
    """How long a drawn answer may become; null is twice as long as the longest answer of the rows."""
    rate_factor = 0.5


def is_distilled(objective: ObjectiveSettings) -> bool:
    """Whether a teacher is needed."""
    return isinstance(objective, Distill | Gkd)


def wants_answers(objective: ObjectiveSettings) -> bool:
    """Whether the teacher's answers stand in place of the rows' own."""
    if isinstance(objective, Gkd):
        return objective.answers == "teacher" and objective.lmbda < 1
    return isinstance(objective, Distill)


def divergence(logits: torch.Tensor, ids: torch.Tensor, taught: torch.Tensor, beta: float) -> torch.Tensor:
    """(tokens,): how far the model's distributions are from the teacher's, in nats.

    Logits are (tokens, vocabulary). `taught` holds the log-probabilities that the teacher gives to the tokens `ids`,
    both (tokens, width); a place without one has -inf there, and an id that stands before it.
    """
    import torch

    log_probs = logits.float().log_softmax(-1)
    is_told = taught.isfinite()
    own = log_probs.gather(1, ids).masked_fill(~is_told, _NONE)
    others = log_probs.scatter(1, ids, _NONE).logsumexp(1, keepdim=True)
    left = log1mexp(taught.exp().sum(1, keepdim=True).log()).clamp(min=_LEAST_LOG)
    # Where every token is told of nothing is left, whatever rounding says.
    is_all = is_told.sum(1, keepdim=True) >= logits.shape[1]
    student = torch.cat([own, others.masked_fill(is_all, _NONE)], 1)
    teacher = torch.cat([taught.masked_fill(~is_told, _NONE), left.masked_fill(is_all, _NONE)], 1)
    if beta == 0:
        return _divergence(teacher, student)
    if beta == 1:
        return _divergence(student, teacher)
    of_teacher, of_student = torch.tensor([beta, 1 - beta], device=logits.device).log()
    mixture = torch.logaddexp(teacher + of_teacher, student + of_student)
    return beta * _divergence(teacher, mixture) + (1 - beta) * _divergence(student, mixture)


def _divergence(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """KL(one || other) of log-probabilities, (tokens, width) each."""
    return (one.exp() * (one - other)).sum(1)


def _gkd_loss(model: Any, part: Batch, whole: Whole, numbers: Gkd) -> torch.Tensor:
    """The mean over the step's tokens."""
    logits, _, _ = completion_logits(model, part)
    is_learned = part["labels"][:, 1:] != IGNORED
    ids, taught = (part[name].transpose(1, 2)[:, 1:][is_learned] for name in ("taught_ids", "taught"))
    return divergence(logits, ids, taught, numbers.beta).sum() / whole["tokens"]


DISTILL = Objective(
    name="distill",
    title="sequence-level distillation: what a larger model answers is learned",
    paper="arxiv.org/abs/1606.07947",
    settings=Distill,
    row=TrainingRow,
    encode=encode_completion,
    loss=mean_loss,
    whole=num_labels,
    shared_loss=SUPERVISED.shared_loss,
    is_trl_s=True,
)
GKD = Objective(
    name="gkd",
    title="generalized distillation: how likely a larger model finds each token, of answers that are drawn or given",
    paper="arxiv.org/abs/2306.13649",
    settings=Gkd,
    row=TrainingRow,
    encode=encode_completion,
    loss=_gkd_loss,
    whole=num_labels,
    is_taught=True,
)
