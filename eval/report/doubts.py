"""How sure a decision is, and what would have to be true for it to be wrong, in words that a manager understands.

how_sure(decision, unit)                       # "Very sure: with other questions of this kind, in 97 of 100 cases ..."
find_doubts(table, decision, leader="hybrid")  # ("If the judge is more lenient with hybrid than with rag by ...", ...)

Both are pure and take what is worked out already, so that a page can ask them again at every move of a slider.
"""

from __future__ import annotations

from collections.abc import Iterator

from eval.report.side_by_side import Unit
from eval.report.wording import as_amount
from router.deciding.arm_table import ArmRow, ArmTable
from router.deciding.decision import Comparison, Decision
from router.deciding.labelled import MIN_LABELS, TEST
from router.deciding.unscored import num_unscored
from router.deciding.wording import as_score

# Fewer documents say little of the next ones, whatever the tests say of these.
_FEW_DOCUMENTS = 20
# A number that is within this share of its limit may be on the other side of it tomorrow.
_NEAR = 0.1
_WORDS = ((0.95, "Very sure"), (0.8, "Fairly sure"), (0.6, "Not very sure"), (0.0, "Not sure"))


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


def find_doubts(table: ArmTable, decision: Decision, *, leader: str) -> tuple[str, ...]:
    """What would have to be true for the decision to be wrong, beside chance; a sentence each.

    `leader` is the arm that the comparisons are against.
    """
    chosen = table.row(decision.arm)
    return (*_judge(table, decision, leader), *_unscored(table, decision), *_documents(table), *_limits(table, chosen))


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


def _judge(table: ArmTable, decision: Decision, leader: str) -> Iterator[str]:
    card = table.scorecard
    deciding = set(card.metric_of.values()) or {card.primary}
    if not any(metric.startswith("judge_") for metric in deciding):
        return
    found = flipping_bias(decision, table.margin)
    if found is None:
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


def _unscored(table: ArmTable, decision: Decision) -> Iterator[str]:
    hanging = [c.other for c in decision.comparisons if c.unscored]
    number = num_unscored(table, *(row.name for row in table.rows))
    if hanging:
        yield f"The {number} answers without a score decide about {', '.join(hanging)}: there is no verdict yet."


def _documents(table: ArmTable) -> Iterator[str]:
    number = len(set(table.decided.clusters))
    if number < _FEW_DOCUMENTS:
        yield (
            f"If {'the document that was' if number == 1 else f'the {number} documents that were'} asked about "
            f"{'is' if number == 1 else 'are'} unlike the others, other documents may favour another arm."
        )


def _limits(table: ArmTable, chosen: ArmRow) -> Iterator[str]:
    for row in table.rows:
        near = [words for words, share in _distances(table, row) if share <= _NEAR]
        if near and (row is chosen or (row.excluded is not None and row.score >= chosen.score)):
            effect = "it could not be served" if row is chosen else "it could be served, and it scores no less"
            yield f"If {row.name} is on the other side of a limit that it is near to, {effect}: {', '.join(near)}."


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
