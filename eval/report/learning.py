"""A learning curve in words and as JSON, and what a decision card says of it.

report = report_curve(measured, CurveSettings(), training_price=2.0)
report.to_text(), report.to_dict()
example_lines(Curves((report,), 80, 1000, "tuned"), table, decision, command="arbiter run my.yaml")
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from eval.learning_curve import FEWEST_ROWS, CurveSettings, LearningCurve, MeasuredCurve, Needed
from eval.report.wording import as_amount, as_duration
from router.deciding.arm_table import ArmTable
from router.deciding.decision import Decision
from router.deciding.statistics import Interval, mean_interval
from router.deciding.wording import as_score

# Forecasts are told for so many times the rows.
_FURTHER = (2, 4)
_SAMPLES = 40
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class CurveReport:
    """One arm's learning curve beside the arms that are not trained; `needed` is by their names, in rows in all. The
    training price is that of an hour.
    """

    arm: str
    metric: str
    num_questions: int
    curve: LearningCurve
    rivals: Mapping[str, Interval]
    needed: Mapping[str, Needed]
    settings: CurveSettings
    training_s: tuple[float, ...]
    training_price: float

    def to_text(self) -> str:
        """What a person reads: the scores, what more examples would give, what it takes to reach each rival."""
        lines = [f"{self.arm} by {self.metric} on {self.num_questions} dev questions:"]
        lines += [
            f"  {size:>6,} examples: {_told(interval)}, trained in {as_duration(seconds)}"
            for size, interval, seconds in zip(self.curve.sizes, self.curve.intervals, self.training_s, strict=True)
        ]
        lines += [
            f"  {size:>6,} examples: {_told(self.curve.forecast(size))}, forecast (90%)" for size in self._further()
        ]
        for name, interval in self.rivals.items():
            lines.append(f"{name}: {_told(interval)}; {self.verdict(name)}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The same as one JSON object, with the fitted curve and its forecast as they are drawn."""
        return {
            "arm": self.arm,
            "metric": self.metric,
            "num_questions": self.num_questions,
            "measured": [
                {"num_examples": size, **asdict(interval), "training_s": seconds}
                for size, interval, seconds in zip(self.curve.sizes, self.curve.intervals, self.training_s, strict=True)
            ],
            "forecast": [{"num_examples": size, **asdict(self.curve.forecast(size))} for size in self._further()],
            "line": [{"num_examples": size, **asdict(self.curve.forecast(size))} for size in self._drawn()],
            "rivals": {
                name: {
                    **asdict(interval),
                    "needed": asdict(self.needed[name]),
                    "costs": self._costs(name),
                    "verdict": self.verdict(name),
                }
                for name, interval in self.rivals.items()
            },
            "most": self.settings.most,
        }

    def verdict(self, name: str, *, have: int = 0, is_named: bool = False) -> str:
        """How many more examples than `have`, or than were measured, make the arm as good as a rival, which may be
        named in it; with what they and the training cost.
        """
        needed, have = self.needed[name], max(have, self.curve.sizes[-1])
        good = f"{self.arm} is as good{f' as {name}' if is_named else ''}"
        if needed.expected is None:
            end = "" if needed.low is None else f" ({_range(needed, have)})"
            return f"more than {self.settings.most:,} more examples until {good}{end}: not worth asking for"
        if needed.expected == self.curve.sizes[0]:
            return f"{good} with the fewest that were tried, {needed.expected:,}"
        if needed.expected <= have:
            is_seen = needed.expected <= self.curve.sizes[-1]
            told = good if is_seen else good.replace(" is ", " is expected to be ", 1)
            return f"{told} with {needed.expected:,} examples ({_range(needed, 0)})"
        more = needed.expected - have
        price = self.settings.example_price
        cost = f", at a cost of {more * price:,.0f}" if price else ""
        seconds = self._training_s(needed.expected)
        cost += f"; training on {needed.expected:,} takes about {as_duration(seconds)}"
        cost += f" and costs {as_amount(self.training_price * seconds / _HOUR_S)}" if self.training_price else ""
        return f"about {more:,} more examples until {good} ({_range(needed, have)}){cost}"

    def told_beside(self, served: str, excluded: Mapping[str, str], have: int) -> str:
        """The one sentence of a card: beside the arm that is served, or the best untrained one that may be."""
        rivals = [name for name in self.rivals if name not in excluded] or [*self.rivals]
        if not rivals:
            size = _FURTHER[0] * self.curve.sizes[-1]
            return f"{self.arm} is expected to score {_told(self.curve.forecast(size))} with {size:,} examples."
        rival = served if served in rivals else max(rivals, key=lambda name: self.rivals[name].mean)
        said = self.verdict(rival, have=have, is_named=True)
        return f"{said if said.startswith(self.arm) else said[:1].upper() + said[1:]}."

    def _costs(self, name: str) -> dict[str, float] | None:
        """Of the examples that are lacking and of training on all of them; None where none are, or too many."""
        expected, have = self.needed[name].expected, self.curve.sizes[-1]
        if expected is None or expected <= have:
            return None
        seconds = self._training_s(expected)
        return {
            "examples": (expected - have) * self.settings.example_price,
            "training_s": seconds,
            "training": self.training_price * seconds / _HOUR_S,
        }

    def _training_s(self, num_examples: int) -> float:
        """As long for each row as with the most that were tried."""
        return self.training_s[-1] * num_examples / self.curve.sizes[-1]

    def _further(self) -> list[int]:
        return [factor * self.curve.sizes[-1] for factor in _FURTHER]

    def _drawn(self) -> list[int]:
        """Sizes at equal steps of their logarithm and those that were tried, to where the last rival is reached."""
        first, last = self.curve.sizes[0], self._further()[-1]
        last = max([last, *(needed.expected or 0 for needed in self.needed.values())])
        steps = [round(first * (last / first) ** (step / _SAMPLES)) for step in range(_SAMPLES + 1)]
        return sorted({*steps, *self.curve.sizes, *self._further()})


@dataclass(frozen=True, slots=True)
class Curves:
    """The curves of a run's config and data, as far as they were measured; how many training rows it has, how many more
    are worth asking for, and the arm whose curve `arbiter tune --curve` measures where none is said.
    """

    reports: tuple[CurveReport, ...]
    num_examples: int
    most: int
    arm: str | None


def report_curve(measured: MeasuredCurve, settings: CurveSettings, *, training_price: float = 0.0) -> CurveReport:
    """The report of what was measured."""
    curve = measured.fit()
    most = measured.sizes[-1] + settings.most
    return CurveReport(
        arm=measured.arm,
        metric=measured.metric,
        num_questions=len(measured.clusters),
        curve=curve,
        rivals={name: mean_interval(scores, measured.clusters) for name, scores in measured.rivals.items()},
        needed={name: curve.needed(scores, most=most) for name, scores in measured.rivals.items()},
        settings=settings,
        training_s=measured.training_s,
        training_price=training_price,
    )


def example_lines(curves: Curves, table: ArmTable, decision: Decision, *, command: str) -> Iterator[str]:
    """How many more examples would change the choice: a sentence for each curve; without one, how to measure it where
    the examples are few and an arm that is trained might come to be served by more of them.
    """
    for report in (one for one in curves.reports if one.arm not in decision.excluded):
        yield report.told_beside(decision.arm, decision.excluded, curves.num_examples)
    trained = [scores.arm.name for scores in table.scorecard.arms if scores.arm.adapter is not None]
    servable = [name for name in trained if name not in decision.excluded]
    could_change = decision.arm not in trained or decision.verdict == "undecided"
    are_few = FEWEST_ROWS <= curves.num_examples < curves.most
    if not curves.reports and could_change and are_few and servable:
        measure = command.replace("arbiter run", "arbiter tune --curve", 1)
        if curves.arm not in servable:
            best = max(servable, key=lambda name: table.row(name).mean)
            measure += f" {shlex.quote(f'curve.arm={best}')}"
        yield (
            f"No curve was measured of how far more than the {curves.num_examples:,} examples would take the arms that "
            f"are trained: {measure}"
        )


def _told(interval: Interval) -> str:
    return f"{as_score(interval.mean)} ({as_score(interval.low)} to {as_score(interval.high)})"


def _range(needed: Needed, have: int) -> str:
    low, high = ("more" if end is None else f"{max(end - have, 0):,}" for end in (needed.low, needed.high))
    return f"90%: {low} to {high}"
