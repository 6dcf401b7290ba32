"""What answers are worth, right, wrong or abstained, minus what they cost; and the scorecard that decides by it.

card, margin, scale = with_utility(scorecard, policy)   # the primary metric is now `utility`, scaled to [0, 1]
scale.to_currency(0.8)                                  # in the prices' currency, a question
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from router.deciding.costs import measure, price, question_costs
from router.deciding.policy import Policy, Utility
from router.deciding.scorecard import ArmScores, Score, Scorecard
from router.deciding.statistics import Floats
from router.errors import RouterError

UTILITY = "utility"
# 1.0 where an answer abstains, 0.0 where it does not. Without this column nobody abstains.
ABSTAINED = "abstained"
# A primary score from here on counts as right. It is where token F1 says that half of answer and gold is shared; for a
# binary metric any value in (0, 1] means the same.
RIGHT_AT = 0.5

Outcome = Literal["right", "wrong", "abstain"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
Outcomes = Mapping[Outcome, float]  # shares of an arm's scored questions; they add up to 1


@dataclass(frozen=True, slots=True)
class Scale:
    """The affine map from currency a question, in [`low`, `high`], to [0, 1]; the same for all arms of a scorecard."""

    low: float
    high: float

    @property
    def width(self) -> float:
        """Currency from one end to the other, > 0."""
        return self.high - self.low

    def to_unit(self, amounts: Floats) -> Floats:
        """Amounts as scores."""
        return np.clip((amounts - self.low) / self.width, 0.0, 1.0)

    def to_currency(self, score: float) -> float:
        """A score, or a mean of scores, as an amount."""
        return self.low + score * self.width


def question_outcomes(column: Floats, abstained: Floats | float = math.nan) -> NDArray[np.intp]:
    """What became of each question with this score, by its place in `OUTCOMES`; the last place, -1, is "not scored".

    An abstention that the primary metric counts as right (of a question that has no answer) is right.
    """
    outcomes = np.where(column >= RIGHT_AT, 0, np.where(abstained >= RIGHT_AT, 2, 1))
    return np.where(np.isnan(column), -1, outcomes)


def count_outcomes(scores: ArmScores, primary: str) -> Outcomes | None:
    """Shares of right, wrong and abstained; None when nothing was scored."""
    outcomes = question_outcomes(scores.column(primary), _abstained(scores))
    counts = np.bincount(outcomes + 1, minlength=len(OUTCOMES) + 1)[1:]
    return dict(zip(OUTCOMES, (counts / counts.sum()).tolist(), strict=True)) if counts.any() else None


def mean_worth(outcomes: Outcomes, utility: Utility) -> float:
    """What a question's answer is worth on average, before its cost."""
    return sum(share * _worth(outcome, utility) for outcome, share in outcomes.items())


def with_utility(scorecard: Scorecard, policy: Policy) -> tuple[Scorecard, float, Scale]:
    """The scorecard with `utility` as its primary metric, the policy's margin on that scale, and the scale.

    A mean of the column is the mean worth of an answer minus the mean cost of a question, and minus its part of what is
    paid once or by the month at the policy's traffic. The scale runs from the worst answer at the dearest question of
    any arm to the best at the cheapest, or for nothing where there are floors, which cost nothing. The margin stays a
    share of questions that are right instead of wrong. An answer that failed is worth what a wrong one is, and costs
    its part alone. Raises RouterError for a policy without values, one that rewards wrong answers, and an arm whose
    cost is unknown.
    """
    values, primary, arms = policy.utility, scorecard.primary, []
    if values is None:
        raise RouterError("the policy says nothing of what answers are worth; give it `utility` with right and wrong")
    if values.right <= values.wrong:
        raise RouterError(
            f"right ({values.right:g}) must be worth more than wrong ({values.wrong:g}); change the policy's utility"
        )
    paid = [_paid(scorecard, scores, policy) for scores in scorecard.arms]
    known = np.concatenate([costs[~np.isnan(costs)] for costs in paid])
    worths = (values.right, values.wrong, values.abstain)
    least = 0.0 if scorecard.floors or not len(known) else float(known.min())
    scale = Scale(min(worths) - float(known.max(initial=0.0)), max(worths) - least)
    is_corrected = scorecard.labelled == primary

    def valued(column: Floats, abstained: Floats | float = math.nan, costs: Floats | float = 0.0) -> tuple[Score, ...]:
        worth = np.array([*worths, math.nan])[question_outcomes(column, abstained)]
        found = scale.to_unit(worth - costs).tolist()
        return tuple(None if score != score else score for score in found)

    for scores, costs in zip(scorecard.arms, paid, strict=True):
        how = {"abstained": _abstained(scores), "costs": costs}
        column = valued(scores.column(primary), **how)
        # What people say of an answer is worth as much as if the metric had said it.
        labels = valued(scores.measured("labels"), **how) if is_corrected and scores.labels else ()
        arms.append(replace(scores, scores={**scores.scores, UTILITY: column}, labels=labels))
    floors = {name: valued(np.array(floor, dtype=np.float64)) for name, floor in scorecard.floors.items()}
    margin = policy.margin * (values.right - values.wrong) / scale.width
    card = replace(
        scorecard,
        primary=UTILITY,
        arms=tuple(arms),
        floors=floors,
        metric_of={},
        labelled=UTILITY if is_corrected else "",
    )
    return card, margin, scale


def _paid(scorecard: Scorecard, scores: ArmScores, policy: Policy) -> Floats:
    """What each question of an arm costs with its part of what is paid once or by the month, NaN where it is unknown.

    Raises RouterError for an arm with an answer whose cost nobody can know.
    """
    costs, traffic = price(measure(scorecard, scores), policy), policy.traffic
    is_lost = np.array([name in scores.errors for name in scorecard.question_ids], dtype=bool)
    is_answered = bool((~np.isnan(scores.column(scorecard.primary)) & ~is_lost).any())
    if is_answered and costs.total(1, months=1) is None:
        raise RouterError(
            f"the utility of arm {scores.arm.name!r} needs its cost, but nobody measured its {costs.missing[0]}; set "
            "its price to 0, or take `utility` out of the policy"
        )
    part = costs.fixed_part(traffic.questions, months=traffic.months) or 0.0
    spent = question_costs(scores, policy, scorecard.prefill_s)
    return np.where(np.isnan(spent) & is_lost, 0.0, spent) + part


def _abstained(scores: ArmScores) -> Floats | float:
    return scores.column(ABSTAINED) if ABSTAINED in scores.scores else math.nan


def _worth(outcome: Outcome, values: Utility) -> float:
    return float(getattr(values, outcome))
