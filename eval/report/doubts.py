"""How sure a decision is, and what would have to be true for it to be wrong, in words that a manager understands; and
what would change the choice: the flip of every weight of the policy, how firm it is, and who wins at which traffic.

how_sure(decision, unit)                       # "Very sure: with other questions of this kind, in 97 of 100 cases ..."
find_doubts(table, decision, leader="hybrid")  # yields "If the judge is more lenient with hybrid than with rag by ..."
found = find_sensitivity(table, decision)
found.nearest, found.stability, found.map
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from eval.report.side_by_side import Unit
from eval.report.wording import as_amount
from router.deciding.arm_table import ArmRow, ArmTable
from router.deciding.decision import Comparison, Decision
from router.deciding.flips import Flip, find_flips, stability
from router.deciding.labelled import MIN_LABELS, TEST
from router.deciding.planning import carries_flips
from router.deciding.preference import WinningMap, make_preference, winning_map
from router.deciding.unscored import num_unscored
from router.deciding.wording import as_score
from router.errors import RouterError

# Fewer documents say little of the next ones, whatever the tests say of these.
_FEW_DOCUMENTS = 20
# A number that is within this share of its limit may be on the other side of it tomorrow.
_NEAR = 0.1
_WORDS = ((0.95, "Very sure"), (0.8, "Fairly sure"), (0.6, "Not very sure"), (0.0, "Not sure"))


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What the policy changes about the choice by the measured means alone; no test is part of it.

    `served` is the arm that the means favour: the decision's, unless that serves a cheaper arm in a tie or while a
    comparison is open. `left_out` names arms that the means would favour though the tests show them to be worse.
    `flips` come nearest first. With too few questions flips and `stability` are None.
    """

    served: str | None
    left_out: tuple[str, ...]
    flips: tuple[Flip, ...] | None
    stability: float | None
    map: WinningMap

    @property
    def nearest(self) -> Flip | None:
        """The flip with the smallest factor between the weight and the value at which it happens; None without any."""
        return next((flip for flip in self.flips or () if flip.at is not None), None)


def how_sure(decision: Decision, unit: Unit) -> str:
    """The confidence in one sentence."""
    if decision.runner_up is None:
        return "There was no other arm to compare it with, so there is nothing to be sure of."
    words = next(words for least, words in _WORDS if decision.confidence >= least)
    if decision.verdict == "undecided":
        words = f"{words}, and not decided"
    share = min(int(100 * decision.confidence), 99)
    return (
        f"{words}: with other questions of this kind, in {share} of 100 cases no arm would be better than "
        f"{decision.arm} by more than {unit.margin:.3g}."
    )


def find_doubts(table: ArmTable, decision: Decision, *, leader: str) -> Iterator[str]:
    """What would have to be true for the decision to be wrong, beside chance; a sentence each.

    `leader` is the arm that the comparisons are against.
    """
    yield from _judge(table, decision, leader)
    if hanging := [c.other for c in decision.comparisons if c.unscored]:
        number = num_unscored(table, *(row.name for row in table.rows))
        yield f"The {number} answers without a score decide about {', '.join(hanging)}: there is no verdict yet."
    if (number := len(set(table.decided.clusters))) < _FEW_DOCUMENTS:
        yield (
            f"If {'the document that was' if number == 1 else f'the {number} documents that were'} asked about "
            f"{'is' if number == 1 else 'are'} unlike the others, other documents may favour another arm."
        )
    chosen = table.row(decision.arm)
    for row in table.rows:
        near = [words for words, share in _distances(table, row) if share <= _NEAR]
        if near and (row is chosen or (row.excluded is not None and row.score >= chosen.score)):
            effect = "it could not be served" if row is chosen else "it could be served, and it scores no less"
            yield f"If {row.name} is on the other side of a limit that it is near to, {effect}: {', '.join(near)}."


def flipping_bias(decision: Decision, margin: float) -> tuple[Comparison, float] | None:
    """Which comparison falls first where a judge is more lenient with one arm than another, and by how much; None where
    nothing is claimed.

    For a winner it is the least that its lead can be, for a tie what is left of the margin.
    """
    found = []
    for c in decision.comparisons:
        if c.difference is not None and c.difference.test != TEST and c.standing != "open":
            low, high = c.difference.low, c.difference.high
            is_beaten = c.standing == "beaten"
            found.append((max(low if is_beaten else margin - max(abs(low), abs(high)), 0.0), c.other, c))
    return (min(found)[2], min(found)[0]) if found else None


def find_sensitivity(table: ArmTable, decision: Decision) -> Sensitivity | None:
    """Flips, stability and the map of winners; None with fewer than two arms that the policy could choose among.

    An arm that shares too few scored questions with the decision's is not among those: its mean is of other questions.
    """
    policy = table.policy
    beaten = {comparison.other for comparison in decision.comparisons if comparison.standing == "beaten"}
    compared = {row.name for row in table.rows if table.can_compare(decision.arm, row.name)}
    left_out: list[str] = []
    try:
        preference = make_preference(table, compared)
        if len(preference.candidates) < 2:
            return None
        # An arm that is cheaper and within the margin, but was shown to be worse, is not served; the means do not know.
        while (served := preference.choose(policy)) != decision.arm and served in beaten:
            left_out.append(served)
            compared.discard(served)
            preference = make_preference(table, compared)
    except RouterError:
        return None
    is_carried = carries_flips(len(table.decided.question_ids), lead=decision.margin, alpha=policy.alpha)
    return Sensitivity(
        served=served,
        left_out=tuple(left_out),
        flips=tuple(sorted(find_flips(preference, policy), key=_distance)) if is_carried else None,
        stability=stability(preference.choose, policy) if is_carried else None,
        map=winning_map(preference.choose, policy),
    )


def _judge(table: ArmTable, decision: Decision, leader: str) -> Iterator[str]:
    card = table.scorecard
    deciding = set(card.metric_of.values()) or {card.primary}
    found = flipping_bias(decision, table.margin)
    if found is None or not any(metric.startswith("judge_") for metric in deciding):
        return
    comparison, bias = found
    shown = as_score(bias * table.scale.width if table.scale is not None else bias)
    ways, claim = f"{leader} than with {comparison.other}", "shown to be worse"
    if comparison.standing == "equivalent":
        ways, claim = f"one of {leader} and {comparison.other} than with the other", "as good"
    yield (
        f"If the judge is more lenient with {ways} by {shown} or more, {comparison.other} is not {claim}; {MIN_LABELS} "
        "answers of each that people label would tell."
    )


def _distances(table: ArmTable, row: ArmRow) -> Iterator[tuple[str, float]]:
    """Each limit of the policy, in words, and how far off it an arm is as a share of it."""
    limits = table.policy.limits
    for words, value, limit in (
        ("median latency in ms", row.p50_ms, limits.latency_ms),
        ("95th percentile of latency in ms", row.p95_ms, limits.p95_ms),
        ("time to the first token in ms", row.ttft_ms, limits.ttft_ms),
        ("cost of 1,000 questions", row.costs.per_1k, limits.cost_per_1k),
        (f"mean {table.scorecard.primary}", row.score, limits.score),
    ):
        if limit and value is not None:
            yield f"{words} {as_amount(value)}, limit {as_amount(limit)}", abs(value - limit) / limit


def _distance(flip: Flip) -> tuple[bool, bool, float]:
    """Flips that happen come first, by their factor; a weight of 0, or one that changes its sign, has none."""
    if flip.at is None:
        return True, True, 0.0
    if flip.at * flip.value <= 0:
        return False, True, abs(flip.at - flip.value)
    return False, False, abs(math.log(flip.at / flip.value))
