"""Updates of a layer added up, in float64: `merged_layer([(0.5, pair), (0.5, other)], MergeSettings(), rank=None)`.

PEFT's `add_weighted_adapter` is exact for `cat` and `svd` of plain LoRAs alike in all but their weights. It takes how
the result is scaled, and which blocks it is in, from the first one (an rsLoRA's sum comes out several times too large),
makes `linear` of a single one, adds A and B apart in `linear`, `ties` and `dare`, and lets a parent of weight 0 vote on
signs. So the sums are made here, and PEFT thins out whole updates, each times its weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuning.merging.settings import SPARSE, MergeSettings

if TYPE_CHECKING:
    import torch

    # A, (rank, in), and B, (out, rank), and the scale of their product.
    Pair = tuple[torch.Tensor, torch.Tensor, float]

# What an update may lose of its length where it is cut to the rank that it needs.
SMALL_LOSS = 0.01


@dataclass(frozen=True, slots=True)
class MergedLayer:
    """B A is the update that is published, of a scale of 1, `wanted` the one it stands for, (out, in)."""

    a: torch.Tensor
    b: torch.Tensor
    wanted: torch.Tensor

    @property
    def lost(self) -> float:
        """The square of the length of what `wanted` loses (Frobenius)."""
        return float((self.wanted - self.b @ self.a).square().sum())


def delta(pair: Pair) -> torch.Tensor:
    """The update of a weight, (out, in), in float64."""
    a, b, scale = pair
    return scale * (b.double() @ a.double())


def merged_layer(parts: Sequence[tuple[float, Pair]], numbers: MergeSettings, rank: int | None) -> MergedLayer:
    """The updates of one layer, each with its weight, as one; `rank` cuts it, and null leaves it what it needs."""
    import torch

    if numbers.how in SPARSE:
        wanted = _thinned([weight * delta(pair) for weight, pair in parts], numbers)
        left, sizes, right = torch.linalg.svd(wanted, full_matrices=False)
        kept = _needed(sizes) if rank is None else min(rank, len(sizes))
        return MergedLayer(right[:kept], left[:, :kept] * sizes[:kept], wanted)
    a = torch.cat([weight * scale * a.double() for weight, (a, _, scale) in parts])
    b = torch.cat([b.double() for _, (_, b, _) in parts], dim=1)
    wanted = b @ a
    if numbers.how == "cat":
        return MergedLayer(a, b, wanted)
    # The singular values of B A are those of the small matrix between the two orthogonal ones.
    (of_b, upper), (of_a, lower) = torch.linalg.qr(b), torch.linalg.qr(a.T)
    left, sizes, right = torch.linalg.svd(upper @ lower.T)
    kept = len(sizes) if rank is None else min(rank, len(sizes))
    return MergedLayer(right[:kept] @ of_a.T, of_b @ left[:, :kept] * sizes[:kept], wanted)


def _thinned(updates: Sequence[torch.Tensor], numbers: MergeSettings) -> torch.Tensor:
    import torch
    from peft.utils.merge_utils import dare_linear, ties

    ones = torch.ones(len(updates), dtype=torch.float64)  # the weights are in the updates, and so in the vote on signs
    made: torch.Tensor = (ties if numbers.how == "ties" else dare_linear)(list(updates), ones, numbers.kept)
    return made


def _needed(sizes: torch.Tensor) -> int:
    """How many singular values it takes to lose no more than a little."""
    tails = sizes.square().flip(0).cumsum(0).flip(0)  # what is lost with each and all after it
    return max(int((tails > SMALL_LOSS**2 * tails[0]).sum()), 1)
