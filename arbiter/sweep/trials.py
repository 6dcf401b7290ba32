"""`arbiter sweep`: the settings of one arm tried on real parts, with one engine for all trials.

report = run_sweep(pipeline, SweepSettings(arm="rag", trials=12))
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace

from arbiter.pipeline import Pipeline
from arbiter.scoring import check_metric, find_judge
from arbiter.sweep.target import SweepTarget, apply_settings, resolve_sweep, room_for_ranks
from arbiter.training_rows import settle_adapters
from arbiter.variants import NotMade, Variants, of_arm, require_dev
from eval.sweep.report import SweepReport, TrialResult, describe
from eval.sweep.space import Settings, SweepSettings
from eval.sweep.study import Ask, SweepPlan, TrialFailed, run_trials
from rag.chunking.chunk import ChunkSettings
from serving.engine.engine import engine_identity
from storage.errors import ArbiterError
from storage.hashes import content_hash
from storage.settings import part


def run_sweep(pipeline: Pipeline, sweep: SweepSettings) -> SweepReport:
    """Search one arm's settings on the pipeline's dev questions; goes on where an earlier start was stopped.

    Same config, space, sampler and data are the same sweep; a larger budget continues it. Raises ArbiterError listing
    every fault of the section, and EvalError when no trial could be measured.
    """
    data, console = pipeline.data, pipeline.console
    target = resolve_sweep(settle_adapters(pipeline.askable, data, pipeline.home), sweep)
    require_dev(data)

    def show(result: TrialResult) -> None:
        outcome = result.reason if result.mean is None else f"{result.mean:.3f} over {result.num_asked} questions"
        ended = {"pruned": ", ended early", "failed": ", failed", "finished": ""}[result.outcome]
        console.say(
            f"trial {result.number + 1} of {sweep.trials}: {describe(result.settings)}: {outcome}{ended} "
            f"({result.seconds:.0f} s)"
        )

    with contextlib.closing(LiveTrials(target, pipeline)) as trials:
        name = f"{data.name}-{target.arm}-{content_hash(trials.fingerprint(), sweep.sampler)[:12]}"
        path = pipeline.home / "sweep" / f"{name}.db"
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

    Indexes are sweeps' own, so that no trial disturbs an index that is served.
    """

    def __init__(self, target: SweepTarget, pipeline: Pipeline) -> None:
        """Models and embedder are the pipeline's; its config is not used, the target's is."""
        self._target = target
        self._pipeline = pipeline
        # Before anything is indexed or trained: a metric that nothing gives.
        check_metric(target.config)
        find_judge(target.config, pipeline.home, [target.arm])
        self._variants = Variants(pipeline, target.config)

    def fingerprint(self) -> str:
        """What shapes the scores of this sweep, the budget and the sampler aside."""
        target = self._target
        parts = {key: repr(part) for key, part in target.space.items()}
        versions = {"model": self._pipeline.base.revision, "engine": engine_identity(target.config.engine)}
        return content_hash(
            target.arm,
            of_arm(target.config, target.arm).fingerprint(),
            self._pipeline.data.version,
            json.dumps([parts, dict(target.defaults), versions], sort_keys=True),
        )

    def close(self) -> None:
        """Stops the engine, if one was started."""
        self._variants.close()

    @contextlib.contextmanager
    def __call__(self, settings: Settings) -> Iterator[Ask]:
        """Index and train what the settings need, then ask question numbers. Raises TrialFailed where that fails."""
        arm = self._target.arm
        try:
            config = of_arm(apply_settings(self._target.config, settings), arm)
        except ArbiterError as error:
            raise TrialFailed(str(error)) from error
        cut = content_hash(repr(part(config.index, ChunkSettings)))[:6]
        try:
            with self._variants.open(config, arm, called=describe(settings), index_variant=f"-sweep-{cut}") as ask:
                yield ask
        except NotMade as error:
            raise TrialFailed(str(error)) from error
