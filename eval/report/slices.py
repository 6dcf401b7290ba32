"""Where another arm would serve better: the questions cut by kind, collection, length and metadata.

table = find_slices(scorecard, questions, chosen="hybrid", policy=policy)
[(found.name, found.value, found.prefers) for found in table.slices if found.prefers]
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eval.errors import EvalError
from eval.questions import Question
from eval.report.cuts import cut_questions
from router.deciding.evidence import anytime_difference
from router.deciding.policy import Policy
from router.deciding.scorecard import Pairs, Scorecard
from router.deciding.statistics import Difference, Floats, Interval, by_cluster, holm, paired_difference

# Eight independent questions that all go one way have an exact p of 0.008; fewer cannot survive the correction.
MIN_QUESTIONS = 8
MAX_SLICES = 24


@dataclass(frozen=True, slots=True)
class Slice:
    """Some of the questions: those with `value` for `name`, for example the kind "fact".

    `means` is the primary metric of every arm here, None where nothing is scored. `rival` is the best other arm, on the
    `num_pairs` questions scored for it and the chosen arm; `difference` is its mean minus the chosen arm's. Bounds and
    `p_holm` hold for all arms of all slices at once. `prefers` names the rival where it is significantly better.
    """

    name: str
    value: str
    num_questions: int
    means: Mapping[str, Interval | None]
    rival: str | None = None
    num_pairs: int = 0
    difference: Interval | None = None
    p_holm: float | None = None
    prefers: str | None = None


@dataclass(frozen=True, slots=True)
class SliceTable:
    """All slices of a comparison; `num_comparisons` arms of slices were corrected for, at error rate `alpha`.

    `num_left_out` counts the slices that were large enough and not looked at, for the sake of the others' power.
    """

    chosen: str
    alpha: float
    slices: tuple[Slice, ...]
    num_comparisons: int
    num_left_out: int


def find_slices(
    scorecard: Scorecard,
    questions: Sequence[Question],
    *,
    chosen: str,
    policy: Policy,
    excluded: Collection[str] = (),
    min_questions: int = MIN_QUESTIONS,
    max_slices: int = MAX_SLICES,
) -> SliceTable:
    """The slices with at least `min_questions` questions, and in each the best other arm against the chosen one.

    `excluded` arms may not be preferred. In a slice the rival's p-value is multiplied by the number of arms that it was
    picked from (Bonferroni), and Holm's correction goes over all slices. After a race the p-values and bounds are
    anytime-valid, since the race decided by these scores when to stop asking. Raises EvalError for an unknown arm.
    """
    if chosen not in {scores.arm.name for scores in scorecard.arms}:
        raise EvalError(f"no arm {chosen!r} to compare slices with; choose one of the scorecard's")
    asked = {question.id: question for question in questions}
    cuts = cut_questions([asked[name] for name in scorecard.question_ids], min_questions)
    shown = cuts[:max_slices]
    parts = [scorecard.part(cut.members) for cut in shown]
    others = [s.arm.name for s in scorecard.arms if s.arm.name != chosen and s.arm.name not in excluded]
    shared = [{name: part.pairs(part.by_name(name), part.by_name(chosen)) for name in others} for part in parts]
    rivals = [{name: pairs for name, pairs in some.items() if len(pairs.a) >= min_questions} for some in shared]
    num_comparisons = sum(len(some) for some in rivals)
    alpha = policy.alpha / max(num_comparisons, 1)
    duels = [_duel(scorecard, some, margin=policy.margin, alpha=alpha) for some in rivals]
    corrected = iter(holm([duel[1] for duel in duels if duel is not None]))
    slices = []
    for cut, part, duel in zip(shown, parts, duels, strict=True):
        means = {s.arm.name: part.interval(s, part.primary, alpha=policy.alpha) for s in part.arms}
        found = Slice(cut.name, cut.value, len(cut.members), means)
        if duel is not None:
            (rival, num_pairs, bounds), p_holm = duel[0], next(corrected)
            prefers = rival if p_holm < policy.alpha and bounds.mean > 0 else None
            found = replace(found, rival=rival, num_pairs=num_pairs, difference=bounds, p_holm=p_holm, prefers=prefers)
        slices.append(found)
    return SliceTable(chosen, policy.alpha, tuple(slices), num_comparisons, len(cuts) - len(shown))


def _duel(
    scorecard: Scorecard, rivals: Mapping[str, Pairs], *, margin: float, alpha: float
) -> tuple[tuple[str, int, Interval], float] | None:
    """The best rival, its questions, and its lead over the chosen arm with bounds of level 1 - alpha; None without any.

    Beside them stands the p-value, corrected for having been picked.
    """
    if not rivals:
        return None
    best = max(rivals, key=lambda name: (sum(rivals[name][0]) - sum(rivals[name][1])) / len(rivals[name][0]))
    a, b, clusters = rivals[best]
    if scorecard.race is None:
        found = paired_difference(a, b, clusters, margin=margin)
        sums, _ = by_cluster([x - y for x, y in zip(a, b, strict=True)], clusters)
        bounds, p_value = _bounds(found, len(sums), alpha=alpha), found.p_value
        if found.test == "sign-flip permutation":
            p_value = min(p_value, _sign_flip_bound(sums))
    else:
        anytime = anytime_difference(a, b, clusters, margin=margin, alpha=alpha)
        assert anytime is not None  # there are pairs
        bounds, p_value = Interval(anytime.mean, anytime.low, anytime.high), anytime.p_value
    return (best, len(a), bounds), min(1.0, p_value * len(rivals))


def _sign_flip_bound(sums: Floats) -> float:
    """An upper bound of the exact p-value of the sign-flip test (Hoeffding 1963, theorem 2).

    The test itself samples 4,000 flips, so it cannot show the small p-values that survive many comparisons.
    """
    total, squares = float(sums.sum()), float((sums**2).sum())
    return min(1.0, 2 * math.exp(-(total**2) / (2 * squares))) if squares else 1.0


def _bounds(found: Difference, num_clusters: int, *, alpha: float) -> Interval:
    """Bounds of level 1 - alpha from the clustered standard error and Student's t.

    A bootstrap of 4,000 resamples has no quantiles this far out. Two made-up questions keep the spread from vanishing
    where all questions agree: Agresti and Min's interval (2005) for matched proportions, here for any score in [0, 1].
    """
    if found.sd is None:
        return Interval(found.mean, -1.0, 1.0)
    from scipy.stats import t

    num = found.num_pairs
    mean = found.mean * num / (num + 2)
    variance = (num * (found.sd**2 + found.mean**2) + 1) / (num + 2) - mean**2
    reach = float(t.isf(alpha / 2, df=num_clusters - 1)) * math.sqrt(variance / (num + 2))
    return Interval(
        found.mean,
        low=float(np.clip(mean - reach, -1.0, found.mean)),
        high=float(np.clip(mean + reach, found.mean, 1.0)),
    )
