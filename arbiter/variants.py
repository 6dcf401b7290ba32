"""Variants of one config that answer the dev questions in turn, with one engine for all of them.

with closing(Variants(pipeline, config)) as variants, variants.open(changed, "rag", called="top_k=4") as ask:
    scores = ask([0, 1, 2])
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from arbiter.asking import Asker
from arbiter.config.schema import Config
from arbiter.console import Step
from arbiter.data import Data
from arbiter.mixing import scaled
from arbiter.pipeline import Pipeline
from arbiter.training_rows import settle_adapters
from eval.answers import Asked
from eval.evaluate import Patience
from eval.questions import Question
from eval.sweep.study import Ask
from router.answering.topics import choosers
from router.deciding.scorecard import Score
from serving.errors import EngineFailed
from storage.errors import ArbiterError
from tuning.export.adapters import Adapter

_READY_POLL_S = 0.5


def require_dev(data: Data) -> None:
    """Raise ArbiterError for a folder that gave no dev questions."""
    if not data.dev:
        raise ArbiterError(
            f"data folder {str(data.folder)!r} gave no dev questions; add dev.jsonl, rows like test.jsonl"
        )


class NotMade(ArbiterError):
    """A variant that cannot be indexed or trained."""


class Variants:
    """Adapters and answers are found by content, as everywhere. The engine starts for the first answer that is not
    known yet, and stays up until the end.

    `adapters` are those of the variant that was opened last, by their key in the config.
    """

    def __init__(self, pipeline: Pipeline, config: Config) -> None:
        """Models, embedder and data are the pipeline's; `config` says how the engine is started, for the ranks of
        trainings on all rows.
        """
        config = settle_adapters(config, pipeline.data, pipeline.home)
        self._pipeline = pipeline
        self._data = replace(pipeline.data, questions=pipeline.data.dev)
        self._patience_s = config.eval.patience_s
        self.adapters: dict[str, Adapter] = {}
        self._asker = Asker(
            config=config,
            base=pipeline.base,
            home=pipeline.home,
            console=pipeline.console,
            adapters={},
            indexes={},
            versions={},
        )

    def close(self) -> None:
        """Stops the engine, if one was started."""
        self._asker.close()

    @contextlib.contextmanager
    def open(
        self,
        config: Config,
        arm_name: str,
        *,
        called: str,
        examples: Sequence[Question] | None = None,
        index_variant: str = "",
    ) -> Iterator[Ask]:
        """Index and train what an arm of a config needs, then ask question numbers. `examples` stand for the training
        rows, with as large a part of those that are mixed in; an `index_variant` keeps what is indexed apart from the
        data's own indexes. Raises NotMade.
        """
        trial = Pipeline(config, home=self._pipeline.home, console=self._pipeline.console)
        trial.data = replace(self._data, variant=index_variant)
        if examples is not None:
            mixed = scaled(self._data.mixed, len(examples) / len(self._data.examples), seed=config.seed)
            trial.data = replace(trial.data, examples=tuple(examples), mixed=mixed)
        trial.base, trial.embedder = self._pipeline.base, self._pipeline.embedder
        trial.answer_lengths = self._pipeline.answer_lengths
        with contextlib.ExitStack() as during:
            for index in trial.indexes.values():
                during.callback(index.close)
            try:
                adapters = self.adapters = trial.adapters
            except ArbiterError as error:
                raise NotMade(str(error)) from error
            arm = next(arm for arm in trial.arms if arm.name == arm_name)
            self._asker.indexes = {index.name: index for index in trial.indexes.values()}
            self._asker.versions = trial.versions
            self._asker.topics = choosers(adapters.values(), trial.embedder)
            step: Step | None = None
            num_asked = 0

            def ask_numbers(numbers: Sequence[int]) -> Sequence[Score]:
                nonlocal step, num_asked
                questions = [self._data.questions[number] for number in numbers]
                if step is None and not self._asker.knows([arm], questions):
                    self._load([part for adapter in adapters.values() for part in adapter.parts], during)
                    title = f"asking up to {len(self._data.questions)} questions of {called}"
                    step = during.enter_context(self._pipeline.console.step(title))
                records = self._asker.ask([arm], questions)
                num_asked += len(questions)
                if step is not None:
                    step.update(num_asked, len(self._data.questions))
                card = trial.scoring.score_deciding([arm], Asked(tuple(questions), tuple(records)))
                return card.arms[0].scores[card.primary]

            yield ask_numbers

    def _load(self, adapters: Iterable[Adapter], during: contextlib.ExitStack) -> None:
        """Have the engine up with a variant's adapters; they are unloaded when `during` ends."""
        engine = self._asker.start()

        def unload(adapter: Adapter) -> None:
            # An engine that is restarting just then keeps it, which harms nobody.
            with contextlib.suppress(ArbiterError):
                engine.unload(adapter)

        patience = Patience(limit_s=self._patience_s)
        for adapter in adapters:
            while not engine.is_ready():
                if patience.is_exhausted():
                    raise EngineFailed(f"no engine for {patience.limit_s:.0f} s; run the same command again")
                time.sleep(_READY_POLL_S)
            engine.load(adapter)
            during.callback(unload, adapter)


def of_arm(config: Config, name: str) -> Config:
    """The config with this arm, its proposers, and those that share its adapter, whose first one says how that is
    prompted.
    """
    adapter = config.arms[name].adapter
    sharing = {n: arm for n, arm in config.arms.items() if adapter and arm.adapter == adapter and not arm.proposers}
    if adapter in config.adapters and not config.adapters[adapter].passages:
        # Nothing is indexed for arms that say no more than a prompt.
        sharing = {n: replace(arm, index=None) for n, arm in sharing.items()}
    arms = {**sharing, **config.with_proposers([name])}
    evaluation = replace(config.eval, labels=None)
    return config.model_copy(update={"arms": arms, "race": None, "eval": evaluation})
