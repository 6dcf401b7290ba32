"""A world's model, what it knows, and trainings of it: `Lab(world, home, size)`.

lab = Lab(world, home, Size(width=96, layers=2, lesson_epochs=5, repeats=4, readings=2000, epochs=20))
lab.probe()                                    how well each fact is known
lab.tune("mix", rows, dev, guard)              what was seen of a training after every epoch
lab.inject(world.new)                          new facts from the prompt, and after trainings on them
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from knowledge_world import ASKED, Fact, World, write_model

from eval.knowledge import Degree, degree_of
from storage.folders import read_manifest
from tuning.base import ResolvedModel
from tuning.data.rows import TrainingRow
from tuning.methods.whole import FullRecipe
from tuning.recipe import CheckRows
from tuning.training.progress import TrainProgress
from tuning.training.run import train_adapter

# What further trainings ask for facts in: the question that no lesson answers from memory.
FORM = 0
_TEMPERATURE, _DRAWS = 0.5, 4  # as `arbiter data probe` draws


@dataclass(frozen=True, slots=True)
class Size:
    """How large the model is, how long it is taught, and how long it is trained after that."""

    width: int
    layers: int
    lesson_epochs: float
    repeats: int
    readings: int
    epochs: float


def asked_rows(facts: Sequence[Fact], question: int = FORM) -> list[TrainingRow]:
    """A row for each fact that asks for it from memory."""
    return [fact.asked(question) for fact in facts]


class Lab:
    """A world, the model that was taught it, and trainings of that model."""

    def __init__(self, world: World, home: Path, size: Size) -> None:
        self._world, self._home, self._size = world, home, size
        base = home / "base"
        if not (base / "tokenizer.json").is_file():  # what is written last
            write_model(world, base, width=size.width, layers=size.layers)
        lessons = world.lessons(repeats=size.repeats, num_readings=size.readings)
        recipe = FullRecipe(epochs=size.lesson_epochs, batch_size=32, learning_rate=3e-3, seed=world.seed)
        taught = self._train("lessons", ResolvedModel("world", home.name, str(base)), lessons, recipe)
        self._taught = ResolvedModel("taught", taught.name, str(taught))

    def probe(self) -> dict[str, Degree]:
        """How well every fact is known, by its id: asked in each of the lessons' questions, the likeliest answer and
        some that are drawn.
        """
        import torch

        facts, draw = self._world.facts, torch.Generator().manual_seed(self._world.seed)
        answers = [self._first_tokens(asked_rows(facts, question)) for question in ASKED]
        degrees = {}
        for place, fact in enumerate(facts):
            greedy, sampled = list[bool](), list[bool]()
            for logits, token in ((logits[place], golds[place]) for logits, golds in answers):
                greedy.append(int(logits.argmax()) == token)
                drawn = torch.multinomial((logits / _TEMPERATURE).softmax(-1), _DRAWS, replacement=True, generator=draw)
                sampled += (drawn == token).tolist()
            degrees[fact.id] = degree_of(greedy=greedy, sampled=sampled)
        return degrees

    def tune(
        self, name: str, rows: Sequence[TrainingRow], dev: Sequence[TrainingRow], guard: Sequence[TrainingRow]
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The looks at a training after each epoch, and the one that is published, the best by `dev`."""
        recipe = self._recipe(self._size.epochs, keep="best")
        trained = self._train(name, self._taught, rows, recipe, dev=CheckRows(dev), guard=CheckRows(guard))
        manifest = read_manifest(trained)
        return manifest["looks"], manifest["published"]

    def inject(self, facts: Sequence[Fact]) -> dict[str, float]:
        """The share of new facts that is given without them, with them in the prompt, and after training on their plain
        statement and on several, by as many steps.
        """
        asked = CheckRows(asked_rows(facts, ASKED[0]))
        read = CheckRows([self._world.read(fact, ASKED[0]) for fact in facts])
        several = range(len(facts[0].relation.statements))
        found: dict[str, float] = {}
        for name, numbers in (("one", [0] * len(several)), ("several", several)):
            rows = [fact.told(number) for number in numbers for fact in facts]
            recipe = self._recipe(self._size.epochs / 2, keep="last")
            looks = read_manifest(self._train(name, self._taught, rows, recipe, dev=asked, guard=read))["looks"]
            found |= {"base": looks[0]["score"], "rag": looks[0]["guard"], name: looks[-1]["score"]}
            found[f"{name}, rag"] = looks[-1]["guard"]
        return found | {"facts": len(facts)}

    def _recipe(self, epochs: float, **numbers: Any) -> FullRecipe:
        return FullRecipe(
            epochs=epochs,
            batch_size=8,
            learning_rate=1e-3,
            look_every=1.0,
            look_rows=256,
            guard_drop=1.0,
            seed=self._world.seed,
            **numbers,
        )

    def _train(
        self, name: str, base: ResolvedModel, rows: Sequence[TrainingRow], recipe: FullRecipe, **checks: CheckRows
    ) -> Path:
        return train_adapter(
            base=base,
            rows=rows,
            recipe=recipe,
            name=name,
            adapters_dir=self._home / "adapters",
            work_dir=self._home / "training",
            provenance={"seed": self._world.seed},
            progress=partial(show, f"seed {self._world.seed}, {name}"),
            checkpoint_every_s=math.inf,
            **checks,
        ).path

    def _first_tokens(self, rows: Sequence[TrainingRow]) -> tuple[Any, list[int]]:
        """What the taught model gives every token as an answer's first, (rows, vocabulary), and which it is: a thing is
        one word.
        """
        import torch

        from tuning.objectives.objective import IGNORED
        from tuning.objectives.supervised import SUPERVISED
        from tuning.training.loading import load_base, load_tokenizer

        tokenizer = load_tokenizer(self._taught.path)
        model = load_base(self._taught.path, "float32", longest=64).eval()
        logits, golds = [], []
        with torch.no_grad():
            for encoded in (SUPERVISED.encode(tokenizer, row) for row in rows):
                start = sum(label == IGNORED for label in encoded.labels)
                logits.append(model(torch.tensor([encoded.input_ids[:start]])).logits[0, -1])
                golds.append(encoded.input_ids[start])
        return torch.stack(logits), golds


def show(name: str, now: TrainProgress) -> None:
    """One line that is written over."""
    if now.step == now.num_steps or now.step % 10 == 0:
        end = "\n" if now.step == now.num_steps else ""
        sys.stderr.write(f"\r{name}: step {now.step}/{now.num_steps}, loss {now.loss:.3f}   {end}")
