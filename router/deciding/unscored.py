"""What answers without a score could change: a verdict stands when all of them might have gone against it.

comparisons = stand_at_worst(table, comparisons, leader="rag", compare=compare)

A judge or a metric that fails leaves an answer unscored. The means go on without it, and if it failed where the leader
was wrong, the lead is its doing. So every claim is made again with the unscored answers at their worst.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from router.deciding.arm_table import ArmRow, ArmTable
from router.deciding.decision import Comparison
from router.deciding.scorecard import Score


def num_unscored(table: ArmTable, *arms: str) -> int:
    """Answers of these arms that decide nothing because no score was given to them."""
    return sum(int(_gaps(table, table.row(arm)).sum()) for arm in arms)


def at_worst(table: ArmTable, arm: str, *, own: float = 0.0, others: float = 1.0) -> ArmTable:
    """The table as if every unscored answer of `arm` had scored `own`, and every one of another arm `others`.

    What a race claimed of arms with such answers is forgotten: it was claimed without them.
    """
    gaps, primary = {row.name: _gaps(table, row) for row in table.rows}, table.decided.primary

    def filled(row: ArmRow) -> ArmRow:
        if not gaps[row.name].any():
            is_moved = row.dropped is not None and gaps[row.dropped.beaten_by].any()
            return replace(row, dropped=None) if is_moved else row
        value, columns = own if row.name == arm else others, zip(gaps[row.name].tolist(), row.column, strict=True)
        column: tuple[Score, ...] = tuple(value if is_gap else score for is_gap, score in columns)
        decided = replace(row.decided, scores={**row.decided.scores, primary: column})
        return replace(row, decided=decided, column=column, dropped=None)

    rows = tuple(map(filled, table.rows))
    return replace(table, decided=replace(table.decided, arms=tuple(row.decided for row in rows)), rows=rows)


def stand_at_worst(
    table: ArmTable,
    comparisons: Sequence[Comparison],
    *,
    leader: str,
    compare: Callable[[ArmTable], Sequence[Comparison]],
) -> list[Comparison]:
    """The comparisons, those open again that would not stand with the unscored answers at their worst.

    "Beaten" must stand with the leader's at 0 and the others' at 1; "equivalent" the other way round, too. `compare`
    makes the same comparisons on another table.
    """
    if not num_unscored(table, leader, *(c.other for c in comparisons)):
        return list(comparisons)
    against = in_favour = compare(at_worst(table, leader))
    if any(c.standing == "equivalent" for c in comparisons):
        in_favour = compare(at_worst(table, leader, own=1.0, others=0.0))
    found = []
    for made, low, high in zip(comparisons, against, in_favour, strict=True):
        seen = {low.standing} if made.standing == "beaten" else {low.standing, high.standing}
        number = num_unscored(table, leader, made.other)
        stands = made.standing == "open" or seen == {made.standing} or not number
        found.append(made if stands else replace(made, standing="open", unscored=number))
    return found


def _gaps(table: ArmTable, row: ArmRow) -> NDArray[np.bool_]:
    """Where an arm was asked and not scored, though the metric says something of the question."""
    found = np.isnan(row.decided.column(table.decided.primary))
    if left_out := {*row.decided.not_asked, *table.decided.undefined}:
        found &= [name not in left_out for name in table.decided.question_ids]
    return np.asarray(found)
