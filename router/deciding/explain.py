"""A decision in words: one paragraph with its numbers, for the report and the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from router.deciding.decision import Comparison
from router.deciding.eligibility import mean_score
from router.deciding.policy import Policy
from router.deciding.scorecard import ArmScores, Scorecard
from router.deciding.utility import UTILITY


def explain(
    scorecard: Scorecard,
    policy: Policy,
    *,
    leader: ArmScores,
    chosen: ArmScores,
    comparisons: Sequence[Comparison],
    excluded: Mapping[str, str],
    more: int,
) -> str:
    """One paragraph in plain words, numbers included; `more` questions would settle what is open."""
    metric, first = scorecard.primary, leader.arm.name
    unit = f"{metric} (scaled to 0 to 1)" if metric == UTILITY else metric
    text = [
        f"{chosen.arm.name} scored {mean_score(scorecard, chosen):.2f} {unit} "
        f"on {len(scorecard.question_ids)} questions"
    ]
    interval = "95% interval" if scorecard.race is None else "anytime interval"
    by_standing: dict[str, list[str]] = {"beaten": [], "equivalent": [], "open": []}
    for c in comparisons:
        d = c.difference
        by_standing[c.standing].append(
            f"{c.other} ({d.mean:+.2f}, {interval} {d.low:+.2f} to {d.high:+.2f}, p={c.p_corrected:.2g})"
        )
    if scorecard.race is not None:
        text.append(scorecard.race.summary)
    if by_standing["beaten"]:
        text.append(f"{first} is significantly better than " + ", ".join(by_standing["beaten"]))
    if by_standing["equivalent"]:
        near = ", ".join(by_standing["equivalent"])
        text.append(f"{first} is equivalent within {policy.margin:g} to {near}")
    if by_standing["open"]:
        unsettled = ", ".join(by_standing["open"])
        questions = "question" if more == 1 else "questions"
        text.append(
            f"{first} leads {unsettled}, which is not settled: about {more} more {questions} would settle it"
            if more
            else f"{first} and {unsettled} need not be told apart: none is better by {policy.margin:g}"
        )
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
        if scores.arm.prompt.passages == "context" and scores.num_unscored(scorecard.primary) < scores.num_asked:
            best[scores.arm.kind] = max(best.get(scores.arm.kind, 0.0), mean_score(scorecard, scores))
    parts = []
    if {"base", "rag"} <= best.keys():
        parts.append(f"retrieval alone moves base by {best['rag'] - best['base']:+.2f}")
    if {"base", "tuned"} <= best.keys():
        parts.append(f"training alone moves base by {best['tuned'] - best['base']:+.2f}")
    if {"tuned", "hybrid"} <= best.keys():
        parts.append(f"retrieval on top of training adds {best['hybrid'] - best['tuned']:+.2f}")
    return ", ".join(parts)
