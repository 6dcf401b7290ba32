"""Where another arm would serve better: the questions cut by kind, collection, length and metadata.

table = find_slices(scorecard, questions, chosen="hybrid", policy=policy)
[(found.name, found.value, found.prefers) for found in table.slices if found.prefers]
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from eval.questions import Question
from router.deciding.evidence import anytime_difference
from router.deciding.policy import Policy
from router.deciding.scorecard import Pairs, Scorecard
from router.deciding.statistics import Interval, holm, paired_difference

# Eight independent questions that all go one way have an exact p of 0.008; fewer cannot survive the correction.
MIN_QUESTIONS = 8
MAX_SLICES = 24
MAX_VALUES = 12
_TERCILES, _QUARTILES = 3, 4
_NUMBERED = re.compile(r"[-_.:#@ ]*\d+$")


class Cut(NamedTuple):
    """The positions of the questions that have `value` for `name`."""

    name: str
    value: str
    members: tuple[int, ...]


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
    """The slices of a comparison, those that prefer another arm first; `num_comparisons` arms of slices were corrected
    for. `num_left_out` counts the slices that were large enough and not looked at, for the sake of the others' power.
    """

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
    max_slices: int = MAX_SLICES,
) -> SliceTable:
    """The slices with at least `MIN_QUESTIONS` questions, and in each the best other arm against the chosen one.

    `excluded` arms may not be preferred. In a slice the rival's p-value is multiplied by the number of arms that it was
    picked from (Bonferroni), and Holm's correction goes over all slices. After a race the p-values and bounds are
    anytime-valid, since the race decided by these scores when to stop asking. Raises RouterError for an unknown arm.
    """
    asked = {question.id: question for question in questions}
    cuts = cut_questions([asked[name] for name in scorecard.question_ids], MIN_QUESTIONS)
    shown = cuts[:max_slices]
    parts = [scorecard.part(cut.members) for cut in shown]
    others = [s.arm.name for s in scorecard.arms if s.arm.name != chosen and s.arm.name not in excluded]
    shared = [{name: part.pairs(part.by_name(name), part.by_name(chosen)) for name in others} for part in parts]
    rivals = [{name: pairs for name, pairs in some.items() if len(pairs.a) >= MIN_QUESTIONS} for some in shared]
    num_comparisons = sum(len(some) for some in rivals)
    alpha = policy.alpha / max(num_comparisons, 1)
    duels = [_duel(scorecard, some, margin=policy.margin, alpha=alpha) if some else None for some in rivals]
    corrected = iter(holm([p_value for _, _, p_value in filter(None, duels)]))
    slices = []
    for cut, part, some, duel in zip(shown, parts, rivals, duels, strict=True):
        means = {s.arm.name: part.interval(s, part.primary, alpha=policy.alpha) for s in part.arms}
        found = Slice(cut.name, cut.value, len(cut.members), means)
        if duel is not None:
            (rival, bounds, _), p_holm = duel, next(corrected)
            prefers = rival if p_holm < policy.alpha and bounds.mean > 0 else None
            num_pairs = len(some[rival].a)
            found = replace(found, rival=rival, num_pairs=num_pairs, difference=bounds, p_holm=p_holm, prefers=prefers)
        slices.append(found)
    slices.sort(key=lambda one: one.prefers is None)
    return SliceTable(tuple(slices), num_comparisons, len(cuts) - len(shown))


def cut_questions(questions: Sequence[Question], min_questions: int = 1) -> tuple[Cut, ...]:
    """The cuts with at least `min_questions` questions: by kind, collection and length, then by every metadata key.

    A number with more than 12 different values is cut at its quartiles, anything else with 2 to 12 values by value.
    Kinds and collections may have more values; the 12 most frequent are kept. A cut that holds all questions, or the
    same ones as an earlier cut, is left out.
    """
    found = [
        *_by_value("kind", [_as_value(question.metadata.get("kind")) for question in questions]),
        *_by_value("collection", [collection_of(question) for question in questions]),
        *_by_quantile("length in words", [len(question.text.split()) for question in questions], _TERCILES),
    ]
    keys = dict.fromkeys(key for question in questions for key in question.metadata)
    for key in (key for key in keys if key not in ("kind", "collection")):
        found += _by_key(key, [question.metadata.get(key) for question in questions])
    firsts: dict[tuple[int, ...], Cut] = {}
    for cut in found:
        if min_questions <= len(cut.members) < len(questions):
            firsts.setdefault(cut.members, cut)
    return tuple(firsts.values())


def collection_of(question: Question) -> str | None:
    """Where the question's answer lies: its own metadata `collection`, else the collection of its first gold document.

    That is the folder in the document's id (`loans/fees` -> `loans`), else the id without the number at its end
    (`guide-012` -> `guide`). None when nothing is known.
    """
    named = _as_value(question.metadata.get("collection"))
    if named is not None or not question.document_ids:
        return named
    document = question.document_ids[0]
    folder, slash, _ = document.rpartition("/")
    return folder if slash else _NUMBERED.sub("", document) or None


def _by_key(key: str, values: Sequence[object]) -> list[Cut]:
    numbers = [_as_number(value) for value in values]
    texts = [_as_value(value) for value in values]
    if len(set(texts) - {None}) <= MAX_VALUES:
        return _by_value(key, texts)
    is_numeric = all(number is not None or text is None for number, text in zip(numbers, texts, strict=True))
    return _by_quantile(key, numbers, _QUARTILES) if is_numeric else []


def _by_value(name: str, values: Sequence[str | None]) -> list[Cut]:
    """The most frequent values first; empty for a single value."""
    counts = Counter(value for value in values if value is not None)
    if len(counts) < 2:
        return []
    frequent = sorted(counts, key=lambda value: (-counts[value], value))[:MAX_VALUES]
    return [Cut(name, value, tuple(i for i, v in enumerate(values) if v == value)) for value in frequent]


def _by_quantile(name: str, values: Sequence[float | None], parts: int) -> list[Cut]:
    """Parts of about equal size, from low to high; equal values stay together, so there may be fewer parts."""
    known = [value for value in values if value is not None]
    if len(set(known)) < parts:
        return []
    shares = np.arange(1, parts + 1) / parts
    highs = sorted({float(high) for high in np.quantile(known, shares, method="inverted_cdf")})
    cuts = []
    for low, high in pairwise([-math.inf, *highs]):
        inside = {i: v for i, v in enumerate(values) if v is not None and low < v <= high}
        ends = dict.fromkeys((_shown(min(inside.values())), _shown(max(inside.values()))))
        cuts.append(Cut(name, " to ".join(ends), tuple(inside)))
    return cuts


def _as_number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def _as_value(value: object) -> str | None:
    """A metadata value as one category; lists, objects and blanks are none."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    number = _as_number(value)
    if number is not None:
        return _shown(number)
    return value.strip() or None if isinstance(value, str) else None


def _shown(number: float) -> str:
    return f"{int(number):,}" if float(number).is_integer() else f"{number:.4g}"


def _duel(
    scorecard: Scorecard, rivals: Mapping[str, Pairs], *, margin: float, alpha: float
) -> tuple[str, Interval, float]:
    """The best rival, its lead over the chosen arm with bounds of level 1 - alpha, and the p-value, corrected for
    having been picked.
    """
    best = max(rivals, key=lambda name: (sum(rivals[name][0]) - sum(rivals[name][1])) / len(rivals[name][0]))
    a, b, clusters = rivals[best]
    if scorecard.race is None:
        found = paired_difference(a, b, clusters, margin=margin, alpha=alpha)
    else:
        anytime = anytime_difference(a, b, clusters, margin=margin, alpha=alpha)
        assert anytime is not None  # there are pairs
        found = anytime
    return best, Interval(found.mean, found.low, found.high), min(1.0, found.p_value * len(rivals))
