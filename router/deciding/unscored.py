"""What answers without a score could change: a verdict stands when all of them might have gone against it.

comparisons = stand_at_worst(table, comparisons, leader="rag", compare=compare)

A judge or a metric that fails leaves an answer unscored. The means go on without it, and if it failed where the leader
was wrong, the lead is its doing. So every claim is made again with the unscored answers at their worst.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from router.deciding.arm_table import ArmRow, ArmTable
from router.deciding.decision import Comparison
from router.deciding.scorecard import Score


def num_unscored(table: ArmTable, *arms: str) -> int:
    """Answers of these arms that decide nothing because no score was given to them."""
    return sum(len(_gaps(table, table.row(arm))) for arm in arms)


def at_worst(table: ArmTable, arm: str, *, own: float = 0.0, others: float = 1.0) -> ArmTable:
    """The table as if every unscored answer of `arm` had scored `own`, and every one of another arm `others`.

    What a race claimed of arms with such answers is forgotten: it was claimed without them.
    """
    gaps = {row.name: _gaps(table, row) for row in table.rows}
    primary = table.decided.primary

    def filled(row: ArmRow) -> ArmRow:
        value = own if row.name == arm else others
        column: tuple[Score, ...] = tuple(value if i in gaps[row.name] else x for i, x in enumerate(row.column))
        dropped = row.dropped
        if dropped is not None and (gaps[row.name] or gaps[dropped.beaten_by]):
            dropped = None
        decided = replace(row.decided, scores={**row.decided.scores, primary: column})
        return replace(row, decided=decided, column=column, dropped=dropped)

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


def _gaps(table: ArmTable, row: ArmRow) -> set[int]:
    """Where an arm was asked and not scored, though the metric says something of the question."""
    left_out = {*row.decided.not_asked, *table.decided.undefined}
    names = zip(table.decided.question_ids, row.column, strict=True)
    return {i for i, (name, score) in enumerate(names) if score is None and name not in left_out}
