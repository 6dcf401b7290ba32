"""The choice among arms: a scorecard and a policy in, a decision with its evidence out.

decision = recommend(scorecard, Policy(margin=0.05))
decision.arm, decision.verdict, decision.reason
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from router.deciding.costs.arm_costs import cost_per_1k
from router.deciding.decision import Comparison, Decision, Standing, Verdict
from router.deciding.eligibility import eligible_arms, mean_score, price_of
from router.deciding.evidence import Ruling, anytime_difference, claim_level, make_bets, questions_until, rule
from router.deciding.explain import explain
from router.deciding.policy import Policy
from router.deciding.scorecard import ArmScores, Scorecard
from router.deciding.statistics import (
    Difference,
    Interval,
    holm,
    mean_interval,
    paired_difference,
    questions_needed,
    share_not_beaten,
)
from router.deciding.utility import with_utility
from router.errors import RouterError

_USUAL_SD = 0.2**0.5


def recommend(scorecard: Scorecard, policy: Policy) -> Decision:
    """Decide by the primary metric, or by utility if the policy has one: leader against every other arm, paired.

    `winner`: every other arm is significantly worse. `tie`: the arms that are not worse are equivalent within the
    margin (after a race: none of them is better by it). `undecided`: some arm is neither, and more questions would
    settle it. In the last two, a measured lead below the margin is not worth paying for by the policy's own words: the
    arm that costs least at the policy's traffic is served among those as near to the leader as the margin.

    Arms that were all asked everything are compared by the tests of `statistics.py` with Holm's correction;
    those of a race by anytime-valid evidence, and only the questions that the race spent decide. Raises RouterError
    when hard limits or missing scores leave no arm, and for arms asked different questions without a race.
    """
    if scorecard.race is None and any(scores.not_asked for scores in scorecard.arms):
        partly = next(scores for scores in scorecard.arms if scores.not_asked)
        raise RouterError(
            f"arm {partly.arm.name!r} was not asked {len(partly.not_asked)} of {len(scorecard.question_ids)} "
            "questions; arms must be evaluated on the same questions"
        )
    eligible, excluded = eligible_arms(scorecard, policy)
    if policy.utility is not None:
        scorecard, policy = with_utility(scorecard, policy)
    card = scorecard.raced()
    ranked = _ranked(card, eligible, policy)
    leader, others = ranked[0], ranked[1:]
    comparisons = _compare(card, leader, others, policy)
    unsettled = [c for c in comparisons if c.standing == "open"]
    near = {c.other for c in comparisons if c.standing != "beaten" and c.difference.mean <= policy.margin}
    settled = _served_by_race(card, ranked, policy)
    chosen = settled or min(
        [leader, *(s for s in others if s.arm.name in near)], key=lambda scores: price_of(card, scores, policy)
    )
    verdict: Verdict = "winner"
    if any(c.standing != "beaten" for c in comparisons):
        verdict = "undecided" if unsettled and settled is None else "tie"
    rest = [scores for scores in ranked if scores is not chosen]
    runner_up = rest[0] if rest else None
    more = 0 if verdict != "undecided" else max(_more_questions(card, leader, c, policy) for c in unsettled)
    return Decision(
        arm=chosen.arm.name,
        verdict=verdict,
        confidence=_confidence(card, ranked, chosen, policy),
        margin=_lead(card, chosen, runner_up, policy),
        runner_up=runner_up.arm.name if runner_up else None,
        reason=explain(
            card, policy, leader=leader, chosen=chosen, comparisons=comparisons, excluded=excluded, more=more
        ),
        metric=card.primary,
        more_questions=more,
        cost_per_1k={scores.arm.name: cost_per_1k(scores, policy) for scores in scorecard.arms},
        comparisons=tuple(comparisons),
        excluded=excluded,
        **_re_estimated(scorecard, chosen, runner_up, policy),
    )


def look(
    scorecard: Scorecard, policy: Policy, active: Sequence[str], *, largest: int
) -> tuple[Ruling, tuple[str, ...]]:
    """One look at a race under way: who drops out, whether the choice is settled, and all arms from best to worst.

    Arms that break a hard limit of the policy can neither win nor beat another. `largest` is the most questions that
    one source document brings to the race.
    """
    eligible, _ = eligible_arms(scorecard, policy)
    if policy.utility is not None:
        scorecard, policy = with_utility(scorecard, policy)
    allowed = [scores.arm.name for scores in eligible]
    ruling = rule(
        {scores.arm.name: scores.scores[scorecard.primary] for scores in scorecard.arms},
        scorecard.clusters,
        active=[name for name in active if name in allowed],
        costs={scores.arm.name: price_of(scorecard, scores, policy) for scores in scorecard.arms},
        margin=policy.margin,
        alpha=policy.alpha,
        largest=largest,
    )
    return ruling, tuple(scores.arm.name for scores in _ranked(scorecard, eligible, policy))


def _ranked(card: Scorecard, eligible: Sequence[ArmScores], policy: Policy) -> list[ArmScores]:
    """Best first; arms that a race dropped come after those that stayed, on whose questions they were not compared."""
    dropped = {drop.arm for drop in card.race.drops} if card.race is not None else set()
    by_name = {scores.arm.name: scores for scores in card.arms}
    return sorted(
        (by_name[scores.arm.name] for scores in eligible),
        key=lambda s: (s.arm.name in dropped, -mean_score(card, s), price_of(card, s, policy), s.arm.name),
    )


def _compare(card: Scorecard, leader: ArmScores, others: Sequence[ArmScores], policy: Policy) -> list[Comparison]:
    pairs = [(other.arm.name, _difference(card, leader, other, policy)) for other in others]
    tested = [difference for _, difference in pairs if difference is not None]
    if card.race is None:
        corrected = iter(holm([difference.p_value for difference in tested]))
    else:
        # A p-value is two-sided, so that alpha over K - 1 of them is the level of a claim in `evidence.rule`.
        corrected = iter([min(1.0, (len(card.arms) - 1) * difference.p_value) for difference in tested])
    drops = {drop.arm: drop for drop in card.race.drops} if card.race is not None else {}
    comparisons = []
    for name, difference in pairs:
        if difference is None:
            unknown = Difference(0.0, -1.0, 1.0, 1.0, 1.0, None, 0, "no question was scored by both")
            comparisons.append(Comparison(name, unknown, 1.0, "open"))
            continue
        p_corrected, beaten_by = next(corrected), None
        if name in drops and drops[name].p_value < p_corrected:
            p_corrected, beaten_by = drops[name].p_value, drops[name].beaten_by
        standing: Standing = "open"
        if difference.p_equivalent < (policy.alpha if card.race is None else claim_level(policy.alpha, len(card.arms))):
            standing = "equivalent"
        elif p_corrected <= policy.alpha and (difference.mean > 0 or beaten_by is not None):
            standing = "beaten"
        comparisons.append(Comparison(name, difference, p_corrected, standing, beaten_by))
    return comparisons


def _difference(card: Scorecard, a: ArmScores, b: ArmScores, policy: Policy) -> Difference | None:
    if card.race is not None:
        return anytime_difference(
            a.scores[card.primary],
            b.scores[card.primary],
            card.clusters,
            margin=policy.margin,
            alpha=2 * claim_level(policy.alpha, len(card.arms)),
            largest=card.race.largest,
        )
    columns = zip(a.scores[card.primary], b.scores[card.primary], card.clusters, strict=True)
    both = [(x, y, c) for x, y, c in columns if x is not None and y is not None]
    if not both:
        return None
    return paired_difference(
        [x for x, _, _ in both],
        [y for _, y, _ in both],
        [c for _, _, c in both],
        margin=policy.margin,
        alpha=policy.alpha,
    )


def _served_by_race(card: Scorecard, ranked: Sequence[ArmScores], policy: Policy) -> ArmScores | None:
    """The arm that a race has shown to be as good as any within the margin, None where it has not."""
    if card.race is None:
        return None
    dropped = {drop.arm for drop in card.race.drops if drop.p_value <= policy.alpha}
    left = [scores for scores in ranked if scores.arm.name not in dropped]
    ruling = rule(
        {scores.arm.name: scores.scores[card.primary] for scores in card.arms},
        card.clusters,
        active=[scores.arm.name for scores in left],
        costs={scores.arm.name: price_of(card, scores, policy) for scores in left},
        margin=policy.margin,
        alpha=policy.alpha,
        largest=card.race.largest,
    )
    return next((scores for scores in left if scores.arm.name == ruling.served), None)


def _lead(card: Scorecard, chosen: ArmScores, runner_up: ArmScores | None, policy: Policy) -> float:
    """Over the questions that both were scored on, so that it is the number the comparisons show."""
    difference = _difference(card, chosen, runner_up, policy) if runner_up is not None else None
    return difference.mean if difference is not None else 0.0


def _re_estimated(
    scorecard: Scorecard, chosen: ArmScores, runner_up: ArmScores | None, policy: Policy
) -> dict[str, Interval | None]:
    """The chosen arm's mean and lead on the questions that a race kept untouched."""
    card = scorecard.held_out()
    if card is None:
        return {}
    own = card.by_name(chosen.arm.name).scores[card.primary]
    other = card.by_name(runner_up.arm.name).scores[card.primary] if runner_up else [None] * len(own)
    known = [(value, cluster) for value, cluster in zip(own, card.clusters, strict=True) if value is not None]
    both = [(x, y, c) for x, y, c in zip(own, other, card.clusters, strict=True) if x is not None and y is not None]
    found: dict[str, Interval | None] = {}
    if known:
        found["held_out"] = mean_interval([v for v, _ in known], [c for _, c in known], alpha=policy.alpha)
    if both:
        lead = paired_difference(
            [x for x, _, _ in both],
            [y for _, y, _ in both],
            [c for _, _, c in both],
            margin=policy.margin,
            alpha=policy.alpha,
        )
        found["held_out_lead"] = Interval(lead.mean, lead.low, lead.high)
    return found


def _confidence(card: Scorecard, ranked: Sequence[ArmScores], chosen: ArmScores, policy: Policy) -> float:
    # Arms that a race dropped share only its first questions with the rest; there they were shown to be worse.
    dropped = {drop.arm for drop in card.race.drops} if card.race is not None else set()
    left = [scores for scores in ranked if scores.arm.name not in dropped or scores is chosen]
    if len(left) == 1 and len(ranked) > 1:
        left = [*left, next(scores for scores in ranked if scores is not chosen)]
    rows = [scores.scores[card.primary] for scores in left]
    shared = [i for i in range(len(card.question_ids)) if all(row[i] is not None for row in rows)]
    if not shared:
        return 0.0
    matrix = np.array([[row[i] for i in shared] for row in rows], dtype=np.float64)
    clusters = [card.clusters[i] for i in shared]
    return share_not_beaten(matrix, clusters, arm=left.index(chosen), margin=policy.margin)


def _more_questions(card: Scorecard, leader: ArmScores, comparison: Comparison, policy: Policy) -> int:
    # Either the difference is real and gets shown, or it is below the margin and equivalence gets shown; the margin
    # is the smallest effect that anybody asked about, so no plan needs to see a smaller one.
    difference = comparison.difference
    effect = max(abs(difference.mean), policy.margin)
    # Without a known spread, that of two arms which differ by a full point on a fifth of the questions.
    sd = _USUAL_SD if difference.sd is None else difference.sd
    if card.race is None:
        return max(questions_needed(effect, sd, alpha=policy.alpha) - difference.num_pairs, 1)
    level, other = claim_level(policy.alpha, len(card.arms)), card.by_name(comparison.other)
    # The race goes on until the leader is shown to be better, or the dearer of the two not to be better by the margin.
    cheaper = min((leader, other), key=lambda scores: price_of(card, scores, policy))
    ways = [
        questions_until(
            make_bets(a.scores[card.primary], b.scores[card.primary], card.clusters, largest=card.race.largest),
            null,
            level,
        )
        for a, b, null in ((leader, other, 0.0), (cheaper, other if cheaper is leader else leader, -policy.margin))
    ]
    found = [way for way in ways if way is not None]
    return max(min(found), 1) if found else max(questions_needed(effect, sd, alpha=level) - difference.num_pairs, 1)
