"""Which way to search is shown better: `comparisons = compare(scores, clusters, measure="recall@5", default="dense")`.

Fusing two rankings helps on some collections and hurts on others, and a reranker may too, so each is held against what
it is made of, on the same questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from eval.retrieval.measures import Measure
from eval.retrieval.report import Comparison, SettingScores, Verdict
from router.deciding.statistics import holm, paired_difference

# Equivalence is not claimed here; the statistics ask for a margin all the same.
_MARGIN = 0.05


def compare(
    scores: Mapping[str, SettingScores],
    clusters: Sequence[str],
    *,
    measure: Measure,
    default: str,
    alpha: float = 0.05,
    seed: int = 0,
) -> tuple[Comparison, ...]:
    """Each fused setting against the better of its parts, each reranked one against itself without reranking, each
    other one against the default; the p-values are corrected over all of them.

    `clusters` names what each question is resampled by. The same questions choose the better part, which favours the
    part a little and never the fusion.
    """
    pairs = _pairs(scores, measure, default)
    differences = [
        paired_difference(
            scores[name].values[measure],
            scores[against].values[measure],
            clusters,
            margin=_MARGIN,
            alpha=alpha,
            seed=seed,
        )
        for name, against, _ in pairs
    ]
    corrected = holm([difference.p_value for difference in differences])
    return tuple(
        Comparison(name, against, reason, difference, p_value, _verdict(difference.mean, p_value, alpha))
        for (name, against, reason), difference, p_value in zip(pairs, differences, corrected, strict=True)
    )


def recommend(
    scores: Mapping[str, SettingScores], comparisons: Sequence[Comparison], *, measure: Measure, default: str
) -> str:
    """The default, unless a setting is shown to be better than it: then the best of those."""
    better = [c.setting for c in comparisons if c.against == default and c.verdict == "better"]
    better += [c.against for c in comparisons if c.setting == default and c.verdict == "worse"]
    return max(better, key=lambda name: scores[name].mean(measure), default=default)


def _pairs(scores: Mapping[str, SettingScores], measure: Measure, default: str) -> list[tuple[str, str, str]]:
    """(setting, against, reason), no two settings compared twice."""
    plain = {name: s for name, s in scores.items() if s.settings.reranker is None}
    parts = [name for name, s in plain.items() if s.settings.mode != "hybrid"]
    pairs: list[tuple[str, str, str]] = []
    for name, s in scores.items():
        if s.settings.reranker is not None:
            bare = replace(s.settings, reranker=None)
            without = next((other for other, o in plain.items() if o.settings == bare), None)
            if without is not None:
                pairs.append((name, without, "the same without reranking"))
        elif s.settings.mode == "hybrid" and {scores[part].settings.mode for part in parts} == {"dense", "bm25"}:
            best = max(parts, key=lambda part: scores[part].mean(measure))
            pairs.append((name, best, "the better of its parts"))
    known = {frozenset(pair[:2]) for pair in pairs}
    pairs += [
        (name, default, "the default") for name in scores if name != default and frozenset((name, default)) not in known
    ]
    return pairs


def _verdict(mean: float, p_value: float, alpha: float) -> Verdict:
    if p_value >= alpha or mean == 0:
        return "open"
    return "better" if mean > 0 else "worse"
