"""How every arm stands under a policy, worked out once: means, outcomes, costs, latencies, and which limits are broken.

table = make_table(scorecard, policy)
table.row("rag").mean, table.row("rag").costs.per_1k, table.row("rag").excluded

What decides, explains or shows a decision takes this table and works none of it out again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from router.deciding.costs import ArmCosts, Measures, measure, price
from router.deciding.labelled import labelled_mean, lead_of
from router.deciding.limits import check_limits
from router.deciding.policy import Policy
from router.deciding.scorecard import ArmScores, Drop, Score, Scorecard, quantile
from router.deciding.statistics import Difference, mean_known
from router.deciding.utility import UTILITY, Outcomes, Scale, count_outcomes, mean_worth, with_utility
from router.errors import RouterError
from storage.hashes import content_hash

_SHARED = 0.5


@dataclass(frozen=True, slots=True)
class ArmRow:
    """One arm: its results on all questions it was asked (`scores`), and on those that decide (`decided`).

    The questions that decide give `score`, the mean of the primary metric; `column`, the scores of what decides, and
    `mean`, theirs; `outcomes`, the shares of right, wrong and abstained; and `measures`, what prices apply to. Both
    means are 0 where nothing is scored, and the arm is excluded. `price` settles a tie: 1,000 questions with everything
    included, an unknown price being the highest. Where utility decides, costs are in it already, and `price` is minus
    the mean.

    All questions give the costs and latencies that are shown: `whole` and all below it. `broken` maps the policy's
    limits that the arm does not keep, as measured, to the reason in words; `is_ruled_out` says whether that is shown.
    `dropped` says how a race found the arm to be worse, unless by another metric, or by an arm that is ruled out: that
    says nothing of those that may be served.
    """

    scores: ArmScores
    decided: ArmScores
    column: tuple[Score, ...]
    score: float
    mean: float
    outcomes: Outcomes | None
    measures: Measures
    price: float
    whole: Measures
    costs: ArmCosts
    amortised_per_1k: float | None
    broken: Mapping[str, str]
    is_ruled_out: bool
    dropped: Drop | None

    @property
    def name(self) -> str:
        """The arm's name."""
        return self.scores.arm.name

    @property
    def p50_ms(self) -> float | None:
        """The median latency."""
        return quantile(self.scores.measured("latency_ms"), 0.5)

    @property
    def p95_ms(self) -> float | None:
        """The 95th percentile of the latency."""
        return quantile(self.scores.measured("latency_ms"), 0.95)

    @property
    def ttft_ms(self) -> float | None:
        """The median time to the first token."""
        return quantile(self.scores.measured("ttft_ms"), 0.5)

    def amortised(self, policy: Policy) -> float | None:
        """What one question costs at a policy's traffic, everything included; None is unknown."""
        cost = price(self.measures, policy).amortised_per_1k(policy.traffic.questions, months=policy.traffic.months)
        return None if cost is None else cost / 1000

    def net_utility(self, policy: Policy) -> float | None:
        """Expected worth of an answer minus `amortised`, in currency; None where the cost is unknown.

        Linear in each value and price, in churn and in the prefix cache's hits. The policy must have a utility.
        """
        assert policy.utility is not None
        cost = self.amortised(policy)
        return None if cost is None or self.outcomes is None else mean_worth(self.outcomes, policy.utility) - cost

    @property
    def excluded(self) -> str | None:
        """Why the arm may not be served, None when it may."""
        return " and ".join(self.broken.values()) or None


@dataclass(frozen=True, slots=True)
class ArmTable:
    """A row per arm, in the order of the scorecard.

    `valued` is the scorecard with what decides as its primary metric: the scorecard itself, or one with a column of
    utility, which `scale` takes back to currency. `decided` is the part of it that decides, and `margin` the policy's
    on its scale.
    """

    scorecard: Scorecard
    policy: Policy
    valued: Scorecard
    decided: Scorecard
    margin: float
    scale: Scale | None
    rows: tuple[ArmRow, ...]
    differences: dict[tuple[str, str], Difference | None] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """What was compared before; another table begins with none."""

    @property
    def decider(self) -> str:
        """What decides, by name: the metric, or utility under these values and prices."""
        if self.policy.utility is None:
            return self.decided.primary
        values = (self.policy.utility, self.policy.prices, self.policy.traffic)
        return f"{UTILITY} {content_hash(repr(values))[:8]}"

    @property
    def excluded(self) -> dict[str, str]:
        """The arms that may not be served, and why."""
        return {row.name: row.excluded for row in self.rows if row.excluded is not None}

    def row(self, name: str) -> ArmRow:
        """One arm's row. Raises RouterError for an unknown name."""
        self.scorecard.by_name(name)
        return next(row for row in self.rows if row.name == name)

    def eligible(self) -> list[ArmRow]:
        """The arms that keep every limit. Raises RouterError saying which limit excludes which arm when none does."""
        found = [row for row in self.rows if row.excluded is None]
        if not found:
            reasons = "; ".join(f"{name}: {why}" for name, why in self.excluded.items())
            raise RouterError(f"no arm is left to choose from ({reasons}); fix the arms or relax the policy")
        return found

    def lead(self, arm: str, other: str) -> float | None:
        """How much better one arm did than another on the questions that both were scored on; None without any."""
        return lead_of(self.decided, self.row(arm).decided, self.row(other).decided)

    def can_compare(self, arm: str, other: str) -> bool:
        """Whether two arms have enough scores in common to be called equally good.

        Of the questions that were put to both and scored for either, at least half must be scored for both.
        """
        a, b = self.row(arm).decided, self.row(other).decided
        first, second = (~np.isnan(one.column(self.decided.primary)) for one in (a, b))
        num_both, either = int((first & second).sum()), first | second
        if hidden := {*a.not_asked, *b.not_asked}:
            either &= [name not in hidden for name in self.decided.question_ids]
        return num_both >= _SHARED * int(either.sum()) > 0


def make_table(scorecard: Scorecard, policy: Policy) -> ArmTable:
    """Work the table out. Raises RouterError for a utility that cannot be told: see `with_utility`."""
    scorecard = scorecard.for_churn(policy.traffic.churn)
    valued, margin, scale = scorecard, policy.margin, None
    if policy.utility is not None:
        valued, margin, scale = with_utility(scorecard, policy)
    decided = valued.raced()
    raced = decided if valued is scorecard else scorecard.raced()
    dropped = {drop.arm: drop for drop in scorecard.race.drops} if scorecard.race is not None else {}
    rows = tuple(
        _row(
            scorecard,
            policy,
            scores,
            raced,
            own,
            decided.primary,
            dropped.get(own.arm.name),
            mean=_mean(decided, own),
            score=_mean(raced, raced.by_name(own.arm.name)),
        )
        for scores, own in zip(scorecard.arms, decided.arms, strict=True)
    )
    table = ArmTable(scorecard, policy, valued, decided, margin, scale, rows)
    ruled_out = {row.name for row in rows if row.is_ruled_out}
    void = {
        name for name, drop in dropped.items() if drop.beaten_by in ruled_out or drop.metric not in ("", table.decider)
    }
    if not void:
        return table
    return replace(table, rows=tuple(replace(row, dropped=None) if row.name in void else row for row in rows))


def _mean(card: Scorecard, scores: ArmScores) -> float:
    """An arm's mean of what decides, by people's labels where they correct it; 0 where nothing is scored."""
    by_labels = labelled_mean(card, scores) if card.labelled == card.primary else None
    return by_labels.mean if by_labels else mean_known(scores.column(card.primary)) or 0.0


def _row(
    card: Scorecard,
    policy: Policy,
    scores: ArmScores,
    decided_card: Scorecard,
    decided: ArmScores,
    primary: str,
    dropped: Drop | None,
    *,
    mean: float,
    score: float,
) -> ArmRow:
    traffic = policy.traffic
    whole = measure(card, scores)
    measures = whole if card.race is None else measure(card, decided)
    costs = price(whole, policy)
    decided_costs = costs if measures is whole else price(measures, policy)
    amortised = decided_costs.amortised_per_1k(traffic.questions, months=traffic.months)
    level = policy.alpha / len(card.arms)
    # What a race held out decides nothing, limits included.
    limits = check_limits(decided_card, decided, policy, cost_per_1k=decided_costs.per_1k, level=level)
    return ArmRow(
        scores=scores,
        decided=decided,
        column=decided.scores[primary],
        score=score,
        mean=mean,
        outcomes=count_outcomes(decided, card.primary),
        measures=measures,
        price=-mean if primary == UTILITY else math.inf if amortised is None else amortised,
        whole=whole,
        costs=costs,
        amortised_per_1k=costs.amortised_per_1k(traffic.questions, months=traffic.months),
        broken=limits.broken,
        is_ruled_out=limits.is_shown,
        dropped=dropped,
    )
