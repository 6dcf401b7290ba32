"""What answers are worth, right, wrong or abstained, minus what they cost; and the scorecard that decides by it.

card, margin, scale = with_utility(scorecard, policy)   # the primary metric is now `utility`, scaled to [0, 1]
scale.to_currency(0.8)                                  # in the prices' currency, a question
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from router.deciding.costs import measure, price, question_costs
from router.deciding.policy import Policy, Utility
from router.deciding.scorecard import ArmScores, Score, Scorecard
from router.errors import RouterError

UTILITY = "utility"
# 1.0 where an answer abstains, 0.0 where it does not. Without this column nobody abstains.
ABSTAINED = "abstained"
# A primary score from here on counts as right. It is where token F1 says that half of answer and gold is shared; for a
# binary metric any value in (0, 1] means the same.
RIGHT_AT = 0.5

Outcome = Literal["right", "wrong", "abstain"]
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

    def to_unit(self, amount: float) -> float:
        """An amount as a score."""
        return min(max((amount - self.low) / self.width, 0.0), 1.0)

    def to_currency(self, score: float) -> float:
        """A score, or a mean of scores, as an amount."""
        return self.low + score * self.width


def question_outcomes(scores: ArmScores, primary: str) -> tuple[Outcome | None, ...]:
    """What became of each question, None where it was not scored.

    An abstention that the primary metric counts as right (of a question that has no answer) is right.
    """
    column = scores.scores[primary]
    abstained = scores.scores.get(ABSTAINED) or (None,) * len(column)
    rows = zip(column, abstained, strict=True)
    return tuple(None if score is None else _outcome(score, has_abstained) for score, has_abstained in rows)


def count_outcomes(scores: ArmScores, primary: str) -> Outcomes | None:
    """Shares of right, wrong and abstained; None when nothing was scored."""
    known = [outcome for outcome in question_outcomes(scores, primary) if outcome is not None]
    return {outcome: known.count(outcome) / len(known) for outcome in get_args(Outcome)} if known else None


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
    columns = [_paid(scorecard, scores, policy) for scores in scorecard.arms]
    paid = [cost for column in columns for cost in column if cost is not None]
    worths = (values.right, values.wrong, values.abstain)
    worth_of = dict(zip(get_args(Outcome), worths, strict=True))
    least = 0.0 if scorecard.floors else min(paid, default=0.0)
    scale = Scale(min(worths) - max(paid, default=0.0), max(worths) - least)
    low, width = scale.low, scale.width
    is_corrected = scorecard.labelled == primary
    for scores, column_paid in zip(scorecard.arms, columns, strict=True):
        # What people say of an answer is worth as much as if the metric had said it.
        said = replace(scores, scores={**scores.scores, primary: scores.labels})
        column, labels = (
            tuple(
                None
                if outcome is None or cost is None
                else min(max((worth_of[outcome] - cost - low) / width, 0.0), 1.0)
                for outcome, cost in zip(question_outcomes(found, primary), column_paid, strict=True)
            )
            if found.scores[primary]
            else ()
            for found in (scores, said)
        )
        labels = labels if is_corrected else ()
        arms.append(replace(scores, scores={**scores.scores, UTILITY: column}, labels=labels))
    floors = {
        name: tuple(None if score is None else scale.to_unit(_worth(_outcome(score), values)) for score in floor)
        for name, floor in scorecard.floors.items()
    }
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


def _paid(scorecard: Scorecard, scores: ArmScores, policy: Policy) -> list[float | None]:
    """What each question of an arm costs with its part of what is paid once or by the month, None where it is unknown.

    Raises RouterError for an arm with an answer whose cost nobody can know.
    """
    costs, traffic = price(measure(scorecard, scores), policy), policy.traffic
    lost = [name in scores.errors for name in scorecard.question_ids]
    scored = zip(scores.scores[scorecard.primary], lost, strict=True)
    is_answered = any(score is not None and not has_failed for score, has_failed in scored)
    if is_answered and costs.total(1, months=1) is None:
        raise RouterError(
            f"the utility of arm {scores.arm.name!r} needs its cost, but nobody measured its {costs.missing[0]}; set "
            "its price to 0, or take `utility` out of the policy"
        )
    part = costs.fixed_part(traffic.questions, months=traffic.months) or 0.0
    spent = zip(question_costs(scores, policy, scorecard.prefill_s), lost, strict=True)
    found = (0.0 if cost is None and has_failed else cost for cost, has_failed in spent)
    return [None if cost is None else cost + part for cost in found]


def _outcome(score: float, abstained: Score = None) -> Outcome:
    if score >= RIGHT_AT:
        return "right"
    return "abstain" if abstained is not None and abstained >= RIGHT_AT else "wrong"


def _worth(outcome: Outcome, values: Utility) -> float:
    return float(getattr(values, outcome))
