"""Texts that repeat another almost word for word: `near_duplicates(numbers, texts)` finds them among many.

`drop_near_duplicates(texts)` takes them out of the few texts of a search result.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from rag.errors import RagError

# Words in a row. At a threshold of 0.9, one word in 60 may differ.
_SHINGLE_WORDS = 3
# A character of a script without spaces counts as a word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")

_PERMUTATIONS = 128
# How far the threshold of the hashes lies below that of the pairs: at 0.9, one pair in a thousand is then missed.
_MARGIN = 0.2


def near_duplicates(
    numbers: Sequence[int], texts: Sequence[str], *, threshold: float = 0.9
) -> list[tuple[int, int, float]]:
    """The texts that repeat an earlier one, each as (its number, the number of that one, their similarity).

    Similarity is the Jaccard index of the texts' word triples, in [threshold, 1]. A text is compared with the earlier
    ones that repeat nothing themselves, and appears once at most: with the most similar of them, the earliest if equal.
    So as many texts as there are rows can be left out. MinHash LSH (Leskovec, Rajaraman, Ullman: Mining of Massive
    Datasets, chapter 3) finds candidates, the exact index decides: a row is never wrong, one in a thousand is missed.
    Raises RagError if the threshold is not in (0, 1].
    """
    from datasketch import MinHash, MinHashLSH
    from xxhash import xxh32_intdigest

    if not 0 < threshold <= 1:
        raise RagError(f"threshold must be above 0 and at most 1, not {threshold!r}")
    candidates = MinHashLSH(threshold=max(threshold - _MARGIN, 0.05), num_perm=_PERMUTATIONS)
    originals: dict[str, int] = {}
    found = []
    sketches = MinHash.generator(
        ([shingle.encode() for shingle in _shingles(text)] for text in texts),
        num_perm=_PERMUTATIONS,
        hashfunc=xxh32_intdigest,
    )
    for index, (text, sketch) in enumerate(zip(texts, sketches, strict=True)):
        earlier = [originals[text]] if text in originals else candidates.query(sketch)
        best = max(((_jaccard(text, texts[other]), -other) for other in earlier), default=(0.0, 0))
        if best[0] >= threshold:
            found.append((numbers[index], numbers[-best[1]], best[0]))
        else:
            originals[text] = index
            candidates.insert(index, sketch, check_duplication=False)
    return found


def drop_near_duplicates(texts: Sequence[str], *, threshold: float = 0.9) -> list[int]:
    """Indexes of the texts without those that repeat an earlier one that is kept, in order; for some hundred at most.

    Similarity is that of `near_duplicates`, found without hashing.
    """
    kept: list[int] = []
    sizes: list[int] = []
    holders: dict[str, list[int]] = {}
    for index, text in enumerate(texts):
        shingles = _shingles(text)
        shared = Counter(holder for shingle in shingles for holder in holders.get(shingle, ()))
        if any(both / (sizes[holder] + len(shingles) - both) >= threshold for holder, both in shared.items()):
            continue
        for shingle in shingles:
            holders.setdefault(shingle, []).append(len(kept))
        kept.append(index)
        sizes.append(len(shingles))
    return kept


def _jaccard(first: str, second: str) -> float:
    if first == second:
        return 1.0
    a, b = _shingles(first), _shingles(second)
    return len(a & b) / len(a | b)


def _shingles(text: str) -> set[str]:
    """The word triples of the text without regard to case; a shorter text, or one without words, is one shingle."""
    words = _WORD.findall(text.casefold())
    if len(words) <= _SHINGLE_WORDS:
        return {" ".join(words or text.split())}
    return {" ".join(words[start : start + _SHINGLE_WORDS]) for start in range(len(words) - _SHINGLE_WORDS + 1)}
