"""What a judge's verdicts show: agreement with labels, repeatability, position and length bias, failures and costs.

measure_agreement([True, False], [1.0, 0.0]).kappa.mean  # 1.0

A verdict is 1, 0, or None where the judge gave none. Every interval is at 95%, the mean in its middle on its own scale.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eval.judge.asking import Outcome
from eval.judge.labels import LabelledPair
from router.deciding.policy import Prices
from router.deciding.statistics import Interval, mean_interval, mean_known, paired_difference

Verdict = float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Verdicts against gold labels, over the rows that got a verdict.

    `num_correct` counts the rows that people called correct. `kappa` in [-1, 1] is None where it is undefined: all
    labels and all verdicts are the same.
    """

    num_rows: int
    num_correct: int
    accuracy: Interval
    kappa: Interval | None


@dataclass(frozen=True, slots=True)
class Repeatability:
    """The same rows asked several times: the share whose verdict changed, and the mean variance within a row."""

    num_rows: int
    flip_rate: Interval
    mean_variance: float


@dataclass(frozen=True, slots=True)
class PositionBias:
    """Pairs judged in both orders.

    `order_dependent` is the share of pairs whose winner changes with the order, `first_minus_second` the share of
    verdicts for the first place minus that for the second, in [-1, 1]; `accuracy` is the share of verdicts, both orders
    alike, for the response that people chose.
    """

    num_pairs: int
    order_dependent: Interval
    first_minus_second: Interval
    accuracy: Interval


@dataclass(frozen=True, slots=True)
class LengthBias:
    """Pairs of different length in characters, judged in both orders.

    `judge_longer` and `label_longer` are the shares for which judge and people prefer the longer response. `gap` is the
    judge's agreement with people where they prefer the longer one, minus that where they prefer the shorter one: 1 for
    a judge that goes by length alone, 0 for one that errs either way alike.
    """

    num_pairs: int
    judge_longer: float
    label_longer: float
    gap: Interval


@dataclass(frozen=True, slots=True)
class Calls:
    """All asks of a certification: failures by kind, mean tokens and the price of one ask, and its median seconds.

    Tokens and `price` are None where the judge does not report usage.
    """

    num_calls: int
    failures: Mapping[str, int]
    prompt_tokens: float | None
    generated_tokens: float | None
    price: float | None
    median_s: float

    @property
    def nan_rate(self) -> float:
        """Share of asks without a usable verdict."""
        return sum(self.failures.values()) / self.num_calls

    def kinds(self) -> str:
        """The failures for a person."""
        return ", ".join(f"{count} {kind}" for kind, count in self.failures.items())


def measure_agreement(labels: Sequence[bool], verdicts: Sequence[Verdict]) -> Agreement | None:
    """Accuracy (Wilson interval) and Cohen's kappa (statsmodels, asymptotic interval); None without any verdict."""
    known = [(label, bool(verdict)) for label, verdict in zip(labels, verdicts, strict=True) if verdict is not None]
    if not known:
        return None
    return Agreement(
        num_rows=len(known),
        num_correct=sum(label for label, _ in known),
        accuracy=_share([float(label == verdict) for label, verdict in known]),
        kappa=_kappa(known),
    )


def measure_leniency(
    arms: Sequence[str | None], labels: Sequence[bool], verdicts: Sequence[Verdict], least: int = 1
) -> dict[str, Interval]:
    """Arm -> mean verdict minus mean label of its answers, in [-1, 1]: above 0 the judge passes more than people do.

    An interval counts as a difference of paired scores does. Answers of no known arm, and without a verdict, are left
    out, and so are arms with less than `least` of the others.
    """
    found: dict[str, tuple[list[float], list[float]]] = {}
    for arm, label, verdict in zip(arms, labels, verdicts, strict=True):
        if arm is not None and verdict is not None:
            said, judged = found.setdefault(arm, ([], []))
            said.append(float(label))
            judged.append(verdict)
    return {
        arm: Interval(difference.mean, difference.low, difference.high)
        for arm, (said, judged) in found.items()
        if len(said) >= least
        for difference in (paired_difference(judged, said, list(map(str, range(len(said)))), margin=0.5),)
    }


def measure_repeatability(rows: Sequence[Sequence[Verdict]]) -> Repeatability | None:
    """`rows` holds every row's verdicts; rows with fewer than two of them say nothing, and None is the result of none.

    The variance within a row is p (1 - p) with p the share of its verdicts that are 1: at most 0.25.
    """
    repeated = [known for row in rows if len(known := [v for v in row if v is not None]) > 1]
    if not repeated:
        return None
    shares = [sum(known) / len(known) for known in repeated]
    return Repeatability(
        num_rows=len(repeated),
        flip_rate=_share([float(0 < share < 1) for share in shares]),
        mean_variance=sum(share * (1 - share) for share in shares) / len(shares),
    )


def measure_position(orders: Sequence[tuple[Verdict, Verdict]]) -> PositionBias | None:
    """`orders` holds a pair's verdicts with the chosen response first, then second; 1 is for the first place.

    A pair without both verdicts is left out; None when none is left.
    """
    both = [(a, b) for a, b in orders if a is not None and b is not None]
    if not both:
        return None
    first = _share([(a + b) / 2 for a, b in both])
    return PositionBias(
        num_pairs=len(both),
        order_dependent=_share([float(a == b) for a, b in both]),
        first_minus_second=Interval(2 * first.mean - 1, 2 * first.low - 1, 2 * first.high - 1),
        accuracy=_share([(a + 1 - b) / 2 for a, b in both]),
    )


def measure_length(pairs: Sequence[LabelledPair], orders: Sequence[tuple[Verdict, Verdict]]) -> LengthBias | None:
    """Verdicts as in `measure_position`; averaging over both orders takes the position's part out.

    None unless people prefer the longer response in some pairs and the shorter one in others. The interval combines
    those of the two shares (MOVER, Zou and Donner 2008; Newcombe 1998 for proportions).
    """
    agrees: dict[bool, list[float]] = {True: [], False: []}
    for pair, (a, b) in zip(pairs, orders, strict=True):
        if a is not None and b is not None and len(pair.chosen) != len(pair.rejected):
            agrees[len(pair.chosen) > len(pair.rejected)].append((a + 1 - b) / 2)
    if not agrees[True] or not agrees[False]:
        return None
    longer, shorter = _share(agrees[True]), _share(agrees[False])
    num_pairs, gap = len(agrees[True]) + len(agrees[False]), longer.mean - shorter.mean
    return LengthBias(
        num_pairs=num_pairs,
        judge_longer=(sum(agrees[True]) + sum(1 - value for value in agrees[False])) / num_pairs,
        label_longer=len(agrees[True]) / num_pairs,
        gap=Interval(
            gap,
            gap - math.hypot(longer.mean - longer.low, shorter.high - shorter.mean),
            gap + math.hypot(longer.high - longer.mean, shorter.mean - shorter.low),
        ),
    )


def measure_calls(outcomes: Sequence[Outcome], prices: Prices) -> Calls:
    """Of one ask at least; costs count every ask that reported them, failed ones too."""
    prompt = mean_known(outcome.prompt_tokens for outcome in outcomes)
    generated = mean_known(outcome.generated_tokens for outcome in outcomes)
    is_known = prompt is not None and generated is not None
    return Calls(
        num_calls=len(outcomes),
        failures=dict(Counter(outcome.failure for outcome in outcomes if outcome.value is None).most_common()),
        prompt_tokens=prompt,
        generated_tokens=generated,
        price=((prompt or 0) * prices.prompt + (generated or 0) * prices.generated) / 1e6 if is_known else None,
        median_s=statistics.median(outcome.seconds for outcome in outcomes),
    )


def _kappa(known: Sequence[tuple[bool, bool]]) -> Interval | None:
    if len({side for pair in known for side in pair}) < 2:
        return None
    from statsmodels.stats.inter_rater import cohens_kappa

    table = [[sum(pair == (a, b) for pair in known) for b in (False, True)] for a in (False, True)]
    # A variance that is zero but for rounding may come out below it, and its root as NaN.
    with np.errstate(invalid="ignore"):
        found = cohens_kappa(table)
    mean, low, high = float(found.kappa), float(found.kappa_low), float(found.kappa_upp)
    low, high = (mean if math.isnan(low) else low), (mean if math.isnan(high) else high)
    return Interval(mean, max(low, -1.0), min(high, 1.0))


def _share(values: Sequence[float]) -> Interval:
    """The mean of values in [0, 1], one a row, with its interval."""
    return mean_interval(values, [str(row) for row in range(len(values))])
