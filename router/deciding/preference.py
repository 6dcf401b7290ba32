"""Which arm the measured means favour under a policy: the decision without its tests, fast enough for thousands of
policies; and which at which traffic.

preference = make_preference(make_table(scorecard, policy))
preference.choose(replace(policy, margin=0.1))
found = winning_map(preference.choose, policy)
found.winners[row][column], found.churns[row], found.volumes[column]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from router.deciding.arm_table import ArmRow, ArmTable
from router.deciding.costs import price
from router.deciding.limits import COST_LIMIT
from router.deciding.policy import Policy
from router.deciding.saving import Savings
from router.errors import RouterError

Choice = Callable[[Policy], str | None]

VOLUMES = (1e2, 1e7)  # questions a month
_COLUMNS, _ROWS = 81, 41


@dataclass(frozen=True, slots=True)
class Preference:
    """The candidates of one table, scored and keeping all limits that do not depend on prices."""

    candidates: tuple[ArmRow, ...]
    savings: Savings

    def choose(self, policy: Policy) -> str | None:
        """The arm of the highest net utility, or without a utility what `Savings.serve` names of those within the
        margin of the best mean.

        Arms over the policy's limit on the cost are passed over; None when no arm is left. An arm of unknown cost has
        no utility and is never a saving, but is chosen where every other arm is worse by more than the margin.
        """
        limit = policy.limits.cost_per_1k
        allowed = [
            row for row in self.candidates if limit is None or _known(price(row.measures, policy).per_1k) <= limit
        ]
        if policy.utility is not None:
            nets = [(-net, row.name) for row in allowed if (net := row.net_utility(policy)) is not None]
            return min(nets)[1] if nets else None
        best = max((row.score for row in allowed), default=0.0)
        near = [row for row in allowed if row.score >= best - policy.margin - 1e-12]
        ranked = sorted(near, key=lambda row: (-row.score, _known(row.amortised(policy)), row.name))
        return self.savings.serve(ranked, policy).name if ranked else None

    def is_priced(self, policy: Policy) -> bool:
        """Whether the cost of every candidate is known under this policy."""
        return all(candidate.amortised(policy) is not None for candidate in self.candidates)


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


def make_preference(table: ArmTable, arms: Collection[str] | None = None) -> Preference:
    """The preference among `arms`, or among all arms that keep the policy's limits and that no race dropped.

    Raises RouterError when no arm is left.
    """
    candidates = tuple(
        row
        for row in table.rows
        # A limit on the cost moves with the prices: `choose` looks at it.
        if row.broken.keys() <= {COST_LIMIT} and row.dropped is None and row.outcomes is not None
        if arms is None or row.name in arms
    )
    if not candidates:
        asked = "no arm" if arms is None else f"none of {', '.join(sorted(arms))}"
        raise RouterError(f"{asked} keeps the policy's limits with a score; relax the limits or name other arms")
    return Preference(candidates, Savings(table.decided.documents))


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


def _known(cost: float | None) -> float:
    """An unknown cost counts as the dearest."""
    return math.inf if cost is None else cost
