"""What would change the choice: the flip of every weight of the policy, how firm the choice is, and who wins at which
traffic.

found = find_sensitivity(table, decision)
found.nearest, found.stability, found.map
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from router.deciding.arm_table import ArmTable
from router.deciding.decision import Decision
from router.deciding.flips import Flip, find_flips, stability
from router.deciding.planning import carries_flips
from router.deciding.preference import WinningMap, make_preference, winning_map
from router.errors import RouterError


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


def _distance(flip: Flip) -> tuple[bool, bool, float]:
    """Flips that happen come first, by their factor; a weight of 0, or one that changes its sign, has none."""
    if flip.at is None:
        return True, True, 0.0
    if flip.at * flip.value <= 0:
        return False, True, abs(flip.at - flip.value)
    return False, False, abs(math.log(flip.at / flip.value))
