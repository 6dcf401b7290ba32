"""A reward model: how sure a model is that an answer is a good one, learned from pairs.

After the end of an answer stands one more token that ends a text, the mark; an answer's reward is the log-odds of the
mark. So the head is a row of the language model's own, and what is exported is an adapter as any other. The loss is
Bradley and Terry's, as in InstructGPT (Ouyang et al. 2022, section 3.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from storage.settings import settings
from tuning.data.rows import PairRow, TrainingRow
from tuning.errors import TuningError
from tuning.objectives.objective import IGNORED, Batch, EncodedRow, Objective, Whole
from tuning.objectives.preference import PreferenceSettings, log1mexp
from tuning.objectives.supervised import encode_completion
from tuning.objectives.texts import num_rows, text_log_probs

if TYPE_CHECKING:
    import torch


@settings(TuningError)
class Reward(PreferenceSettings):
    """What an answer is worth is learned from pairs; `grpo`, `rloo` and `ppo` learn by it."""

    name: Literal["reward"] = "reward"
    rate_factor = 0.3


def marked(ids: Sequence[int], start: int, end: int) -> EncodedRow:
    """A text whose answer begins at `start`, with the mark after the first token `end` of the answer, or after all of
    it, as the one label.
    """
    answer = list(ids[start:])
    answer = answer[: answer.index(end)] if end in answer else answer
    text = (*ids[:start], *answer, end)
    return EncodedRow((*text, end), (IGNORED,) * len(text) + (end,))


def log_odds(log_probs: torch.Tensor) -> torch.Tensor:
    """Of marks, from their log-probabilities."""
    return log_probs - log1mexp(log_probs)


def _encode(tokenizer: Any, row: PairRow) -> EncodedRow:
    """Raises TuningError as `encode_completion` does, and for a tokenizer without a token that ends a text."""
    end = tokenizer.eos_token_id
    if end is None:
        raise TuningError("objective reward marks an answer by the token that ends a text, and the base model has none")
    texts = []
    for answer in (row.chosen, row.rejected):
        encoded = encode_completion(tokenizer, TrainingRow(row.prompt, answer))
        start = next(place for place, label in enumerate(encoded.labels) if label != IGNORED)
        texts.append(marked(encoded.input_ids, start, end))
    return replace(texts[0], others=(texts[1],))


def _rewards(sums: torch.Tensor, _counts: torch.Tensor, _reference: torch.Tensor, _numbers: Any) -> torch.Tensor:
    return log_odds(sums)


def _loss(model: Any, part: Batch, whole: Whole, _numbers: Reward) -> torch.Tensor:
    from torch.nn.functional import logsigmoid

    sums, _ = text_log_probs(model, part)
    rewards = log_odds(sums)
    return -logsigmoid(rewards[:, 0] - rewards[:, 1]).sum() / whole["rows"]


REWARD = Objective(
    name="reward",
    title="reward model: what an answer is worth is learned from pairs",
    paper="arxiv.org/abs/2203.02155",
    settings=Reward,
    row=PairRow,
    encode=_encode,
    loss=_loss,
    whole=num_rows,
    rewards=_rewards,
    gives_answers=False,
)
