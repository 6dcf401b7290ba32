"""A decision as a value: which arm to serve, how it compares with each other one, and on what evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from router.deciding.statistics import Difference, Interval

Verdict = Literal["winner", "tie", "undecided"]
Standing = Literal["beaten", "equivalent", "open"]


@dataclass(frozen=True, slots=True)
class Further:
    """Further questions that would show something, if it is so, with a chance of 50% (`low`) and of 90% (`high`)."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """The leading arm against one other: `difference` is leader minus other on the questions scored for both.

    Without such a question it is None, the two were never compared, and the standing is open. `p_corrected` allows for
    the other comparisons, the looks of a race, and looks to come; the policy's error rate is its bar. `beaten_by` names
    the arm that beat the other in a race, which need not be the leader. So many `unscored` answers of the two leave the
    standing open, which their scores might overturn; 0 where it is not for them. A beaten arm's `is_significant` says
    whether that may be said by itself: the leader is one of several, so where it does not beat all others, the claim
    has to hold among all pairs of arms.
    """

    other: str
    difference: Difference | None
    p_corrected: float
    standing: Standing
    beaten_by: str | None = None
    unscored: int = 0
    is_significant: bool = True


@dataclass(frozen=True, slots=True)
class Trade:
    """What serving an arm that is cheaper than the leader amounts to.

    `saving` is the share of what the leader costs at the policy's traffic, None where that is unknown. `loss` is the
    leader's measured lead over the served arm, in the primary metric.
    """

    leader: str
    saving: float | None
    loss: float


@dataclass(frozen=True, slots=True)
class Decision:
    """Which arm to serve and why. `confidence` is the probability that no arm is better by over the margin.

    `metric` is what decided: the primary metric, or `utility` when the policy puts values on answers. `runner_up` is
    the best other arm with scores for some of the same questions, if there is one. `margin` is the measured lead over
    it, negative when a cheaper arm is served in a tie. With an `undecided` verdict `to_tell_apart` says what would show
    that the leader is better than every arm that is open, and `to_call_equal` that none is better by the margin; None
    where no number of such questions would. `more_questions` is the larger of their high ends, enough for whichever is
    true; a planning figure where both are None.
    `cost_per_1k` is None for an arm with a price that was not measured. After a race, `held_out` is the chosen arm's
    mean, and `held_out_lead` its lead over the runner-up, on questions that decided nothing. `trade` says what was
    given up for what where another arm than the leader is served.
    """

    arm: str
    verdict: Verdict
    confidence: float
    margin: float
    runner_up: str | None
    reason: str
    metric: str = ""
    more_questions: int = 0
    to_tell_apart: Further | None = None
    to_call_equal: Further | None = None
    cost_per_1k: Mapping[str, float | None] = field(default_factory=dict)
    comparisons: tuple[Comparison, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)
    held_out: Interval | None = None
    held_out_lead: Interval | None = None
    trade: Trade | None = None
