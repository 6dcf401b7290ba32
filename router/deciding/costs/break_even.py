"""From how many questions on one arm is cheaper than another, everything included.

found = break_even(costs["tuned"], costs["rag"], policy)
found.text  # "from 120,000 questions (10,000 a month)"

Over the policy's horizon of `months`, an arm costs fixed + months * upkeep + questions * question (`arm_costs.py`).
For a trained arm against one that reads documents this is the rule of thumb

    questions = (training + evaluation) / (context tokens * price * (1 - prefix hits) + retrieval - adapter overhead)

with the evaluation in it or not, and with the upkeep of both arms under churn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from router.deciding.costs.arm_costs import ArmCosts, evaluation_cost, measure, price
from router.deciding.policy import Policy
from router.deciding.scorecard import Scorecard

Outcome = Literal["at once", "from", "until", "never", "equal", "unknown"]
_PLAIN = {"equal": "never: both cost the same", "unknown": "unknown: a cost was not measured"}


@dataclass(frozen=True, slots=True)
class BreakEven:
    """`arm` is cheaper than `other` between `starts` and `ends` questions in total, over a horizon of `months`.

    `starts` is 0 for "at once", `ends` None for "from there on". Both are None where `arm` is never cheaper; `outcome`
    says why. `after_evaluation` is `starts` for somebody who would have served `other` without measuring: `arm` has to
    earn back the evaluation, too.
    """

    arm: str
    other: str
    outcome: Outcome
    starts: float | None
    ends: float | None
    after_evaluation: float | None
    months: float

    @property
    def questions(self) -> float | None:
        """Questions in total at which the two cost the same; 0 for "at once", None where there is no such number."""
        return self.ends if self.outcome == "until" else self.starts

    @property
    def a_month(self) -> float | None:
        """`questions` spread over the horizon."""
        return None if self.questions is None else self.questions / self.months

    @property
    def text(self) -> str:
        """For a table's cell."""
        if self.questions is None or self.outcome == "at once":
            return _PLAIN.get(self.outcome, self.outcome)
        return f"{self.outcome} {max(self.questions, 1):,.0f} questions ({max(self.a_month or 0, 1):,.0f} a month)"


def break_even(a: ArmCosts, b: ArmCosts, policy: Policy, *, evaluation: float | None = 0.0) -> BreakEven:
    """Where `a` is cheaper than `b` over the policy's horizon, at its prices and churn."""
    months = policy.traffic.months
    costs = (a.fixed, b.fixed, a.upkeep, b.upkeep, a.question, b.question)
    if None in costs:
        return BreakEven(a.arm, b.arm, "unknown", None, None, None, months)
    fixed_a, fixed_b, upkeep_a, upkeep_b, question_a, question_b = (cost or 0.0 for cost in costs)
    ahead = fixed_a + months * upkeep_a - fixed_b - months * upkeep_b
    saving = question_b - question_a
    outcome, starts, ends = _cheaper(ahead, saving)
    paid = None if evaluation is None else _cheaper(ahead + evaluation, saving)[1]
    return BreakEven(a.arm, b.arm, outcome, starts, ends, paid, months)


def break_even_table(scorecard: Scorecard, policy: Policy, chosen: str) -> tuple[BreakEven, ...]:
    """The chosen arm against each other one, in the order of the scorecard.

    Each pair is measured on the questions that both answered: an answer that is missing on one side must not look like
    a saving. Raises RouterError for an unknown arm.
    """
    spent = evaluation_cost(scorecard, policy)
    found = []
    for scores in scorecard.arms:
        if scores.arm.name != chosen:
            pair = _shared(scorecard, chosen, scores.arm.name)
            own, other = (price(measure(pair, pair.by_name(name)), policy) for name in (chosen, scores.arm.name))
            found.append(break_even(own, other, policy, evaluation=spent))
    return tuple(found)


def _shared(scorecard: Scorecard, *names: str) -> Scorecard:
    latencies = zip(*(scorecard.by_name(name).latency_ms for name in names), strict=True)
    return scorecard.part([row for row, both in enumerate(latencies) if None not in both])


def _cheaper(ahead: float, saving: float) -> tuple[Outcome, float | None, float | None]:
    """Where ahead - questions * saving < 0: `ahead` is what has to be earned back, `saving` what a question earns."""
    if saving > 0:
        return ("from", ahead / saving, None) if ahead > 0 else ("at once", 0.0, None)
    if ahead < 0:
        return ("until", 0.0, ahead / saving) if saving < 0 else ("at once", 0.0, None)
    return ("equal" if ahead == saving == 0 else "never"), None, None
