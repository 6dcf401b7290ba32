"""The choice among arms: how every arm stands in, a decision with its evidence out.

decision = recommend(make_table(scorecard, Policy(margin=0.05)))
decision.arm, decision.verdict, decision.reason
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from router.deciding.arm_table import ArmRow, ArmTable
from router.deciding.decision import Comparison, Decision, Standing, Trade, Verdict
from router.deciding.evidence import (
    Ruling,
    anytime_difference,
    claim_level,
    make_bets,
    questions_until,
    rule,
)
from router.deciding.explain import explain
from router.deciding.saving import Savings
from router.deciding.scorecard import ArmScores, Scorecard
from router.deciding.statistics import (
    Difference,
    Interval,
    holm,
    paired_difference,
    questions_needed,
    share_not_beaten,
)
from router.deciding.unscored import at_worst, num_unscored, stand_at_worst
from router.errors import RouterError

# Without a known spread, that of two arms which differ by a full point on a fifth of the questions.
_USUAL_SD = 0.2**0.5


def recommend(table: ArmTable) -> Decision:
    """Decide by the primary metric, or by utility if the policy has one: leader against every other arm, paired.

    `winner`: every other arm is significantly worse. `tie`: the arms that are not worse are equivalent within the
    margin (after a race: none of them is better by it). `undecided`: some arm is neither, or was never compared, and
    more questions would settle it; or answers without a score might overturn what was shown (`unscored.py`). In the
    last two, a measured lead below the margin is not worth paying for by the policy's own words: among the arms as near
    to the leader as the margin, one that saves something that matters is served instead (`Savings.serve`), and `trade`
    says what that saves and gives up. An arm is near only by a comparison that was made: over most of the questions
    that either was scored on.

    Arms that were all asked everything are compared by the tests of `router/deciding/statistics.py` with Holm's
    correction; those of a race by anytime-valid evidence, and only the questions that the race spent decide. Raises
    RouterError when hard limits or missing scores leave no arm, and for arms asked different questions without a race.
    """
    asked = table.scorecard
    if asked.race is None and (partly := next((scores for scores in asked.arms if scores.not_asked), None)):
        raise RouterError(
            f"arm {partly.arm.name!r} was not asked {len(partly.not_asked)} of {len(asked.question_ids)} "
            "questions; arms must be evaluated on the same questions"
        )
    ranked = _ranked(table)
    leader, others = ranked[0], ranked[1:]

    def compare(found: ArmTable) -> list[Comparison]:
        return _compare(found, found.row(leader.name), [found.row(row.name) for row in others])

    comparisons = stand_at_worst(table, compare(table), leader=leader.name, compare=compare)
    settled = _served_by_race(table, ranked)
    if settled is not None and (lost := num_unscored(table, *(row.name for row in ranked))):
        worst = at_worst(table, settled.name)
        still = _served_by_race(worst, _ranked(worst))
        if still is None or still.name != settled.name:
            settled = None
            comparisons = [replace(c, unscored=lost) if c.standing == "open" else c for c in comparisons]
    unsettled = [c for c in comparisons if c.standing == "open"]
    near = [
        row
        for row, c in zip(others, comparisons, strict=True)
        if c.standing != "beaten" and c.difference is not None and c.difference.mean <= table.margin
        if table.can_compare(leader.name, row.name)
    ]
    savings = Savings(table.decided.clusters)
    chosen = settled or savings.serve([leader, *near], table.policy)
    verdict: Verdict = "winner"
    if any(c.standing != "beaten" for c in comparisons):
        verdict = "undecided" if unsettled and settled is None else "tie"
    leads = [(row, table.lead(chosen.name, row.name)) for row in ranked if row is not chosen]
    runner_up, lead = next(((row, lead) for row, lead in leads if lead is not None), (None, 0.0))
    # What only unscored answers leave open is settled by scoring them.
    asking = [c for c in unsettled if not c.unscored] if verdict == "undecided" else []
    more = max((_more_questions(table, leader, c, comparisons) for c in asking), default=0)
    trade = _trade(table, savings, leader, chosen)
    return Decision(
        arm=chosen.name,
        verdict=verdict,
        confidence=_confidence(table, ranked, chosen),
        margin=lead,
        runner_up=runner_up.name if runner_up else None,
        reason=explain(table, leader=leader, chosen=chosen, comparisons=comparisons, more=more, trade=trade),
        metric=table.decided.primary,
        more_questions=more,
        cost_per_1k={row.name: row.costs.per_1k for row in table.rows},
        comparisons=tuple(comparisons),
        excluded=table.excluded,
        trade=trade,
        **_re_estimated(table, chosen, runner_up),
    )


def _trade(table: ArmTable, savings: Savings, leader: ArmRow, chosen: ArmRow) -> Trade | None:
    loss = table.lead(leader.name, chosen.name)
    if chosen is leader or loss is None or table.policy.utility is not None:
        return None
    saving = savings.find(chosen, instead_of=leader, policy=table.policy)
    return Trade(leader.name, saving.share, loss)


def look(table: ArmTable, active: Sequence[str], *, largest: int) -> tuple[Ruling, tuple[str, ...]]:
    """One look at a race under way: who drops out, whether the choice is settled, and all arms from best to worst.

    Arms that break a hard limit of the policy can neither win nor beat another. `largest` is the most questions that
    one source document brings to the race.
    """
    ranked = _ranked(table)
    allowed = {row.name for row in ranked}
    return _rule(table, [name for name in active if name in allowed], largest), tuple(row.name for row in ranked)


def _ranked(table: ArmTable) -> list[ArmRow]:
    """Best first; arms that a race dropped come after those that stayed, on whose questions they were not compared."""
    return sorted(table.eligible(), key=lambda row: (row.dropped is not None, -row.mean, row.price, row.name))


def _rule(table: ArmTable, active: Sequence[str], largest: int) -> Ruling:
    return rule(
        {row.name: row.column for row in table.rows},
        table.decided.clusters,
        active=active,
        costs={row.name: row.price for row in table.rows},
        margin=table.margin,
        alpha=table.policy.alpha,
        largest=largest,
    )


def _compare(table: ArmTable, leader: ArmRow, others: Sequence[ArmRow]) -> list[Comparison]:
    card, alpha = table.decided, table.policy.alpha
    differences = [_difference(table, leader, other) for other in others]
    p_values = [difference.p_value for difference in differences if difference is not None]
    if card.race is None:
        corrected, equivalent_at = iter(holm(p_values)), alpha / max(len(card.arms) - 1, 1)
    else:
        # A p-value is two-sided: alpha over K - 1 of them is the level of a claim in `router.deciding.evidence.rule`.
        corrected = iter([min(1.0, (len(card.arms) - 1) * p_value) for p_value in p_values])
        equivalent_at = claim_level(alpha, len(card.arms))
    found = []
    for row, difference in zip(others, differences, strict=True):
        p_corrected, beaten_by = 1.0 if difference is None else next(corrected), None
        if row.dropped is not None and row.dropped.p_value < p_corrected:
            p_corrected, beaten_by = row.dropped.p_value, row.dropped.beaten_by
        is_worse = beaten_by is not None or (difference is not None and difference.mean > 0)
        standing: Standing = "open"
        if difference and difference.p_equivalent < equivalent_at and table.can_compare(leader.name, row.name):
            standing = "equivalent"
        elif p_corrected <= alpha and is_worse:
            standing = "beaten"
        found.append(Comparison(row.name, difference, p_corrected, standing, beaten_by))
    return found


def _difference(table: ArmTable, a: ArmRow, b: ArmRow) -> Difference | None:
    card = table.decided
    if card.race is None:
        return _paired(card, a.decided, b.decided, table)
    return anytime_difference(
        a.column,
        b.column,
        card.clusters,
        margin=table.margin,
        alpha=2 * claim_level(table.policy.alpha, len(card.arms)),
        largest=card.race.largest,
    )


def _paired(card: Scorecard, a: ArmScores, b: ArmScores, table: ArmTable) -> Difference | None:
    pairs = card.pairs(a, b)
    return paired_difference(*pairs, margin=table.margin, alpha=table.policy.alpha) if pairs.a else None


def _served_by_race(table: ArmTable, ranked: Sequence[ArmRow]) -> ArmRow | None:
    """The arm that a race has shown to be as good as any within the margin, None where it has not."""
    race, alpha = table.decided.race, table.policy.alpha
    if race is None:
        return None
    left = [row for row in ranked if row.dropped is None or row.dropped.p_value > alpha]
    ruling = _rule(table, [row.name for row in left], race.largest)
    return next((row for row in left if row.name == ruling.served), None)


def _re_estimated(table: ArmTable, chosen: ArmRow, runner_up: ArmRow | None) -> dict[str, Interval | None]:
    """The chosen arm's mean and lead on the questions that a race kept untouched."""
    card = table.valued.held_out()
    if card is None:
        return {}
    own = card.by_name(chosen.name)
    lead = _paired(card, own, card.by_name(runner_up.name), table) if runner_up else None
    return {
        "held_out": card.interval(own, card.primary, alpha=table.policy.alpha),
        "held_out_lead": None if lead is None else Interval(lead.mean, lead.low, lead.high),
    }


def _confidence(table: ArmTable, ranked: Sequence[ArmRow], chosen: ArmRow) -> float:
    # Arms that a race dropped share only its first questions with the rest; there they were shown to be worse.
    left = [row for row in ranked if row.dropped is None or row is chosen]
    if len(left) == 1 and len(ranked) > 1:
        left = [*left, next(row for row in ranked if row is not chosen)]
    columns = [row.column for row in left]
    shared = [i for i, values in enumerate(zip(*columns, strict=True)) if None not in values]
    if not shared:
        return 0.0
    matrix = np.array(columns, dtype=np.float64)[:, shared]  # None becomes NaN
    clusters = [table.decided.clusters[i] for i in shared]
    return share_not_beaten(matrix, clusters, arm=left.index(chosen), margin=table.margin)


def _more_questions(table: ArmTable, leader: ArmRow, comparison: Comparison, comparisons: Sequence[Comparison]) -> int:
    # Either the difference is real and gets shown, or it is below the margin and equivalence gets shown; the margin
    # is the smallest effect that anybody asked about, so no plan needs to see a smaller one.
    effect, sd, num_pairs = _expected(comparison, table.margin)
    card, alpha = table.decided, table.policy.alpha
    if card.race is None:
        # Holm tests the clearest difference first, at alpha over all comparisons, and this one among those left then.
        clarity = _clarity(comparison, table.margin)
        num_left = sum(_clarity(c, table.margin) <= clarity for c in comparisons)
        return max(questions_needed(effect, sd, alpha=alpha / num_left) - num_pairs, 1)
    level, other = claim_level(alpha, len(card.arms)), table.row(comparison.other)
    # The race goes on until the leader is shown to be better, or the dearer of the two not to be better by the margin.
    cheaper, dearer = sorted((leader, other), key=lambda row: row.price)
    ways = [
        questions_until(make_bets(a.column, b.column, card.clusters, largest=card.race.largest), null, level)
        for a, b, null in ((leader, other, 0.0), (cheaper, dearer, -table.margin))
    ]
    found = [way for way in ways if way is not None]
    return max(min(found), 1) if found else max(questions_needed(effect, sd, alpha=level) - num_pairs, 1)


def _expected(comparison: Comparison, margin: float) -> tuple[float, float, int]:
    """The effect that a plan counts on, the spread of a question's difference, and the questions compared so far."""
    difference = comparison.difference
    if difference is None:
        return margin, _USUAL_SD, 0
    return (
        max(abs(difference.mean), margin),
        _USUAL_SD if difference.sd is None else difference.sd,
        difference.num_pairs,
    )


def _clarity(comparison: Comparison, margin: float) -> float:
    """Standard errors that the expected effect is away from 0, per square root of the questions."""
    effect, sd, _ = _expected(comparison, margin)
    return effect / sd if sd else math.inf
