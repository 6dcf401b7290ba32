"""How adapters are merged: `MergeSettings(how="svd", rank=16)`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from storage.settings import NUMBER, Count, Whole, settings
from tuning.errors import TuningError

How = Literal["cat", "svd", "ties", "dare"]
# Ways that keep a part of each update's numbers.
SPARSE: tuple[How, ...] = ("ties", "dare")
_USUAL_DENSITY = 0.5


@settings(TuningError)
class MergeSettings:
    """`cat` and `svd` add up the parents' updates, each times its weight; `ties` and `dare` thin them out first."""

    how: How = "cat"
    """`cat` is exact, at the sum of the ranks; `svd` is the nearest update of a rank; `ties` (arxiv.org/abs/2306.01708)
    keeps the largest numbers, and of those in one place the ones of the prevailing sign; `dare`
    (arxiv.org/abs/2311.03099) keeps numbers at random, enlarged by as much as the others are missed.
    """
    rank: Count | None = None
    """Of what is published; null is the sum of the ranks, the largest of them for `svd`, and for `ties` and `dare` what
    each layer needs to lose no more than a hundredth."""
    density: Annotated[float, Field(gt=0, le=1), NUMBER] | None = None
    """The share of each update's numbers that `ties` and `dare` keep; null is a half."""
    seed: Whole = 0
    """Of the numbers that `dare` keeps."""

    def __post_init__(self) -> None:
        if self.how == "cat" and self.rank is not None:
            raise ValueError(f"rank ({self.rank}) must be left open with cat, which has the sum of the ranks; take svd")
        if self.density is not None and self.how not in SPARSE:
            raise ValueError(f"density ({self.density:g}) must be left open with {self.how}; it is for ties and dare")

    @property
    def kept(self) -> float:
        """The density, of the ways that have one."""
        return _USUAL_DENSITY if self.density is None else self.density
