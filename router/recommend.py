"""The choice among arms: a scorecard and a policy in, a decision with its evidence out.

decision = recommend(scorecard, Policy(margin=0.05))
decision.arm, decision.verdict, decision.reason
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np

from router.errors import RouterError
from router.scorecard import ArmScores, Scorecard
from router.statistics import Difference, holm, paired_difference, questions_needed, share_not_beaten

Verdict = Literal["winner", "tie", "undecided"]
_USUAL_SD = 0.2**0.5


@dataclass(frozen=True, slots=True)
class Policy:
    """What the user wants. `margin` is the smallest difference in the primary metric that matters, `alpha` the error
    rate.

    Prices are in the user's currency per million tokens; the defaults only say that a generated token costs about four
    prompt tokens. `max_latency_ms` is a hard limit on the median latency.
    """

    margin: float = 0.05
    alpha: float = 0.05
    prompt_price: float = 0.10
    generated_price: float = 0.40
    max_latency_ms: float | None = None

    def cost_per_1k(self, scores: ArmScores) -> float:
        """Price of 1,000 questions answered by this arm, from its measured mean tokens."""
        prompt, generated = scores.mean_tokens()
        return 1000 * (prompt * self.prompt_price + generated * self.generated_price) / 1e6


@dataclass(frozen=True, slots=True)
class Comparison:
    """The leading arm against one other: `difference` is leader minus other, `p_holm` corrects over all comparisons."""

    other: str
    difference: Difference
    p_holm: float
    standing: Literal["beaten", "equivalent", "open"]


@dataclass(frozen=True, slots=True)
class Decision:
    """Which arm to serve and why. `confidence` is the bootstrap probability that no arm is better by more than the
    margin.

    `margin` is the measured lead of the recommended arm over `runner_up` in the primary metric (negative when a
    cheaper arm is served in a tie). `more_questions` says about how many further questions would settle an
    `undecided` verdict.
    """

    arm: str
    verdict: Verdict
    confidence: float
    margin: float
    runner_up: str | None
    reason: str
    more_questions: int = 0
    cost_per_1k: Mapping[str, float] = field(default_factory=dict)
    comparisons: tuple[Comparison, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """JSON form."""
        return asdict(self)


def recommend(scorecard: Scorecard, policy: Policy) -> Decision:
    """Decide by the primary metric: leader against every other arm, paired, Holm-corrected, with equivalence by TOST.

    `winner`: every other arm is significantly worse. `tie`: the arms that are not worse are equivalent within the
    margin. `undecided`: some arm is neither, and more questions would settle it. In the last two, a measured lead below
    the margin is not worth paying for by the policy's own words: the cheapest arm that near to the leader is served.
    Raises RouterError when a hard limit or missing scores leave no arm.
    """
    eligible, excluded = _eligible(scorecard, policy)
    ranked = sorted(eligible, key=lambda s: (-_mean(scorecard, s), policy.cost_per_1k(s), s.arm.name))
    leader, others = ranked[0], ranked[1:]
    comparisons = _compare(scorecard, leader, others, policy)
    unsettled = [c for c in comparisons if c.standing == "open"]
    near = {c.other for c in comparisons if c.standing != "beaten" and c.difference.mean <= policy.margin}
    chosen = min([leader, *(s for s in others if s.arm.name in near)], key=policy.cost_per_1k)
    verdict = "undecided" if unsettled else "tie" if near else "winner"
    rest = [scores for scores in ranked if scores is not chosen]
    runner_up = rest[0] if rest else None
    more = max((_more_questions(c.difference, policy) for c in unsettled), default=0)
    return Decision(
        arm=chosen.arm.name,
        verdict=verdict,  # type: ignore[arg-type]  # one of the three literals above
        confidence=_confidence(scorecard, ranked, chosen, policy),
        margin=_lead(scorecard, chosen, runner_up, policy),
        runner_up=runner_up.arm.name if runner_up else None,
        reason=_reason(
            scorecard, policy, leader=leader, chosen=chosen, comparisons=comparisons, excluded=excluded, more=more
        ),
        more_questions=more,
        cost_per_1k={scores.arm.name: policy.cost_per_1k(scores) for scores in scorecard.arms},
        comparisons=tuple(comparisons),
        excluded=excluded,
    )


def _eligible(scorecard: Scorecard, policy: Policy) -> tuple[list[ArmScores], dict[str, str]]:
    excluded: dict[str, str] = {}
    for scores in scorecard.arms:
        latency = scores.median_latency_ms()
        if scores.num_unscored(scorecard.primary) == len(scorecard.question_ids):
            why = next(iter(scores.errors.values()), "no score")
            excluded[scores.arm.name] = f"no question was scored ({why})"
        elif policy.max_latency_ms is not None and latency is not None and latency > policy.max_latency_ms:
            excluded[scores.arm.name] = (
                f"median latency {latency:.0f} ms is over the limit of {policy.max_latency_ms:.0f} ms"
            )
    eligible = [scores for scores in scorecard.arms if scores.arm.name not in excluded]
    if not eligible:
        reasons = "; ".join(f"{name}: {why}" for name, why in excluded.items())
        raise RouterError(f"no arm is left to choose from ({reasons}); fix the arms or relax the policy")
    return eligible, excluded


def _compare(scorecard: Scorecard, leader: ArmScores, others: Sequence[ArmScores], policy: Policy) -> list[Comparison]:
    pairs = [(other.arm.name, _difference(scorecard, leader, other, policy)) for other in others]
    tested = [difference for _, difference in pairs if difference is not None]
    adjusted = iter(holm([difference.p_value for difference in tested]))
    comparisons = []
    for name, difference in pairs:
        if difference is None:
            unknown = Difference(0.0, -1.0, 1.0, 1.0, 1.0, None, 0, "no question was scored by both")
            comparisons.append(Comparison(name, unknown, 1.0, "open"))
            continue
        p_holm = next(adjusted)
        if difference.p_equivalent < policy.alpha:
            standing = "equivalent"
        else:
            standing = "beaten" if p_holm < policy.alpha and difference.mean > 0 else "open"
        comparisons.append(Comparison(name, difference, p_holm, standing))  # type: ignore[arg-type]  # one of the literals
    return comparisons


def _difference(scorecard: Scorecard, a: ArmScores, b: ArmScores, policy: Policy) -> Difference | None:
    columns = zip(a.scores[scorecard.primary], b.scores[scorecard.primary], scorecard.clusters, strict=True)
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


def _lead(scorecard: Scorecard, chosen: ArmScores, runner_up: ArmScores | None, policy: Policy) -> float:
    """Over the questions that both were scored on, so that it is the number the comparisons show."""
    difference = _difference(scorecard, chosen, runner_up, policy) if runner_up is not None else None
    return difference.mean if difference is not None else 0.0


def _confidence(scorecard: Scorecard, ranked: Sequence[ArmScores], chosen: ArmScores, policy: Policy) -> float:
    rows = [scores.scores[scorecard.primary] for scores in ranked]
    shared = [i for i in range(len(scorecard.question_ids)) if all(row[i] is not None for row in rows)]
    if not shared:
        return 0.0
    matrix = np.array([[row[i] for i in shared] for row in rows], dtype=np.float64)
    clusters = [scorecard.clusters[i] for i in shared]
    return share_not_beaten(matrix, clusters, arm=ranked.index(chosen), margin=policy.margin)


def _more_questions(difference: Difference, policy: Policy) -> int:
    # Either the difference is real and gets shown, or it is below the margin and equivalence gets shown; the margin
    # is the smallest effect that anybody asked about, so no plan needs to see a smaller one.
    effect = max(abs(difference.mean), policy.margin)
    # Without a known spread, that of two arms which differ by a full point on a fifth of the questions.
    sd = _USUAL_SD if difference.sd is None else difference.sd
    return max(questions_needed(effect, sd, alpha=policy.alpha) - difference.num_pairs, 1)


def _mean(scorecard: Scorecard, scores: ArmScores) -> float:
    known = [value for value in scores.scores[scorecard.primary] if value is not None]
    return sum(known) / len(known)


def _reason(
    scorecard: Scorecard,
    policy: Policy,
    *,
    leader: ArmScores,
    chosen: ArmScores,
    comparisons: Sequence[Comparison],
    excluded: Mapping[str, str],
    more: int,
) -> str:
    """One paragraph in plain words, numbers included."""
    metric, first = scorecard.primary, leader.arm.name
    text = [
        f"{chosen.arm.name} scored {_mean(scorecard, chosen):.2f} {metric} on {len(scorecard.question_ids)} questions"
    ]
    by_standing: dict[str, list[str]] = {"beaten": [], "equivalent": [], "open": []}
    for c in comparisons:
        d = c.difference
        by_standing[c.standing].append(
            f"{c.other} ({d.mean:+.2f}, 95% interval {d.low:+.2f} to {d.high:+.2f}, p={c.p_holm:.2g})"
        )
    if by_standing["beaten"]:
        text.append(f"{first} is significantly better than " + ", ".join(by_standing["beaten"]))
    if by_standing["equivalent"]:
        near = ", ".join(by_standing["equivalent"])
        text.append(f"{first} is equivalent within {policy.margin:g} to {near}")
    if by_standing["open"]:
        unsettled = ", ".join(by_standing["open"])
        text.append(f"{first} leads {unsettled}, which is not settled: about {more} more questions would settle it")
    if by_standing["equivalent"] or chosen is not leader:
        text.append(f"of the arms within {policy.margin:g} of {first}, the cheapest is served")
    text.append(_why_kind(scorecard))
    text.extend(f"{arm} excluded: {why}" for arm, why in excluded.items())
    return "; ".join(part for part in text if part) + "."


def _why_kind(scorecard: Scorecard) -> str:
    """What the grid as a whole says about documents and training, from the best arm of each kind."""
    best: dict[str, float] = {}
    for scores in scorecard.arms:
        # Examples shown as turns are a prompt's business; they say nothing about the documents.
        if scores.arm.prompt.passages == "context" and scores.num_unscored(scorecard.primary) < len(
            scorecard.question_ids
        ):
            best[scores.arm.kind] = max(best.get(scores.arm.kind, 0.0), _mean(scorecard, scores))
    parts = []
    if {"base", "rag"} <= best.keys():
        parts.append(f"retrieval alone moves base by {best['rag'] - best['base']:+.2f}")
    if {"base", "tuned"} <= best.keys():
        parts.append(f"training alone moves base by {best['tuned'] - best['base']:+.2f}")
    if {"tuned", "hybrid"} <= best.keys():
        parts.append(f"retrieval on top of training adds {best['hybrid'] - best['tuned']:+.2f}")
    return ", ".join(parts)
