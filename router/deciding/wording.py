"""Scores, leads and levels in words: the one place that rounds them, so that a number reads the same everywhere.

as_score(0.575), as_lead(-0.575), as_level(0.1), as_share(0.123)  # "0.58", "-0.58", "90%", "12%"
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal


def as_score(score: float) -> str:
    """A mean or a share with two decimals, half rounded away from 0.

    The last bits of a sum depend on its order: 0.575 may be stored a little below or above, and must not be said in two
    ways.
    """
    rounded = Decimal(str(round(score, 9))).quantize(Decimal("0.01"), ROUND_HALF_UP)
    return f"{abs(rounded) if rounded == 0 else rounded:f}"


def as_lead(difference: float) -> str:
    """A difference of two scores, with its sign."""
    score = as_score(difference)
    return score if score.startswith("-") else f"+{score}"


def as_level(alpha: float) -> str:
    """The level of an interval at this error rate: 0.05 is "95%"."""
    return f"{100 * (1 - alpha):.6g}%"


def as_share(share: float) -> str:
    """A share in percent with the digits that count: 0.123 is "12%", 0.0016 is "0.2%"."""
    return f"{100 * share:.0f}%" if abs(share) >= 0.01 or share == 0 else f"{100 * share:.1g}%"
