"""What pruning or rounding cost: every arm of a compressed adapter beside the arm that asks with what it was before.

losses_of(scorecard, alpha=0.05)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from router.deciding.scorecard import Scorecard
from router.deciding.statistics import paired_difference

# Of what is not told here: the interval is the same with any margin.
_MARGIN = 0.05


@dataclass(frozen=True, slots=True)
class CompressionLoss:
    """`mean` is the arm's score minus that of the arm `before`, over `num_pairs` questions that both were scored on by
    `metric`, and lies from `low` to `high`. Without such an arm in the run `before` and the numbers are None.
    """

    adapter: str
    arm: str
    metric: str
    before: str | None = None
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    num_pairs: int = 0


def losses_of(scorecard: Scorecard, *, alpha: float) -> list[CompressionLoss]:
    """One for each arm whose adapter was compressed; the other arm has the same index, prompt and sampling. Intervals
    are at 1 - alpha, each for itself.
    """
    return list(_losses(scorecard, alpha))


def compressions(scorecard: Scorecard) -> dict[str, Mapping[str, Any]]:
    """What was counted of each compressed adapter of a run, by its full name."""
    trained = scorecard.provenance.get("adapters")
    facts = trained.items() if isinstance(trained, Mapping) else ()
    return {name: told for name, one in facts if (told := one.get("compression"))}


def _losses(scorecard: Scorecard, alpha: float) -> Iterator[CompressionLoss]:
    found, metric = compressions(scorecard), scorecard.primary
    arms = {scores.arm.fingerprint(): scores for scores in reversed(scorecard.arms)}
    for scores in scorecard.arms:
        adapter = scores.arm.adapter
        if adapter is None or adapter not in found:
            continue
        other = arms.get(replace(scores.arm, adapter=found[adapter]["before"] or None).fingerprint())
        pairs = scorecard.pairs(scores, other) if other is not None else None
        if other is None or pairs is None or not len(pairs.a):
            yield CompressionLoss(adapter, scores.arm.name, metric)
            continue
        lead = paired_difference(*pairs, margin=_MARGIN, alpha=alpha)
        yield CompressionLoss(
            adapter, scores.arm.name, metric, other.arm.name, lead.mean, lead.low, lead.high, lead.num_pairs
        )
