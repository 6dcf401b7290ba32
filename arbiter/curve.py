"""`arbiter tune --curve`: how an arm's score grows with its training rows, and how many more would make it the better.

report = measure_curve(pipeline)
report.to_text(), report.to_dict()
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any

from arbiter.config.schema import Config
from arbiter.pipeline import Pipeline
from arbiter.scoring import check_metric, find_judge
from arbiter.variants import Variants, of_arm, require_dev
from eval.learning_curve import CurveSettings, LearningCurve, Needed, fit_curve
from eval.questions import Question
from router.deciding.scorecard import Score
from router.deciding.statistics import Interval, mean_interval
from router.deciding.wording import as_score
from storage.errors import ArbiterError

# The sizes are the whole, a half, a quarter and an eighth, as long as there are so many rows.
_SIZES, _FEWEST = 4, 10
_FEWEST_DOCUMENTS = 5
_FURTHER = (2, 4)


@dataclass(frozen=True, slots=True)
class CurveReport:
    """One arm's learning curve beside the arms that are not trained; `needed` is by their names, in rows in all."""

    arm: str
    metric: str
    num_questions: int
    curve: LearningCurve
    rivals: Mapping[str, Interval]
    needed: Mapping[str, Needed]
    settings: CurveSettings

    def to_text(self) -> str:
        """What a person reads: the scores, what more examples would give, what it takes to reach each rival."""
        lines = [f"{self.arm} by {self.metric} on {self.num_questions} dev questions:"]
        lines += [
            f"  {size:>6,} examples: {_told(interval)}"
            for size, interval in zip(self.curve.sizes, self.curve.intervals, strict=True)
        ]
        lines += [
            f"  {size:>6,} examples: {_told(self.curve.forecast(size))}, forecast (90%)" for size in self._further()
        ]
        for name, interval in self.rivals.items():
            lines.append(f"{name}: {_told(interval)}; {self._verdict(name)}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The same as one JSON object."""
        return {
            "arm": self.arm,
            "metric": self.metric,
            "num_questions": self.num_questions,
            "measured": [
                {"num_examples": size, **asdict(interval)}
                for size, interval in zip(self.curve.sizes, self.curve.intervals, strict=True)
            ],
            "forecast": [{"num_examples": size, **asdict(self.curve.forecast(size))} for size in self._further()],
            "rivals": {
                name: {**asdict(interval), "needed": asdict(self.needed[name]), "verdict": self._verdict(name)}
                for name, interval in self.rivals.items()
            },
            "most": self.settings.most,
        }

    def _further(self) -> list[int]:
        return [factor * self.curve.sizes[-1] for factor in _FURTHER]

    def _verdict(self, name: str) -> str:
        needed, have = self.needed[name], self.curve.sizes[-1]
        if needed.expected is None:
            end = "" if needed.low is None else f" ({_range(needed, have)})"
            return (
                f"more than {self.settings.most:,} more examples until {self.arm} is as good{end}: not worth asking for"
            )
        if needed.expected == self.curve.sizes[0]:
            return f"{self.arm} is as good with the fewest that were tried, {needed.expected:,}"
        if needed.expected <= have:
            return f"{self.arm} is as good with {needed.expected:,} examples ({_range(needed, 0)})"
        more = needed.expected - have
        price = self.settings.example_price
        cost = f", at a cost of {more * price:,.0f}" if price else ""
        return f"about {more:,} more examples until {self.arm} is as good ({_range(needed, have)}){cost}"


def measure_curve(pipeline: Pipeline) -> CurveReport:
    """Train an arm's adapter on a few sizes of the training rows; ask it and the untrained arms the dev questions.

    What was trained and answered before is found. Raises ArbiterError for an arm without an adapter and for too few
    rows or questions.
    """
    config, data = pipeline.askable, pipeline.data
    name = _choose(config)
    sizes = _sizes(len(data.examples))
    require_dev(data)
    if len({question.cluster for question in data.dev}) < _FEWEST_DOCUMENTS:
        raise ArbiterError(
            f"a curve needs dev questions about at least {_FEWEST_DOCUMENTS} documents; fewer say nothing of others"
        )
    config = _unlooked(config, name)
    check_metric(config)
    others = [one for one, spec in config.arms.items() if spec.adapter is None]
    find_judge(config, pipeline.home, [name, *others])
    pipeline.console.say(f"training {name} on {', '.join(map(str, sizes))} rows, {len(data.dev)} dev questions each")
    everything = range(len(data.dev))
    with closing(Variants(pipeline, config)) as variants:

        def scores_of(one: str, called: str, examples: Sequence[Question] | None = None) -> list[Score]:
            with variants.open(of_arm(config, one), one, called=called, examples=examples) as ask:
                return list(ask(everything))

        columns = [
            scores_of(name, f"{name} with {size} rows", rows)
            for size, rows in zip(sizes, _nested(data.examples, sizes, config.seed), strict=True)
        ]
        rivals = {one: scores_of(one, one) for one in others}
    # A question that some arm has no score for says nothing of the difference.
    kept = [place for place in everything if all(column[place] is not None for column in [*columns, *rivals.values()])]
    if not kept:
        raise ArbiterError(f"no dev question was scored by {config.policy.metric} for all arms; choose another metric")
    clusters = [data.dev[place].cluster for place in kept]

    def known(column: Sequence[Score]) -> list[float]:
        return [float(score) for place in kept if (score := column[place]) is not None]

    curve = fit_curve(sizes, [known(column) for column in columns], clusters, seed=config.seed)
    return CurveReport(
        arm=name,
        metric=pipeline.scoring.primary,
        num_questions=len(kept),
        curve=curve,
        rivals={one: mean_interval(known(column), clusters) for one, column in rivals.items()},
        needed={one: curve.needed(known(column), most=sizes[-1] + config.curve.most) for one, column in rivals.items()},
        settings=config.curve,
    )


def _unlooked(config: Config, arm: str) -> Config:
    """The config with trainings that do not look at the dev questions, which they are scored on here."""
    adapters = dict(config.adapters)
    key = config.arms[arm].adapter
    assert key is not None
    adapters[key] = replace(adapters[key], keep="last", patience=0)
    return config.model_copy(update={"adapters": adapters})


def _choose(config: Config) -> str:
    arm = config.curve.arm
    trained = [name for name, spec in config.arms.items() if spec.adapter is not None]
    if arm is None and trained:
        return trained[0]
    if arm not in trained:
        have = ", ".join(trained) or "none"
        raise ArbiterError(f"arm {arm!r} is not trained, so it has no curve; set curve.arm to one of {have}")
    return arm


def _sizes(num_rows: int) -> list[int]:
    sizes = sorted({num_rows // 2**halving for halving in range(_SIZES)})
    sizes = [size for size in sizes if size >= _FEWEST]
    if len(sizes) < 3:
        raise ArbiterError(
            f"a curve needs at least {4 * _FEWEST} training rows, for three sizes of {_FEWEST} and more; there are "
            f"{num_rows}"
        )
    return sizes


def _nested(rows: Sequence[Question], sizes: Sequence[int], seed: int) -> list[list[Question]]:
    """Samples of the rows in their own order, each part of the next."""
    order = random.Random(seed).sample(range(len(rows)), len(rows))
    return [[rows[place] for place in sorted(order[:size])] for size in sizes]


def _told(interval: Interval) -> str:
    return f"{as_score(interval.mean)} ({as_score(interval.low)} to {as_score(interval.high)})"


def _range(needed: Needed, have: int) -> str:
    low, high = ("more" if end is None else f"{max(end - have, 0):,}" for end in (needed.low, needed.high))
    return f"90%: {low} to {high}"
