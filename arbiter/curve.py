"""`arbiter tune --curve`: how an arm's score grows with its training rows, and how many more would make it the better.

report = measure_curve(pipeline)
report.to_text(), report.to_dict()
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

from arbiter.config.schema import Config
from arbiter.kept_curves import Versions, curve_arm, keep_curve, learns_examples
from arbiter.pipeline import Pipeline
from arbiter.scoring import check_metric, find_judge
from arbiter.variants import Variants, of_arm, require_dev
from eval.learning_curve import FEWEST, FEWEST_ROWS, MeasuredCurve
from eval.questions import Question
from eval.report.learning import CurveReport, report_curve
from router.deciding.scorecard import Score
from serving.engine.engine import engine_identity
from storage.errors import ArbiterError

# The sizes are the whole, a half, a quarter and an eighth, as long as there are so many rows.
_SIZES = 4
_FEWEST_DOCUMENTS = 5


def measure_curve(pipeline: Pipeline) -> CurveReport:
    """Train an arm's adapter on a few sizes of the training rows; ask it and the untrained arms the dev questions.

    What was trained and answered before is found; what is measured is kept, and shown by decisions of the same config
    and data. Raises ArbiterError for an arm without an adapter and for too few rows or questions.
    """
    given, data = pipeline.askable, pipeline.data
    name = _choose(given)
    sizes = _sizes(len(data.examples))
    require_dev(data)
    if len({question.cluster for question in data.dev}) < _FEWEST_DOCUMENTS:
        raise ArbiterError(
            f"a curve needs dev questions about at least {_FEWEST_DOCUMENTS} documents; fewer say nothing of others"
        )
    config = _unlooked(given, name)
    check_metric(config)
    others = [one for one, spec in config.arms.items() if spec.adapter is None and not spec.proposers]
    find_judge(config, pipeline.home, [name, *others])
    pipeline.console.say(f"training {name} on {', '.join(map(str, sizes))} rows, {len(data.dev)} dev questions each")
    everything, training_s = range(len(data.dev)), list[float]()
    with closing(Variants(pipeline, config)) as variants:

        def scores_of(one: str, called: str, examples: Sequence[Question] | None = None) -> list[Score]:
            with variants.open(of_arm(config, one), one, called=called, examples=examples) as ask:
                return list(ask(everything))

        columns = []
        for size, rows in zip(sizes, nested(data.examples, sizes, config.seed), strict=True):
            columns.append(scores_of(name, f"{name} with {size} rows", rows))
            training_s.append(sum(adapter.training_s for adapter in variants.adapters.values()))
        rivals = {one: scores_of(one, one) for one in others}
    # A question that some arm has no score for says nothing of the difference.
    kept = [place for place in everything if all(column[place] is not None for column in [*columns, *rivals.values()])]
    if not kept:
        raise ArbiterError(f"no dev question was scored by {config.policy.metric} for all arms; choose another metric")

    def known(column: Sequence[Score]) -> tuple[float, ...]:
        return tuple(float(score) for place in kept if (score := column[place]) is not None)

    measured = MeasuredCurve(
        arm=name,
        metric=pipeline.scoring.primary,
        sizes=tuple(sizes),
        scores=tuple(map(known, columns)),
        rivals={one: known(column) for one, column in rivals.items()},
        clusters=tuple(data.dev[place].cluster for place in kept),
        training_s=tuple(training_s),
        seed=config.seed,
    )
    versions = Versions(pipeline.base.revision, pipeline.embedder_model.label, engine_identity(given.engine))
    path = keep_curve(pipeline.home, given, data, measured, versions)
    pipeline.console.say(f"curve: {path}")
    return report_curve(measured, given.curve, training_price=given.policy.prices.training_hour)


def _unlooked(config: Config, arm: str) -> Config:
    """The config with trainings that do not look at the dev questions, which they are scored on here."""
    adapters = dict(config.adapters)
    key = config.arms[arm].adapter
    assert key is not None
    adapters[key] = replace(adapters[key], keep="last", patience=0)
    return config.model_copy(update={"adapters": adapters})


def _choose(config: Config) -> str:
    arm = curve_arm(config)
    trained = [name for name, spec in config.arms.items() if learns_examples(config, spec)]
    if arm not in trained:
        have = ", ".join(trained) or "none"
        raise ArbiterError(
            f"arm {arm!r} is not trained on examples, so it has no curve; set curve.arm to one of {have}"
        )
    return arm


def _sizes(num_rows: int) -> list[int]:
    sizes = sorted({num_rows // 2**halving for halving in range(_SIZES)})
    sizes = [size for size in sizes if size >= FEWEST]
    if len(sizes) < 3:
        raise ArbiterError(
            f"a curve needs at least {FEWEST_ROWS} training rows, for three sizes of {FEWEST} and more; there are "
            f"{num_rows}"
        )
    return sizes


def nested(rows: Sequence[Question], sizes: Sequence[int], seed: int) -> list[list[Question]]:
    """Samples of the rows in their own order, each part of the next."""
    order = random.Random(seed).sample(range(len(rows)), len(rows))
    return [[rows[place] for place in sorted(order[:size])] for size in sizes]
