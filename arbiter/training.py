"""The adapters of a config: their rows, the rows they are looked at with, and what their training shows.

trainer = Trainer(config, data, base, documents, scoring, embedder=embedder, home=home, console=console)
trainer.train_all(["raft", "closed_book"]), trainer.forecast("raft")
untrainable(config, data, base, ["raft"], home) # {"raft": "adapters.raft cannot be trained: ..."}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

from arbiter.config.schema import Config
from arbiter.console import Console
from arbiter.data import Data
from arbiter.distilling import Distilling
from arbiter.learned import learned_part
from arbiter.scoring import Scoring
from arbiter.topic_sets import TopicSet
from arbiter.training_rows import count_rows, examples_rows, rows_of, settle_adapters
from eval.report.wording import as_size
from rag.embedding.embedder import Embedder
from rag.index import Index
from tuning.base import ResolvedModel
from tuning.data.rows import Row, TrainingRow
from tuning.data.topics import TopicRows
from tuning.errors import TuningError
from tuning.export.adapters import Adapter
from tuning.objectives.distilled import Distill, Gkd, is_distilled, wants_answers
from tuning.objectives.drawn import reward_of
from tuning.objectives.objective import ObjectiveSettings
from tuning.recipe import Recipe, Worth
from tuning.training.obstacles import obstacles
from tuning.training.progress import Forecast, TrainProgress, sum_forecasts
from tuning.training.run import find_alike, find_trained, forecast_training, rows_hash, train_adapter
from tuning.training.start import settle


class _NotTrained(TuningError):
    """The adapter by whose rewards another learns is not there yet."""

    def __init__(self, name: str, reward: str) -> None:
        super().__init__(f"adapters.{name} learns by the rewards of {reward}, which is trained first")
        self.reward = reward


@dataclass(frozen=True, eq=False)
class Trainer:
    """What all trainings of one config over one data folder have in common. `scoring` is called only where a training
    is looked at, `embedder` only for a set of adapters by topic.
    """

    config: Config
    data: Data
    base: ResolvedModel
    documents: Index | None
    scoring: Callable[[], Scoring]
    _: KW_ONLY
    embedder: Callable[[], Embedder]
    home: Path
    console: Console
    _noted: set[str] = field(default_factory=set, init=False)
    _distilling: Distilling = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_distilling", Distilling(self.config, home=self.home, console=self.console))

    def train_all(self, names: Iterable[str]) -> dict[str, Adapter]:
        """The adapters of these keys, trained as far as there are none. Raises TuningError for all that cannot be
        trained, before the first of them is.
        """
        wanted, adapters = list(names), dict[str, Adapter]()
        # A reward model goes before what learns by it.
        before = [reward for name in wanted if (reward := reward_of(self.config.adapters[name].objective))]
        order = list(dict.fromkeys([*before, *wanted]))

        @cache
        def refuse() -> None:
            left = [name for name in order if name not in adapters]

            def is_there(name: str) -> bool:  # the first is what is to be trained now
                if name == left[0] or reward_of(self.config.adapters[name].objective) in left:
                    return False
                return self._find(name) is not None

            reasons = [*untrainable(self.config, self.data, self.base, left, self.home, is_there).values()]
            if len(reasons) > 1:
                for reason in reasons:
                    self.console.say(reason)
                raise TuningError(f"{len(reasons)} adapters cannot be trained; mend them, or leave out their arms")
            if reasons:
                raise TuningError(reasons[0])

        for name in order:
            adapters[name] = self.train(name, starting=refuse)
        return {name: adapters[name] for name in wanted}

    def train(self, name: str, starting: Callable[[], None] = lambda: None) -> Adapter:
        """The adapter of this key, trained if none of the same recipe and rows exists, after `starting` was called."""
        given = self._arguments(name)
        if name not in self.config.topics:
            return self._train(name, given, starting)
        wanted = self._set(name, given)
        if (found := wanted.find()) is None:
            topics = self._divide(wanted)
            trainings = wanted.trainings(topics)
            members = [
                self._train(f"{name}, topic {number} of {len(trainings)}", own, starting)
                for number, own in enumerate(trainings, start=1)
            ]
            found = wanted.publish(topics, members)
        self.console.say(f"  adapter {found.name}: {len(found.members)} topics (trained in {found.training_s:.0f} s)")
        return found

    def _train(self, name: str, given: dict[str, Any], starting: Callable[[], None]) -> Adapter:
        console = self.console
        with console.step(f"training {name} on {len(given['rows'])} rows ({_numbers(given['recipe'])})") as step:

            def show(now: TrainProgress) -> None:
                left = f", {now.seconds_left:.0f} s left" if now.seconds_left is not None else ""
                scores = [look.score for look in now.looks]
                looks = f", dev {scores[-1]:.2f} of best {max(scores):.2f}" if scores else ""
                shown = f"loss {now.loss:.3f}, {now.tokens_per_s:.0f} tokens/s{left}{looks}"
                step.update(now.step, now.num_steps, shown)

            def show_reading(done: int, total: int) -> None:
                step.update(done, total, "texts read by the model as it is")

            adapter = train_adapter(
                **given,
                progress=show,
                reading=show_reading,
                starting=starting,
                foretold=lambda forecast: console.say(f"  {in_words(name, forecast)}"),
            )
        console.say(f"  adapter {adapter.name} (trained in {adapter.training_s:.0f} s{_looked(adapter)})")
        return adapter

    def _find(self, name: str) -> Adapter | None:
        given = self._arguments(name, asks=False)
        return self._set(name, given).find() if name in self.config.topics else find_trained(**given)

    def _set(self, name: str, given: dict[str, Any]) -> TopicSet:
        return TopicSet.of(self.config, name, self.data, given, self.embedder())

    def _divide(self, wanted: TopicSet) -> list[TopicRows]:
        with self.console.step(f"dividing {len(wanted.questions)} questions of {wanted.key} by topic") as step:
            return wanted.divide(step.update)

    def forecast(self, name: str) -> Forecast | str | None:
        """What the training of this adapter will take, or why it cannot be trained; None where it exists."""
        try:
            given = self._arguments(name, asks=False)
        except _NotTrained as missing:
            return f"{name} is timed when its reward model {missing.reward} is trained"
        try:
            trainings = [given]
            if name in self.config.topics:
                wanted = self._set(name, given)
                trainings = wanted.trainings(self._divide(wanted)) if wanted.find() is None else []
            with self.console.step(f"timing steps of {name} on {len(given['rows'])} rows"):
                left = [found for own in trainings if (found := forecast_training(**own)) is not None]
        except TuningError as error:
            return _cannot(name, str(error))
        return sum_forecasts(left) if left else None

    def _arguments(self, name: str, *, asks: bool = True) -> dict[str, Any]:
        """What a training is given. Without `asks` no teacher is: rows that it has not answered yet keep their own."""
        config, data, home, spec = self.config, self.data, self.home, self.config.adapters[name]
        documents = self.documents if spec.passages else None
        with self.console.step(f"making rows of {count_rows(name, spec, data)} {learned_part(spec)} for {name}"):
            rows = rows_of(config, name, data, documents, self.base.path, self.scoring)
        worth = rows.worth
        if reward := reward_of(spec.objective):
            taught = find_trained(**self._arguments(reward))
            if taught is None:
                raise _NotTrained(name, reward)
            worth = Worth(taught.name, adapter=taught.path)
        training, notes = rows.training, rows.notes
        if wants_answers(spec.objective):
            training, more = self._answered(training, spec.objective, asks=asks)
            notes += more
        provenance: dict[str, object] = {
            "data": str(data.folder),
            "data_version": data.version,
            "notes": list(data.notes),
        }
        if is_distilled(spec.objective):
            provenance["teacher"] = self._distilling.told.label
        if asks and name not in self._noted:
            self._noted.add(name)
            for note in notes:
                self.console.say(f"  {note}")
        return {
            "base": self.base,
            "rows": training,
            "recipe": settle(spec, len(training), home / "adapters"),
            "name": _called(name),
            "adapters_dir": home / "adapters",
            "work_dir": home / "training",
            "provenance": provenance,
            "power_w": config.energy.power_w,
            "dev": rows.dev,
            "guard": rows.guard,
            "held_out": rows.held_out,
            "worth": worth,
            "teacher": self._distilling.teacher() if isinstance(spec.objective, Gkd) else None,
        }

    def _answered(
        self, rows: Sequence[Row], objective: ObjectiveSettings, *, asks: bool
    ) -> tuple[Sequence[Row], tuple[str, ...]]:
        assert isinstance(objective, Distill | Gkd)
        examples = [row for row in rows if isinstance(row, TrainingRow)]
        assert len(examples) == len(rows)
        return self._distilling.answered(examples, max_tokens=objective.max_tokens, asks=asks)


def _numbers(recipe: Recipe) -> str:
    """Those of a settled recipe that may have been left open."""
    rank = f"rank {one}, " if (one := getattr(recipe, "rank", None)) is not None else ""
    if recipe.epochs == 0:
        return f"{recipe.method}, nothing is trained"
    shown = f"{rank}{recipe.epochs:g} epochs in batches of {recipe.batch_size}, rate {recipe.learning_rate:.2g}"
    objective = f"{recipe.objective.name}, " if recipe.objective.name != "supervised" else ""
    return f"{objective}{recipe.method}, {shown}"


def untrainable(
    config: Config,
    data: Data,
    base: ResolvedModel,
    names: Iterable[str],
    home: Path,
    is_there: Callable[[str], bool] = lambda _: False,
) -> dict[str, str]:
    """A sentence for each of these adapters that cannot be trained here on this base, unless it `is_there`, or would
    not be taken by the engine, by its key. Raises TuningError for a base that cannot be read.
    """
    settled = settle_adapters(config, data, home).adapters
    recipes = {name: settled[name] for name in names}
    found = obstacles(recipes, base, home / "adapters")
    cannot = {name: _cannot(name, reason) for name, reason in found.items() if not is_there(name)}
    return config.too_wide(recipes) | cannot


def trained_alike(config: Config, data: Data, base: ResolvedModel, name: str, home: Path) -> str | None:
    """The full name of an adapter that was trained as this one would be, as far as that is known without retrieving
    passages: then the rows are only counted.
    """
    recipe = settle_adapters(config, data, home).adapters[name]
    is_known = learned_part(recipe) == "examples" and not recipe.passages
    rows = rows_hash(examples_rows(config, name, data, None)) if is_known else ""
    folder, num_rows = home / "adapters", count_rows(name, recipe, data)
    topics = config.topics.get(name)
    return find_alike(folder, _called(name), base=base, recipe=recipe, num_rows=num_rows, rows=rows, topics=topics)


def _called(name: str) -> str:
    """What the adapter of a key is called, before the hash of its content."""
    return name.replace("_", "-")


def _cannot(name: str, reason: str) -> str:
    return f"adapters.{name} cannot be trained: {reason}"


def in_words(name: str, found: Forecast | str | None) -> str:
    """What the training of an adapter will take, as `Trainer.forecast` gives it."""
    if found is None:
        return f"{name} is trained"
    if isinstance(found, str):
        return found
    time = f"{found.seconds:.0f} s" if found.seconds < 120 else f"{found.seconds / 60:.0f} min"
    free = as_size(found.free_bytes)
    return f"{name} will take about {time} and {as_size(found.memory_bytes)} of memory; {free} may be had"


def _looked(adapter: Adapter) -> str:
    return _shown_looks(adapter) + _shown_preference(adapter) + _shown_drawn(adapter)


def _shown_drawn(adapter: Adapter) -> str:
    """The reward of the first and of the last steps, a tenth of them each."""
    if (told := adapter.drawn) is None or not told.reward:
        return ""
    some = max(len(told.reward) // 10, 1)
    first, last, departure = (fmean(part) for part in (told.reward[:some], told.reward[-some:], told.departure[-some:]))
    return f"; reward {first:.2f} -> {last:.2f}, {departure:.2f} nats an answer from the beginning"


def _shown_preference(adapter: Adapter) -> str:
    if (told := adapter.preference) is None:
        return ""
    shares = f"{told.accuracy_before.mean:.0%} -> {told.accuracy.mean:.0%}"
    return (
        f"; of {told.num_pairs} held-out pairs the chosen answer is preferred in {shares} "
        f"({told.accuracy.low:.0%} to {told.accuracy.high:.0%})"
    )


def _shown_looks(adapter: Adapter) -> str:
    if adapter.published is None:
        return ""
    before, now = adapter.looks[0], adapter.published
    steps = " and ".join(map(str, now.steps))
    guard = "" if before.guard is None or now.guard is None else f", guard {before.guard:.2f} -> {now.guard:.2f}"
    return f"; after step {steps}: dev {before.score:.2f} -> {now.score:.2f}{guard}"
