"""Texts that repeat another almost word for word: `near_duplicates(texts)` finds them."""

from __future__ import annotations

import math
import re
from array import array
from bisect import bisect_left, insort
from collections.abc import Sequence
from operator import itemgetter

# Words in a row. At a threshold of 0.9, one word in 60 may differ.
_SHINGLE_WORDS = 3
# A character of a script without spaces counts as a word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")

# Shingles are counted in so many buckets: a count says which is tried first, and need not be exact.
_BUCKETS = 1 << 18
# 0.9 * 10 is not 9 in every order of calculation.
_ROUNDING = 1e-9


def near_duplicates(texts: Sequence[str], *, threshold: float = 0.9) -> list[tuple[int, int, float]]:
    """The texts that repeat an earlier one, each as (its index, the index of that one, their similarity).

    Similarity is the Jaccard index of the texts' word triples, in [threshold, 1]; the threshold is in (0, 1]. A text is
    compared with the earlier ones that repeat nothing themselves, and appears once at most: with the most similar of
    them, the earliest if equal. So as many texts as there are rows can be left out. Exact: texts that are so alike
    share one of their rarest triples (Bayardo, Ma, Srikant: Scaling Up All Pairs Similarity Search, 2007; the bound on
    what follows it is PPJoin's, Xiao et al., 2008). Letters of one template share its frequent triples alone, so they
    are not compared.
    """
    counts = array("I", [0]) * _BUCKETS
    for text in texts:
        for shingle in _shingles(text):
            counts[hash(shingle) % _BUCKETS] += 1
    # By a shingle's hash, the texts with it among their rarest: (how many shingles, how many from this one on, index).
    # In order, so that most of the texts with a frequent one are not even looked at.
    holders: dict[int, list[tuple[int, int, int]]] = {}
    # Two texts that are so alike have at least this part of their shingles, added up, in common.
    share = threshold / (1 + threshold)
    found = []
    for index, text in enumerate(texts):
        shingles = _shingles(text)
        size = len(shingles)
        rarest = sorted(map(hash, shingles), key=lambda key: (counts[key % _BUCKETS], key))
        # A text that is alike lacks at most size * (1 - threshold) of them.
        rarest = rarest[: size - math.ceil(threshold * size - _ROUNDING) + 1]
        earlier = set()
        for place, key in enumerate(rarest):
            known = holders.get(key, [])
            # If this is the rarest that both have, they have no more in common than what follows it.
            longest = (size - place) / share - size + _ROUNDING
            for at in range(bisect_left(known, threshold * size - _ROUNDING, key=itemgetter(0)), len(known)):
                other_size, rest, other = known[at]
                if other_size > longest:
                    break
                if rest >= share * (size + other_size) - _ROUNDING:
                    earlier.add(other)
        best = max(((_jaccard(shingles, _shingles(texts[other])), -other) for other in earlier), default=(0.0, 0))
        if best[0] >= threshold:
            found.append((index, -best[1], best[0]))
            continue
        for place, key in enumerate(rarest):
            insort(holders.setdefault(key, []), (size, size - place, index))
    return found


def _jaccard(first: set[str], second: set[str]) -> float:
    return len(first & second) / len(first | second)


def _shingles(text: str) -> set[str]:
    """The word triples of the text without regard to case; a shorter text, or one without words, is one shingle."""
    words = _WORD.findall(text.casefold())
    if len(words) <= _SHINGLE_WORDS:
        return {" ".join(words or text.split())}
    return {" ".join(words[start : start + _SHINGLE_WORDS]) for start in range(len(words) - _SHINGLE_WORDS + 1)}
