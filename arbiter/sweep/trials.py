"""`arbiter sweep`: the settings of one arm tried on real parts, with one engine for all trials.

report = run_sweep(pipeline, SweepSettings(arm="rag", trials=12))
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from arbiter.asking import Asker
from arbiter.config.schema import Config
from arbiter.console import Step
from arbiter.pipeline import Pipeline
from arbiter.scoring import check_metric, find_judge
from arbiter.sweep.target import SweepTarget, apply_settings, resolve_sweep, room_for_ranks
from eval.answers import Asked
from eval.evaluate import Patience
from eval.sweep.report import SweepReport, TrialResult, describe
from eval.sweep.space import Settings, SweepSettings
from eval.sweep.study import Ask, SweepPlan, TrialFailed, run_trials
from rag.chunking.chunk import ChunkSettings
from router.deciding.scorecard import Score
from serving.engine.engine import engine_identity
from serving.errors import EngineFailed
from storage.errors import ArbiterError
from storage.hashes import content_hash
from storage.settings import part
from tuning.export.adapters import Adapter

_READY_POLL_S = 0.5


def run_sweep(pipeline: Pipeline, sweep: SweepSettings) -> SweepReport:
    """Search one arm's settings on the pipeline's dev questions; goes on where an earlier start was stopped.

    Same config, space and data are the same sweep; a larger budget continues it. Raises ArbiterError listing every
    fault of the section, and EvalError when no trial could be measured.
    """
    target = resolve_sweep(pipeline.askable, sweep)
    data, console = pipeline.data, pipeline.console
    if not data.dev:
        raise ArbiterError(
            f"data folder {str(data.folder)!r} gave no dev questions; add dev.jsonl, rows like test.jsonl"
        )

    def show(result: TrialResult) -> None:
        outcome = result.reason if result.mean is None else f"{result.mean:.3f} over {result.num_asked} questions"
        ended = {"pruned": ", ended early", "failed": ", failed", "finished": ""}[result.outcome]
        console.say(
            f"trial {result.number + 1} of {sweep.trials}: {describe(result.settings)}: {outcome}{ended} "
            f"({result.seconds:.0f} s)"
        )

    with contextlib.closing(LiveTrials(target, pipeline)) as trials:
        path = pipeline.home / "sweep" / f"{data.name}-{target.arm}-{trials.fingerprint()[:12]}.db"
        console.say(
            f"trying {len(target.space)} settings of {target.arm} on {len(data.dev)} dev questions: {path.name}"
        )
        plan = SweepPlan(
            space=target.space,
            defaults=target.defaults,
            clusters=tuple(question.cluster for question in data.dev),
            budget=sweep,
            seed=target.config.seed,
            margin=target.config.policy.margin,
        )
        report = run_trials(plan, trials, path=path, on_trial=show)
    # An engine whose rank follows the adapters needs no word of it.
    is_set = pipeline.config.engine.max_lora_rank is not None
    return replace(report, also=room_for_ranks(pipeline.config, report.best.settings.items()) if is_set else {})


class LiveTrials:
    """The objective of a sweep: settings to an arm that answers the dev questions.

    Indexes are sweeps' own, so that no trial disturbs an index that is served. Adapters and answers are found by
    content, as everywhere. The engine starts for the first answer that is not known yet, and stays up until the end.
    """

    def __init__(self, target: SweepTarget, pipeline: Pipeline) -> None:
        """Models and embedder are the pipeline's; its config is not used, the target's is."""
        self._target = target
        self._pipeline = pipeline
        self._data = replace(pipeline.data, questions=pipeline.data.dev)
        # Before anything is indexed or trained: a metric that nothing gives.
        check_metric(target.config)
        find_judge(target.config, pipeline.home, [target.arm])
        self._asker = Asker(
            config=target.config,
            base=pipeline.base,
            home=pipeline.home,
            console=pipeline.console,
            adapters={},
            indexes={},
            versions={},
        )

    def fingerprint(self) -> str:
        """What shapes the scores of this sweep, the budget aside."""
        target = self._target
        parts = {key: repr(part) for key, part in target.space.items()}
        versions = {"model": self._pipeline.base.revision, "engine": engine_identity(target.config.engine)}
        return content_hash(
            target.arm,
            _of_arm(target.config, target.arm).fingerprint(),
            self._pipeline.data.version,
            json.dumps([parts, dict(target.defaults), versions], sort_keys=True),
        )

    def close(self) -> None:
        """Stops the engine, if one was started."""
        self._asker.close()

    @contextlib.contextmanager
    def __call__(self, settings: Settings) -> Iterator[Ask]:
        """Index and train what the settings need, then ask question numbers. Raises TrialFailed where that fails."""
        try:
            config = _of_arm(apply_settings(self._target.config, settings), self._target.arm)
        except ArbiterError as error:
            raise TrialFailed(str(error)) from error
        trial = Pipeline(config, home=self._pipeline.home, console=self._pipeline.console)
        cut = content_hash(repr(part(config.index, ChunkSettings)))[:6]
        trial.data = replace(self._data, variant=f"-sweep-{cut}")
        trial.base, trial.embedder = self._pipeline.base, self._pipeline.embedder
        trial.answer_lengths = self._pipeline.answer_lengths
        with contextlib.ExitStack() as during:
            for index in trial.indexes.values():
                during.callback(index.close)
            try:
                adapters = trial.adapters
            except ArbiterError as error:
                raise TrialFailed(str(error)) from error
            arm = next(arm for arm in trial.arms if arm.name == self._target.arm)
            self._asker.indexes = {index.name: index for index in trial.indexes.values()}
            self._asker.versions = trial.versions
            step: Step | None = None
            num_asked = 0

            def ask_numbers(numbers: Sequence[int]) -> Sequence[Score]:
                nonlocal step, num_asked
                questions = [self._data.questions[number] for number in numbers]
                if step is None and not self._asker.knows([arm], questions):
                    self._load(adapters.values(), during)
                    title = f"asking up to {len(self._data.questions)} questions of {describe(settings)}"
                    step = during.enter_context(self._pipeline.console.step(title))
                records = self._asker.ask([arm], questions)
                num_asked += len(questions)
                if step is not None:
                    step.update(num_asked, len(self._data.questions))
                card = trial.scoring.score_deciding([arm], Asked(tuple(questions), tuple(records)))
                return card.arms[0].scores[card.primary]

            yield ask_numbers

    def _load(self, adapters: Iterable[Adapter], during: contextlib.ExitStack) -> None:
        """Have the engine up with the trial's adapters; they are unloaded when `during` ends."""
        engine = self._asker.start()

        def unload(adapter: Adapter) -> None:
            # An engine that is restarting just then keeps it, which harms nobody.
            with contextlib.suppress(ArbiterError):
                engine.unload(adapter)

        patience = Patience(limit_s=self._target.config.eval.patience_s)
        for adapter in adapters:
            while not engine.is_ready():
                if patience.is_exhausted():
                    raise EngineFailed(f"no engine for {patience.limit_s:.0f} s; run the same command again")
                time.sleep(_READY_POLL_S)
            engine.load(adapter)
            during.callback(unload, adapter)


def _of_arm(config: Config, name: str) -> Config:
    """The config with this arm and those that share its adapter, whose first one says how the adapter is prompted."""
    adapter = config.arms[name].adapter
    sharing = {n: arm for n, arm in config.arms.items() if adapter is not None and arm.adapter == adapter}
    if adapter is not None and not config.adapters[adapter].passages:
        # Nothing is indexed for arms that say no more than a prompt.
        sharing = {n: replace(arm, index=None) for n, arm in sharing.items()}
    arms = {**sharing, name: config.arms[name]}
    evaluation = replace(config.eval, labels=None)
    return config.model_copy(update={"arms": arms, "race": None, "eval": evaluation})
