"""How a model ranks pairs of answers that it was not trained on: `held_out.change(before, after)`, and while it is
trained, as a measure of its looks.

An answer's worth that every objective knows is its mean log-probability a token: by it the served model prefers one
answer to another. What an objective rewards may be another one: how much likelier an answer is than at the beginning.
"""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tuning.data.rows import PairRow
from tuning.errors import TuningError
from tuning.look import Interval, Preference
from tuning.objectives.objective import IGNORED, EncodedRow, Objective
from tuning.objectives.preference import encode_pair
from tuning.training.reading import sums_of

# Of the intervals.
_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Pairs as token ids, with the prompts that they answer: pairs of one prompt are no independent evidence."""

    pairs: Sequence[EncodedRow]
    prompts: Sequence[Hashable]
    objective: Objective
    numbers: Any
    padding: int

    @property
    def texts(self) -> list[EncodedRow]:
        """Chosen and rejected of each pair in turn."""
        return [text for pair in self.pairs for text in pair.texts]

    def read(self, model: Any) -> list[float]:
        """What a model gives the texts."""
        return sums_of(model, self.texts, self.padding)

    def change(self, before: Sequence[float], after: Sequence[float]) -> Preference:
        """What a training changed, from what the model gave the texts before and after it."""
        first, last = self._margins(before), self._margins(after)
        rewards = self._reward_margins(after, before) if self.objective.has_reference else None
        return Preference(
            num_pairs=len(self.pairs),
            num_prompts=len(set(self.prompts)),
            accuracy_before=self._share(first),
            accuracy=self._share(last),
            margin_before=self._mean(first),
            margin=self._mean(last),
            margin_change=self._mean([b - a for a, b in zip(first, last, strict=True)]),
            reward_accuracy=self._share(rewards) if rewards is not None else None,
        )

    def look(self, model: Any, reference: Sequence[float]) -> tuple[float, float]:
        """The share of pairs whose chosen answer the objective rewards more, a tie as a half, and the mean loss of
        such a choice. `reference` is what the model that the training began with gave the texts.
        """
        margins = self._reward_margins(self.read(model), reference)
        losses = torch.nn.functional.softplus(-torch.tensor(margins))
        return statistics.fmean(map(_is_right, margins)), float(losses.mean())

    def _margins(self, sums: Sequence[float]) -> list[float]:
        """How much likelier a token of the chosen answer is than one of the rejected, in nats."""
        means = _paired(sums) / self._counts()
        return (means[:, 0] - means[:, 1]).tolist()

    def _reward_margins(self, sums: Sequence[float], reference: Sequence[float]) -> list[float]:
        assert self.objective.rewards is not None
        rewards = self.objective.rewards(_paired(sums), self._counts(), _paired(reference), self.numbers)
        return (rewards[:, 0] - rewards[:, 1]).tolist()

    def _counts(self) -> torch.Tensor:
        return _paired([sum(label != IGNORED for label in text.labels) for text in self.texts])

    def _by_prompt(self, values: Sequence[float]) -> list[float]:
        groups: dict[Hashable, list[float]] = {}
        for prompt, value in zip(self.prompts, values, strict=True):
            groups.setdefault(prompt, []).append(value)
        return [statistics.fmean(group) for group in groups.values()]

    def _share(self, margins: Sequence[float]) -> Interval:
        """Of pairs that are right, with Wilson's interval over as many trials as there are prompts."""
        from statsmodels.stats.proportion import proportion_confint

        shares = self._by_prompt([_is_right(margin) for margin in margins])
        low, high = proportion_confint(sum(shares), len(shares), alpha=1 - _LEVEL, method="wilson")
        return Interval(statistics.fmean(shares), float(low), float(high))

    def _mean(self, margins: Sequence[float]) -> Interval:
        """With Student's interval over prompts."""
        from scipy import stats

        means = self._by_prompt(margins)
        mean, spread = statistics.fmean(means), statistics.stdev(means) / len(means) ** 0.5
        reach = float(stats.t.ppf((1 + _LEVEL) / 2, len(means) - 1)) * spread
        return Interval(mean, mean - reach, mean + reach)


def hold_out(
    tokenizer: Any,
    rows: Sequence[PairRow],
    objective: Objective,
    numbers: Any,
    *,
    max_length: int,
    called: str,
    num_prompts: int = 2,
) -> HeldOut:
    """Pairs to measure with, without those that are too long. Raises TuningError where they answer fewer prompts than
    needed, two for an interval; `called` says which pairs they are.
    """
    encode = objective.encode if objective.row is PairRow else encode_pair
    encoded = [(encode(tokenizer, row), row.prompt) for row in rows]
    kept = [(pair, prompt) for pair, prompt in encoded if pair.length <= max_length]
    prompts = [tuple((message["role"], message["content"]) for message in prompt) for _, prompt in kept]
    if len(set(prompts)) < num_prompts:
        remedy = "keep to last and patience to 0" if called == "dev" else "objective.measured_pairs to 0"
        raise TuningError(
            f"the {called} pairs that are no longer than max_length ({max_length}) answer {len(set(prompts))} prompts, "
            f"and {num_prompts} are needed; add pairs, raise max_length, or set {remedy}"
        )
    return HeldOut([pair for pair, _ in kept], prompts, objective, numbers, tokenizer.pad_token_id or 0)


def _is_right(margin: float) -> float:
    return 0.5 if margin == 0 else float(margin > 0)


def _paired(values: Sequence[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).view(-1, 2)
