"""What an objective is, and a row as its loss reads it: token ids and labels, beside which other texts may stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from storage.settings import settings
from tuning.errors import TuningError

if TYPE_CHECKING:
    import torch

IGNORED = -100
"""Label of a token without loss: the `ignore_index` of torch's cross entropy."""


@settings(TuningError)
class ObjectiveSettings:
    """What a training learns; each objective adds numbers of its own."""

    name: str = ""
    """Which objective."""

    # Of the method's usual learning rate; no setting.
    rate_factor = 1.0


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """Token ids and labels of the same length; a label is the token to learn, or IGNORED.

    `others` are further texts that a loss sets beside this one. `reference` holds the log-probability that the model
    which the training begins with gives to the labels of each text, this one's first. `is_wanted` says of an answer
    whether it shall be given. `place` is that of its row among those that were given.
    """

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    others: tuple[EncodedRow, ...] = ()
    reference: tuple[float, ...] = ()
    is_wanted: bool = True
    place: int = -1

    @property
    def texts(self) -> tuple[EncodedRow, ...]:
        """This one and the others, each alone."""
        return (EncodedRow(self.input_ids, self.labels), *self.others) if self.others else (self,)

    @property
    def num_tokens(self) -> int:
        """Of all texts: prompts and completions."""
        return sum(len(text.input_ids) for text in self.texts)

    @property
    def length(self) -> int:
        """Tokens of the longest text."""
        return max(len(text.input_ids) for text in self.texts)

    @property
    def second_half(self) -> EncodedRow:
        """The same with the second half of each text alone."""
        middle, others = len(self.input_ids) // 2, tuple(text.second_half for text in self.others)
        return replace(self, input_ids=self.input_ids[middle:], labels=self.labels[middle:], others=others)


Batch = dict[str, "torch.Tensor"]
"""Rows as tensors, padded on the right: input_ids, attention_mask and labels, each (rows, length), or (rows, texts,
length) where rows have several texts; then also reference, (rows, texts), and is_wanted, (rows,).
"""
PADDED = ("input_ids", "attention_mask", "labels")
"""Those whose last side is the length."""
PER_TOKEN = ("drawn", "begun", "advantage", "values", "returns", "taught_ids", "taught")
"""What there is besides of each token of answers that were drawn, (rows, length): its log-probability by the model that
drew it and by the one that the training began with, what it was worth more than expected, what was expected of the
answer from there on, and what came. Of a teacher, (rows, width, length): which tokens it finds likely in this place,
and their log-probabilities.
"""

Whole = Mapping[str, "torch.Tensor"]
"""What the loss of a part needs to know of the whole step: a number by name."""

Loss = Callable[[Any, Batch, Whole, Any], "torch.Tensor"]
"""(model, part, whole, numbers) -> what a part adds to the loss of its step."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """That the model draws the answers which it learns from, and each is given a reward.

    `credit(batch, rewards, numbers)` is what there is besides of each token: from the answers of a step, those to one
    prompt together, with `drawn`, `begun` and, with `has_values`, `values`, and from rewards, (prompts, answers to
    each). With `has_values` the model learns what to expect, too, by a head of its own that is not published.
    """

    credit: Callable[[Batch, torch.Tensor, Any], Batch]
    has_values: bool = False


@dataclass(frozen=True, slots=True)
class Objective:
    """What is learned from rows of one kind.

    `settings` holds its numbers. `encode(tokenizer, row)` gives a row's token ids; `join(rows, max_length)` then sets
    beside each row what the loss needs of others. A step may be worked on in parts: `whole(model, parts, numbers)` is
    what each needs to know of all of them, found with the weights that the step begins with, and the values of
    `loss(model, part, whole, numbers)` add up to the step's. `shared_loss` is the same, faster, where a model lets rows
    share the tokens with which they begin; with `is_trl_s` TRL's SFTTrainer computes it on a GPU.

    Of objectives that compare answers, `rewards(sums, counts, reference, numbers)` is what an answer is worth by the
    model: from (rows, texts) of log-probabilities, numbers of tokens and references. With `has_reference` the loss
    needs those. `unfit` says of methods that cannot learn it why. `drawing` is there where answers are not learned from
    the rows but from rewards. With `is_taught` it is learned how likely a teacher finds their tokens. Without
    `gives_answers` what is trained tells what an answer is worth, and gives none.
    """

    name: str
    title: str
    paper: str
    settings: type[ObjectiveSettings]
    row: type
    encode: Callable[[Any, Any], EncodedRow]
    loss: Loss
    whole: Callable[[Any, Sequence[Batch], Any], Whole]
    join: Callable[[Sequence[EncodedRow], int], list[EncodedRow]] = lambda rows, _: list(rows)
    shared_loss: Loss | None = None
    is_trl_s: bool = False
    rewards: Callable[[torch.Tensor, torch.Tensor, torch.Tensor, Any], torch.Tensor] | None = None
    has_reference: bool = False
    unfit: Mapping[str, str] = field(default_factory=dict)
    drawing: Drawing | None = None
    is_taught: bool = False
    gives_answers: bool = True
