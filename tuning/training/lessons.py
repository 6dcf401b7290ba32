"""What a teacher finds likely in the answers that a step learns from: `lessons.draw(batches, step)`.

Whether a step takes answers that the model draws, and which, follows from the weights, the seed and the step alone, so
that a resumed training asks the teacher the same.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch

from storage.hashes import content_hash
from tuning.errors import TuningError
from tuning.objectives.distilled import Gkd
from tuning.objectives.objective import IGNORED, Batch, EncodedRow
from tuning.recipe import Prepared, Recipe, Teacher
from tuning.training.answers import draw_answers, drawing, prompts_of
from tuning.training.loading import Precision
from tuning.training.measuring import answer_of, padded
from tuning.training.parts import parts_of

Read = Callable[[Sequence[Sequence[int]], Sequence[int], int], Sequence[Sequence[Sequence[tuple[int, float]]]]]

# What vocabularies differ in: rare letters, numbers, spaces, code.
_SAMPLE = (
    "The 3 quick foxes\tjumped over 12,345.67 lazy dogs; naïve façades, Größe, 東京, Москва, 🙂\n\n"
    "def f(x):\n    return {'id': x ** 2}  # unbelievably counterintuitive\n"
)
_ROWS_SPELT, _TOKENS_SPELT = 3, 128


@dataclass(kw_only=True, eq=False)
class Lessons:
    """Takes the answers of a step's rows, or has the model draw others, and asks the teacher about each token of them.

    `told` is what is shown of a step, as of a `Drawer`: the loss says it all.
    """

    prepared: Prepared
    tokenizer: Any
    numbers: Gkd
    teacher: Teacher
    most_tokens: int
    seed: int
    precision: Precision
    told: dict[str, float] = field(default_factory=dict)
    samples = 1
    """Answers to each prompt."""

    def draw(self, batches: Sequence[Batch], step: int) -> list[Batch]:
        """What is learned at a step of these rows."""
        chance = random.Random(content_hash("whose", str(self.seed), str(step))).random()
        return self._taught(batches, step, self.teacher.read, draws=chance < self.numbers.lmbda)

    def draw_anew(self, batches: Sequence[Batch], step: int) -> list[Batch]:
        """The same for a forecast, which asks nobody: drawn if any step draws, with probabilities that say nothing."""
        return self._taught(batches, step, _read_by_nobody, draws=self.numbers.lmbda > 0)

    def _taught(self, batches: Sequence[Batch], step: int, read: Read, *, draws: bool) -> list[Batch]:
        model, numbers = self.prepared.model, self.numbers
        if draws:
            with drawing(model, self.precision, seed=self.seed, step=step):
                rows = draw_answers(
                    model,
                    [prompt for batch in batches for prompt in prompts_of(batch)],
                    self.tokenizer,
                    samples=self.samples,
                    temperature=numbers.temperature,
                    most_tokens=self.most_tokens,
                )
        else:
            rows = [row for batch in batches for row in _rows_of(batch)]
        starts = [next(place for place, label in enumerate(row.labels) if label != IGNORED) for row in rows]
        found = read([row.input_ids for row in rows], starts, numbers.top_k)
        batch = padded(rows, self.tokenizer.pad_token_id or 0, "cpu")
        vocabulary = model.get_input_embeddings().weight.shape[0]
        batch |= _told(found, starts, batch["labels"].shape[1], vocabulary)
        batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
        # All batches of a step are of one size, but for the last.
        return parts_of(batch, len(batches[0]["labels"]))

    def shown(self, _history: Sequence[Mapping[str, float]]) -> dict[str, object]:
        """What the manifest tells."""
        return {"teacher": self.teacher.name}

    def close(self) -> None:
        """Nothing was added to the model."""

    def save(self, path: Path) -> None:
        """The steps to come need nothing of those before."""

    def take_up(self, path: Path) -> None:
        """What `save` wrote."""


def open_lessons(
    prepared: Prepared,
    recipe: Recipe,
    rows: Sequence[EncodedRow],
    tokenizer: Any,
    precision: Precision,
    teacher: Teacher,
) -> Lessons:
    """The lessons of a recipe whose objective is taught."""
    numbers = recipe.objective
    assert isinstance(numbers, Gkd)
    return Lessons(
        prepared=prepared,
        tokenizer=tokenizer,
        numbers=numbers,
        teacher=teacher,
        most_tokens=numbers.max_tokens or 2 * max(len(answer_of(row, tokenizer)) for row in rows),
        seed=recipe.seed,
        precision=precision,
    )


def refuse_other_tokens(teacher: Teacher, tokenizer: Any, rows: Sequence[EncodedRow]) -> None:
    """Raise TuningError where the teacher reads a text as other tokens than the tokenizer does: probabilities of its
    tokens would be learned for others. Names are not compared, as two models of one name may differ.
    """
    shown = [tokenizer.decode(row.input_ids[:_TOKENS_SPELT]) for row in rows[:_ROWS_SPELT]]
    text = "\n".join([_SAMPLE, *shown])
    own = tokenizer(text, add_special_tokens=False)["input_ids"][1:]
    for mine, theirs in zip_longest(own, teacher.spell(text)):
        if theirs is None or mine != theirs[0]:
            here = "no more" if mine is None else f"{tokenizer.decode([mine])!r} ({mine})"
            there = "no more" if theirs is None else f"{theirs[1]!r} ({theirs[0]})"
            raise TuningError(
                "objective gkd learns how likely the teacher finds each token, and its tokens are not the base "
                f"model's: of one text it reads {there} where that reads {here}; name a teacher with the same "
                "tokenizer (distill.teacher), or take objective distill, which learns its answers alone"
            )


def _rows_of(batch: Batch) -> list[EncodedRow]:
    """The rows of a batch without padding."""
    lengths = batch["attention_mask"].sum(1).tolist()
    pairs = zip(batch["input_ids"].tolist(), batch["labels"].tolist(), lengths, strict=True)
    return [EncodedRow(tuple(ids[:length]), tuple(labels[:length])) for ids, labels, length in pairs]


def _told(
    found: Sequence[Sequence[Sequence[tuple[int, float]]]], starts: Sequence[int], length: int, vocabulary: int
) -> Batch:
    """Readings as tensors, (rows, width, length). What the model has no token for counts among all others."""
    width = max(len(place) for reading in found for place in reading)
    ids = torch.zeros(len(found), width, length, dtype=torch.long)
    taught = torch.full((len(found), width, length), -math.inf)
    for row, (reading, start) in enumerate(zip(found, starts, strict=True)):
        for place, told in enumerate(reading, start):
            known = [(token, number) for token, number in told if token < vocabulary]
            ids[row, :, place] = known[0][0]
            ids[row, : len(known), place] = torch.tensor([token for token, _ in known])
            taught[row, : len(known), place] = torch.tensor([number for _, number in known])
    return {"taught_ids": ids, "taught": taught}


def _read_by_nobody(
    texts: Sequence[Sequence[int]], starts: Sequence[int], top: int
) -> Sequence[Sequence[Sequence[tuple[int, float]]]]:
    """A teacher that finds the first tokens of a vocabulary likely."""
    alike = [(token, -math.log(2 * top)) for token in range(top)]
    return [[alike] * (len(text) - start) for text, start in zip(texts, starts, strict=True)]
