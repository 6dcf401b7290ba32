"""The choice among arms: how every arm stands in, a decision with its evidence out.

decision = recommend(make_table(scorecard, Policy(margin=0.05)))
decision.arm, decision.verdict, decision.reason
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from router.deciding.arm_table import ArmRow, ArmTable
from router.deciding.decision import Comparison, Decision, Further, Standing, Trade, Verdict
from router.deciding.evidence import anytime_difference, claim_level, further_questions, make_bets
from router.deciding.explain import explain
from router.deciding.labelled import bettable, difference_of, standing_in
from router.deciding.racing import compare, level_of_tie, level_of_winner, look, ranked
from router.deciding.saving import Savings
from router.deciding.sequential import FIRST_SHARE, LATER_SHARE
from router.deciding.statistics import (
    Difference,
    Interval,
    holm,
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

    The leader is the best arm that keeps every limit as measured. An arm that breaks one stays a rival until the
    violation is shown, so that noise in a limit makes no winner.

    Of the error rate 0.8 belong to the first look: to the tests of `router/deciding/statistics.py` with Holm's
    correction, or to all looks of a race together (`racing.py`). Where fewer of the same questions were decided before,
    anytime-valid evidence over all of them decides, at the rest (`evidence.py`). Raises RouterError when hard limits or
    missing scores leave no arm, and for arms asked different questions without a race.
    """
    asked = table.scorecard
    if asked.race is None and (partly := next((scores for scores in asked.arms if scores.not_asked), None)):
        raise RouterError(
            f"arm {partly.arm.name!r} was not asked {len(partly.not_asked)} of {len(asked.question_ids)} "
            "questions; arms must be evaluated on the same questions"
        )
    leader = ranked(table.eligible())[0]
    others = [row for row in ranked(table.rows) if row is not leader and not row.is_ruled_out]

    def compare_all(found: ArmTable) -> list[Comparison]:
        return _compare(found, found.row(leader.name), [found.row(row.name) for row in others])

    comparisons = stand_at_worst(table, compare_all(table), leader=leader.name, compare=compare_all)
    settled = _served_by_race(table)
    if settled is not None and (lost := num_unscored(table, leader.name, *(row.name for row in others))):
        still = _served_by_race(at_worst(table, settled.name))
        if still is None or still.name != settled.name:
            settled = None
            comparisons = [replace(c, unscored=lost) if c.standing == "open" else c for c in comparisons]
    unsettled = [c for c in comparisons if c.standing == "open"]
    near = [
        row
        for row, c in zip(others, comparisons, strict=True)
        if c.standing != "beaten" and c.difference is not None and c.difference.mean <= table.margin
        if row.excluded is None and table.can_compare(leader.name, row.name)
    ]
    savings = Savings(table.decided.documents)
    chosen = settled or savings.serve([leader, *near], table.policy)
    verdict: Verdict = "winner"
    if any(c.standing != "beaten" for c in comparisons):
        verdict = "undecided" if unsettled and settled is None else "tie"
    leads = [(row, table.lead(chosen.name, row.name)) for row in ranked(table.eligible()) if row is not chosen]
    runner_up, lead = next(((row, lead) for row, lead in leads if lead is not None), (None, 0.0))
    # What only unscored answers leave open is settled by scoring them.
    asking = [c for c in unsettled if not c.unscored] if verdict == "undecided" else []
    ways = [_ways(table, leader, c) for c in asking]
    better, equal = (_hardest([way[i] for way in ways]) for i in (0, 1))
    ends = [way.high for way in (better, equal) if way is not None]
    more = max(ends) if ends else max((_planned(table, c) for c in asking), default=0)
    trade = _trade(table, savings, leader, chosen)
    return Decision(
        arm=chosen.name,
        verdict=verdict,
        confidence=_confidence(table, [leader, *others], chosen),
        margin=lead,
        runner_up=runner_up.name if runner_up else None,
        reason=explain(
            table,
            leader=leader,
            chosen=chosen,
            comparisons=comparisons,
            more=more,
            better=better,
            equal=equal,
            trade=trade,
        ),
        metric=table.decided.primary,
        more_questions=more,
        to_tell_apart=better,
        to_call_equal=equal,
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


def _compare(table: ArmTable, leader: ArmRow, others: Sequence[ArmRow]) -> list[Comparison]:
    card, alpha = table.decided, table.policy.alpha
    differences = [_difference(table, leader, other) for other in others]
    p_values = [difference.p_value for difference in differences if difference is not None]
    num_claims = max(len(card.arms) - 1, 1)
    # What is corrected is comparable with alpha in all three cases; a claim among all pairs of arms needs `for_pairs`.
    num_pairs = num_claims * len(card.arms) // 2
    if card.earlier_looks:
        corrected = iter([num_claims * p_value / LATER_SHARE for p_value in p_values])
        for_pairs = iter([num_pairs * p_value / LATER_SHARE for p_value in p_values])
        equivalent_at = claim_level(LATER_SHARE * alpha, len(card.arms))
    elif card.race is None:
        corrected = iter([p_value / FIRST_SHARE for p_value in holm(p_values)])
        for_pairs = iter([p_value / FIRST_SHARE for p_value in holm(p_values, among=num_pairs)])
        equivalent_at = FIRST_SHARE * alpha / num_claims
    else:
        made = [(row, found) for row, found in zip(others, differences, strict=True) if found is not None]
        levels = [level_of_winner(table, card.race.ends, leader, row, found) for row, found in made]
        whole = [p_value * alpha / level if level else 1.0 for p_value, level in zip(p_values, levels, strict=True)]
        corrected = iter(whole)
        for_pairs = iter([num_pairs * p_value for p_value in whole])
        equivalent_at = level_of_tie(table, card.race.ends)
    found = []
    for row, difference in zip(others, differences, strict=True):
        p_corrected, p_of_pairs = (1.0, 1.0) if difference is None else (min(1.0, next(corrected)), next(for_pairs))
        beaten_by = None
        if row.dropped is not None and not card.earlier_looks and row.dropped.p_value < p_corrected:
            p_corrected, beaten_by = row.dropped.p_value, row.dropped.beaten_by
            p_of_pairs = num_pairs * row.dropped.p_value
        is_worse = beaten_by is not None or (difference is not None and difference.mean > 0)
        standing: Standing = "open"
        if difference and difference.p_equivalent < equivalent_at and table.can_compare(leader.name, row.name):
            standing = "equivalent"
        elif p_corrected <= alpha and is_worse:
            standing = "beaten"
        found.append(
            Comparison(row.name, difference, p_corrected, standing, beaten_by, is_significant=p_of_pairs <= alpha)
        )
    if all(c.standing == "beaten" for c in found):
        return [replace(c, is_significant=True) for c in found]
    return found


def _difference(table: ArmTable, a: ArmRow, b: ArmRow) -> Difference | None:
    card = table.decided
    if not card.earlier_looks:
        return compare(table, a, b)
    return anytime_difference(
        *bettable(card, a.decided, b.decided),
        card.documents,
        margin=table.margin,
        alpha=2 * claim_level(LATER_SHARE * table.policy.alpha, len(card.arms)),
        largest=card.largest,
    )


def _served_by_race(table: ArmTable) -> ArmRow | None:
    """The arm that a race has shown to be as good as any within the margin, None where it has not."""
    race = table.decided.race
    if race is None or table.decided.earlier_looks:
        return None
    left = [row.name for row in table.rows if row.dropped is None or row.dropped.p_value > table.policy.alpha]
    ruling = look(table, left, ends=race.ends)
    return None if ruling.served is None else table.row(ruling.served)


def _re_estimated(table: ArmTable, chosen: ArmRow, runner_up: ArmRow | None) -> dict[str, Interval | None]:
    """The chosen arm's mean and lead on the questions that a race kept untouched."""
    card = table.valued.held_out()
    if card is None:
        return {}
    own = card.by_name(chosen.name)
    lead = (
        difference_of(card, own, card.by_name(runner_up.name), margin=table.margin, alpha=table.policy.alpha)
        if runner_up
        else None
    )
    return {
        "held_out": card.interval(own, card.primary, alpha=table.policy.alpha),
        "held_out_lead": None if lead is None else Interval(lead.mean, lead.low, lead.high),
    }


def _confidence(table: ArmTable, rows: Sequence[ArmRow], chosen: ArmRow) -> float:
    rivals = [chosen, *(row for row in rows if row is not chosen)]
    # Arms that a race dropped share only its first questions with the rest; there they were shown to be worse.
    left = [row for row in rivals if row.dropped is None or row is chosen]
    if len(left) == 1:
        left = rivals[:2]
    matrix = np.array([row.decided.column(table.decided.primary) for row in left])
    is_shared = ~np.isnan(matrix).any(axis=0)
    if not is_shared.any():
        return 0.0
    matrix = matrix[:, is_shared]
    by_labels = [standing_in(table.decided, row.decided, is_shared) for row in left]
    if table.decided.labelled == table.decided.primary and all(values is not None for values in by_labels):
        matrix = np.array(by_labels, dtype=np.float64)
    documents = table.decided.documents[is_shared]
    return share_not_beaten(matrix, documents, arm=left.index(chosen), margin=table.margin)


def _ways(table: ArmTable, leader: ArmRow, comparison: Comparison) -> tuple[Further | None, Further | None]:
    """How many further questions would show that the leader is better, if they are answered like those so far; and how
    many that the two are equal, if they are. None is never.

    Questions that are added are judged by anytime-valid evidence, whatever judged those before.
    """
    card, other = table.decided, table.row(comparison.other)
    level = claim_level(LATER_SHARE * table.policy.alpha, len(card.arms))
    bets = make_bets(*bettable(card, leader.decided, other.decided), card.documents, card.largest)
    better = further_questions(bets, 0.0, level)
    # What is seen of a lead may be noise, and must be outweighed: equal is that neither is better by the margin.
    sides = (bets, bets.flipped())
    equal = _hardest([further_questions(side, -table.margin, level, if_equal=True) for side in sides])
    return better, equal


def _hardest(ways: Sequence[Further | None]) -> Further | None:
    """What all of them together take; None where one of them leads nowhere."""
    known = [way for way in ways if way is not None]
    if not known or len(known) < len(ways):
        return None
    return Further(max(way.low for way in known), max(way.high for way in known))


def _planned(table: ArmTable, comparison: Comparison) -> int:
    """Questions that would show a difference of the margin, where those so far say nothing of it."""
    sd = comparison.difference.sd if comparison.difference is not None else None
    level = claim_level(LATER_SHARE * table.policy.alpha, len(table.rows))
    return max(questions_needed(table.margin, _USUAL_SD if sd is None else max(sd, 0.1), alpha=level), 1)
