"""Answers that the model draws in its training, and what each was worth: `drawer.draw(batches, step)`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from tuning.errors import TuningError
from tuning.look import Drawn
from tuning.objectives.drawn import DrawnSettings, answer_log_probs, answer_sums
from tuning.objectives.expected import add_head, has_head, take_head_off, values_of
from tuning.objectives.objective import IGNORED, Batch, EncodedRow
from tuning.objectives.registry import OBJECTIVES
from tuning.objectives.reward import log_odds, marked
from tuning.recipe import Prepared, Recipe, Worth
from tuning.training.answers import draw_answers, drawing, prompts_of
from tuning.training.loading import Precision
from tuning.training.measuring import answer_of, padded
from tuning.training.parts import parts_of
from tuning.training.reading import sums_of

# Answers that are read at once without gradients.
_ROWS = 8
# Rewards of one prompt that differ by less teach nothing.
_ALIKE = 1e-6

Judge = Callable[[Sequence[int], Sequence[EncodedRow]], Sequence[float]]
"""What answers are worth: the places of their rows, and the answers as they were drawn."""


@dataclass(kw_only=True, eq=False)
class Drawer:
    """Draws `samples` answers to each prompt, and takes the same again for `steps_per_draw` steps.

    `told` is what is shown of the last ones: their mean `reward`, `departure` (nats of an answer, from the beginning),
    and `alike`, the share of prompts whose answers were all worth the same, so that nothing was learned of them.
    """

    prepared: Prepared
    tokenizer: Any
    numbers: DrawnSettings
    judge: Judge
    most_tokens: int
    seed: int
    precision: Precision
    kept: list[Batch] = field(default_factory=list)
    told: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        moved = self.prepared.model.named_parameters()
        self._begun = {name: value.detach().clone() for name, value in moved if value.requires_grad}

    @property
    def samples(self) -> int:
        """Answers to each prompt."""
        return self.numbers.samples

    def draw(self, batches: Sequence[Batch], step: int) -> list[Batch]:
        """What is learned at a step of these rows: for each batch one with `samples` answers to each of its prompts."""
        if step % self.numbers.steps_per_draw == 0 or not self.kept:
            self.kept = self.draw_anew(batches, step)
        return self.kept

    def draw_anew(self, batches: Sequence[Batch], step: int) -> list[Batch]:
        """The same, whatever was drawn before."""
        model, numbers = self.prepared.model, self.numbers
        with drawing(model, self.precision, seed=self.seed, step=step):
            # However a step is divided, the same is drawn.
            prompts = [prompt for batch in batches for prompt in prompts_of(batch)]
            answers = draw_answers(
                model,
                prompts,
                self.tokenizer,
                samples=self.samples,
                temperature=numbers.temperature,
                most_tokens=self.most_tokens,
            )
            drawn = self._read(padded(answers, self.tokenizer.pad_token_id or 0, model.device))
            places = [int(place) for batch in batches for place in batch["place"]]
            rewards = self._rewards(places, answers).to(model.device)
        drawn |= self._credit(drawn, rewards)
        departure = answer_sums(drawn, drawn["drawn"] - drawn["begun"])
        self.told = {
            "reward": float(rewards.mean()),
            "departure": float(departure.mean()),
            "alike": float((rewards.amax(1) - rewards.amin(1) < _ALIKE).float().mean()),
        }
        # All batches of a step are of one size, but for the last.
        return parts_of(drawn, len(batches[0]["place"]) * self.numbers.samples)

    def _read(self, batch: Batch) -> Batch:
        """The answers with what the model gives each of their tokens, and what it did at the beginning."""
        model = self.prepared.model
        has_values = has_head(model)
        names = ("drawn", "begun", *(("values",) if has_values else ()))
        read = {name: torch.zeros(batch["labels"].shape, device=model.device) for name in names}
        for start in range(0, len(batch["labels"]), _ROWS):
            rows = slice(start, start + _ROWS)
            some = {name: tensor[rows] for name, tensor in batch.items()}
            is_answer = some["labels"][:, 1:] != IGNORED
            read["drawn"][rows, 1:][is_answer], where = answer_log_probs(model, some, self.numbers.temperature)
            if has_values:
                read["values"][rows, 1:][is_answer] = values_of(model)[where]
            with self._as_begun():
                read["begun"][rows, 1:][is_answer], _ = answer_log_probs(model, some, self.numbers.temperature)
        return {**batch, **read}

    @contextlib.contextmanager
    def _as_begun(self) -> Iterator[None]:
        """The model as the training began with it, while the block lasts."""
        trained = {name: value for name, value in self.prepared.model.named_parameters() if name in self._begun}
        now = {name: value.data for name, value in trained.items()}
        try:
            for name, value in trained.items():
                value.data = self._begun[name]
            yield
        finally:
            for name, value in trained.items():
                value.data = now[name]

    def _rewards(self, places: Sequence[int], answers: Sequence[EncodedRow]) -> torch.Tensor:
        """(prompts, answers to each)."""
        samples = self.numbers.samples
        found = self.judge([place for place in places for _ in range(samples)], answers)
        return torch.tensor(found, dtype=torch.float32).view(-1, samples)

    def _credit(self, batch: Batch, rewards: torch.Tensor) -> Batch:
        kind = OBJECTIVES[self.numbers.name].drawing
        assert kind is not None
        return kind.credit(batch, rewards, self.numbers)

    def shown(self, history: Sequence[Mapping[str, float]]) -> dict[str, object]:
        """What the manifest tells: what was told of each step, by the trainer's history. Raises TuningError where no
        reward taught anything.
        """
        steps = [entry for entry in history if "reward" in entry]
        if all(entry["alike"] == 1 for entry in steps) and not has_head(self.prepared.model):
            raise TuningError(
                f"all answers that were drawn to a prompt were worth the same ({steps[-1]['reward']:.3g} in the last "
                "step), so that nothing was learned; draw more (objective.samples, objective.temperature), or train "
                "by examples first (continue_from)"
            )
        drawn = Drawn(*(tuple(entry[name] for entry in steps) for name in ("reward", "departure", "alike")))
        return {"drawn": asdict(drawn)}

    def close(self) -> None:
        """The model without what only drawing needs."""
        if has_head(self.prepared.model):
            take_head_off(self.prepared.model)

    def save(self, path: Path) -> None:
        """What the steps to come learn from."""
        torch.save({"kept": self.kept, "told": self.told}, path)

    def take_up(self, path: Path) -> None:
        """What `save` wrote."""
        stored = torch.load(path, map_location=self.prepared.model.device)
        self.kept, self.told = stored["kept"], stored["told"]


def open_drawer(
    prepared: Prepared,
    recipe: Recipe,
    rows: Sequence[EncodedRow],
    tokenizer: Any,
    precision: Precision,
    worth: Worth | None,
    open_adapter: Callable[[Path], Any],
) -> Drawer | None:
    """What draws the answers of a recipe's objective, if it learns from such: `open_adapter(folder)` loads a reward
    model. Gives the model the head that an objective needs besides, until the drawer is closed.
    """
    numbers, kind = recipe.objective, OBJECTIVES[recipe.objective.name].drawing
    if kind is None:
        return None
    assert isinstance(numbers, DrawnSettings)
    assert worth is not None, "refused before"
    if kind.has_values:
        add_head(prepared.model)
    return Drawer(
        prepared=prepared,
        tokenizer=tokenizer,
        numbers=numbers,
        judge=_judge(worth, tokenizer, open_adapter),
        most_tokens=numbers.max_tokens or 2 * max(len(answer_of(row, tokenizer)) for row in rows),
        seed=recipe.seed,
        precision=precision,
    )


def _judge(worth: Worth, tokenizer: Any, open_adapter: Callable[[Path], Any]) -> Judge:
    """What answers are worth by a metric, or by a reward model, which is loaded now."""
    if worth.score is not None:
        score = worth.score

        def judge(places: Sequence[int], answers: Sequence[EncodedRow]) -> Sequence[float]:
            texts = tokenizer.batch_decode(
                [answer_of(answer, tokenizer) for answer in answers], skip_special_tokens=True
            )
            return score(places, [text.strip() for text in texts])

        return judge
    assert worth.adapter is not None
    model = open_adapter(worth.adapter)

    def judge_by_model(_: Sequence[int], answers: Sequence[EncodedRow]) -> Sequence[float]:
        texts = []
        for answer in answers:
            start = sum(label == IGNORED for label in answer.labels)
            texts.append(marked(answer.input_ids, start, tokenizer.eos_token_id))
        sums = torch.tensor(sums_of(model, texts, tokenizer.pad_token_id or 0), dtype=torch.float64)
        return log_odds(sums).tolist()

    return judge_by_model
