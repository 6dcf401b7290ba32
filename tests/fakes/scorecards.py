"""Scorecards from columns of scores: an arm's price is its place among the arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from router.answering.arm import Arm
from router.deciding.scorecard import ArmScores, RaceRecord, Score, Scorecard


def make_card(
    columns: Mapping[str, Sequence[Score]],
    *,
    latency_ms: Mapping[str, Sequence[float | None]] | None = None,
    clusters: Sequence[str] = (),
    race: RaceRecord | None = None,
) -> Scorecard:
    """One column an arm, cheapest first; a column that ends early was asked no more."""
    num = max(map(len, columns.values()))
    names = tuple(f"q{i}" for i in range(num))
    arms = []
    for place, (arm, column) in enumerate(columns.items(), start=1):
        asked, rest = len(column), (None,) * (num - len(column))
        latencies = (*(latency_ms or {}).get(arm, [10.0] * asked), *rest)
        arms.append(
            ArmScores(
                Arm(arm),
                {"exact_match": (*column, *rest)},
                latencies,
                (*(1000 * place,) * asked, *rest),
                (*(5,) * asked, *rest),
                not_asked=names[asked:],
            )
        )
    return Scorecard(names, tuple(clusters) or names, "exact_match", tuple(arms), race=race)
