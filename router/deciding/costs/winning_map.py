"""Which arm wins at which traffic: a grid over questions a month and the share of documents that change in a month.

found = winning_map(make_preference(make_table(scorecard, policy)).choose, policy)
found.winners[row][column], found.churns[row], found.volumes[column]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from router.deciding.policy import Policy

Choice = Callable[[Policy], str | None]

VOLUMES = (1e2, 1e7)  # questions a month
_COLUMNS, _ROWS = 81, 41


@dataclass(frozen=True, slots=True)
class WinningMap:
    """Which arm wins at each churn (a row of `winners`) and volume (a column); None where none keeps the limits.

    `volumes` are questions a month, each a constant factor above the last; `churns` are shares from 0 to 1. `volume`,
    `churn` and `winner` belong to the policy's own traffic.
    """

    volumes: tuple[float, ...]
    churns: tuple[float, ...]
    winners: tuple[tuple[str | None, ...], ...]
    volume: float
    churn: float
    winner: str | None

    @property
    def shares(self) -> dict[str, float]:
        """The share of the map that each winning arm holds, the largest first."""
        cells = [winner for row in self.winners for winner in row]
        names = sorted({name for name in cells if name is not None}, key=lambda name: (-cells.count(name), name))
        return {name: cells.count(name) / len(cells) for name in names}


def winning_map(choose: Choice, policy: Policy) -> WinningMap:
    """The arm that `choose` names at each traffic, all else as in the policy, whose own volume the map includes."""
    traffic = policy.traffic
    low, high = min(VOLUMES[0], traffic.questions), max(VOLUMES[1], traffic.questions)
    volumes = tuple(low * (high / low) ** (column / (_COLUMNS - 1)) for column in range(_COLUMNS))
    churns = tuple(row / (_ROWS - 1) for row in range(_ROWS))
    winners = tuple(
        tuple(choose(replace(policy, traffic=replace(traffic, questions=volume, churn=churn))) for volume in volumes)
        for churn in churns
    )
    return WinningMap(volumes, churns, winners, traffic.questions, traffic.churn, choose(policy))
