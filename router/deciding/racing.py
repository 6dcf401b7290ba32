"""One look at a race: which arms drop out, and whether the choice is settled.

ruling = look(table, ["base", "rag", "tuned"], ends=(20, 40, 60))
ruling.drops, ruling.ruled_out, ruling.served

The tests are those of a fixed grid; their levels are those of `router/deciding/sequential.py`, so that looking after
every batch keeps the error rate. A winner must have beaten everybody, so each pair is tested at the full rate: of two
equal arms on top one must be shown to be better than the other, and that is one claim however many worse arms there
are. For a tie one of several arms may wrongly pass, so each of its claims has the rate over K - 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from router.deciding.arm_table import ArmRow, ArmTable
from router.deciding.labelled import difference_of
from router.deciding.saving import Savings
from router.deciding.scorecard import Drop
from router.deciding.sequential import FIRST_SHARE, exact_level, nominal_levels, spendable
from router.deciding.statistics import MCNEMAR, Difference


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a look at a race says: who is beaten now, who breaks a limit, and which arm to serve.

    `excluded` are the raced arms that break one as measured; of some of them, `ruled_out`, that is shown. `served` is
    None while the choice is open. `ranking` has all arms from best to worst, those that may be served first.
    """

    drops: tuple[Drop, ...] = ()
    excluded: tuple[str, ...] = ()
    ruled_out: tuple[str, ...] = ()
    served: str | None = None
    ranking: tuple[str, ...] = ()


def look(table: ArmTable, active: Sequence[str], *, ends: Sequence[int]) -> Ruling:
    """Look at the questions spent so far; `ends` counts the questions at each planned look, the last being all.

    The leader is the best arm that keeps every limit as measured. An arm is dropped when the leader is shown to be
    better and does not owe it to a lead below the margin that costs more: such a lead is not paid for. The race is
    settled when one arm is left, or when it is shown that none is better by the margin than the one that would be
    served.
    """
    order = sorted(
        ranked(table.rows), key=lambda row: (row.name not in active, row.is_ruled_out, row.excluded is not None)
    )
    ranking = tuple(row.name for row in order)
    excluded = tuple(name for name in active if table.row(name).excluded is not None)
    ruled_out = tuple(name for name in active if table.row(name).is_ruled_out)
    rows = ranked([table.row(name) for name in active if name not in ruled_out])
    leader = next((row for row in rows if row.excluded is None), None)
    if leader is None:
        return Ruling((), excluded, ruled_out, None, ranking)
    if table.scorecard.earlier_looks:  # the levels of a first look are spent
        return Ruling((), excluded, ruled_out, None, ranking)
    savings = Savings(table.decided.documents)
    # No level of a look is more than all looks so far may spend.
    most = spendable(FIRST_SHARE * table.policy.alpha, len(table.decided.question_ids), ends)
    drops = []
    for row in rows:
        if row is leader:
            continue
        difference = compare(table, leader, row)
        if difference is None or difference.mean <= 0 or difference.p_value > most:
            continue
        level = level_of_winner(table, ends, leader, row, difference)
        if difference.p_value > level:
            continue
        is_cheaper = savings.find(row, instead_of=leader, policy=table.policy).matters
        if difference.mean > table.margin or not is_cheaper:
            p_value = min(1.0, difference.p_value * table.policy.alpha / level)
            drops.append(Drop(row.name, leader.name, len(table.decided.question_ids), p_value, table.decider))
    left = [row for row in rows if row.name not in {drop.arm for drop in drops}]
    return Ruling(tuple(drops), excluded, ruled_out, _settled(table, left, savings, ends), ranking)


def ranked(rows: Sequence[ArmRow]) -> list[ArmRow]:
    """Best first; arms that a race dropped come after those that stayed, on whose questions they were not compared."""
    return sorted(rows, key=lambda row: (row.dropped is not None, -row.mean, row.price, row.name))


def compare(table: ArmTable, a: ArmRow, b: ArmRow) -> Difference | None:
    """How much better `a` is than `b` where both were scored; None where they share no question."""
    found, names = table.differences, (a.name, b.name)
    if names not in found:
        found[names] = difference_of(table.decided, a.decided, b.decided, margin=table.margin, alpha=table.policy.alpha)
    return found[names]


def level_of_winner(table: ArmTable, ends: Sequence[int], a: ArmRow, b: ArmRow, difference: Difference) -> float:
    """What the two-sided p-value of a difference must not exceed at this look for one arm to beat the other."""
    alpha = FIRST_SHARE * table.policy.alpha
    if difference.test != MCNEMAR:
        return 2 * _level(table, ends, alpha / 2)
    x, y = (row.decided.column(table.decided.primary) for row in (a, b))
    num_apart = np.cumsum(np.abs(x - y) > 0)[[end - 1 for end in ends if end <= len(x)]]
    return exact_level(num_apart.tolist(), tuple(ends), alpha)


def level_of_tie(table: ArmTable, ends: Sequence[int]) -> float:
    """What the one-sided p-value of "not worse by the margin" must not exceed at this look."""
    return _level(table, ends, FIRST_SHARE * table.policy.alpha / max(len(table.rows) - 1, 1))


def _level(table: ArmTable, ends: Sequence[int], tail: float) -> float:
    num_spent = len(table.decided.question_ids)
    places = [place for place, end in enumerate(ends) if end <= num_spent]
    return nominal_levels(tuple(ends), tail)[places[-1]] if places else 0.0


def _settled(table: ArmTable, left: Sequence[ArmRow], savings: Savings, ends: Sequence[int]) -> str | None:
    servable = [row for row in left if row.excluded is None]
    if not servable:
        return None
    if len(left) == 1:
        return left[0].name
    leader, level = servable[0], level_of_tie(table, ends)
    near = [row for row in servable[1:] if (table.lead(leader.name, row.name) or 0.0) <= table.margin]
    served = savings.serve([leader, *near], table.policy)
    is_settled = all(_is_not_worse(table, served, row, level) for row in left if row is not served)
    return served.name if is_settled else None


def _is_not_worse(table: ArmTable, a: ArmRow, b: ArmRow, level: float) -> bool:
    """Whether `b` is shown not to be better than `a` by the margin; one that is far behind will be beaten instead."""
    found = compare(table, a, b)
    if found is None or found.mean > table.margin or not table.can_compare(a.name, b.name):
        return False
    return found.p_not_worse <= level
