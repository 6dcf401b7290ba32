"""Texts that are nearly the same, found among many: MinHash proposes, the whole texts are compared.

alike = AlikeTexts(percent=90.0)
alike.add(0, "how do i top up my card")
alike.find("how do i top up the card")     # [(0, 91.3)]
"""

from __future__ import annotations

from datasketch import MinHash, MinHashLSH
from xxhash import xxh32_intdigest

# Characters in a row: words would make too few of a short message, and some scripts have no spaces.
_SHINGLE = 3
# Bands of rows of a signature: texts with a Jaccard index of 0.5 are compared with a probability of 87%, of 0.6 with
# 99%, of 0.1 with 0.3%. Of pairs that are 90% the same by their letters nearly all have more than 0.6.
_BANDS, _ROWS = 32, 4
_PERMUTATIONS = _BANDS * _ROWS


class AlikeTexts:
    """Texts under keys of the caller's, of which those most like another are found. The same calls find the same."""

    def __init__(self, percent: float) -> None:
        """Texts are alike from this normalised indel similarity on (rapidfuzz's `fuzz.ratio`)."""
        self._percent = percent
        self._lsh = MinHashLSH(num_perm=_PERMUTATIONS, params=(_BANDS, _ROWS))
        self._empty = MinHash(_PERMUTATIONS, hashfunc=xxh32_intdigest)
        self._texts: dict[int, str] = {}
        self._last: tuple[str, MinHash] | None = None

    def add(self, key: int, text: str) -> None:
        """Let the text be found under a key that was not there before."""
        self._lsh.insert(key, self._signature(text), check_duplication=False)
        self._texts[key] = text

    def find(self, text: str) -> list[tuple[int, float]]:
        """The keys of the texts that are alike, each with its similarity in percent, the most similar first and of
        equals the one with the smaller key.
        """
        from rapidfuzz import fuzz, process

        proposed = {key: self._texts[key] for key in sorted(self._lsh.query(self._signature(text)))}
        found = process.extract(text, proposed, scorer=fuzz.ratio, score_cutoff=self._percent, limit=None)
        return [(key, percent) for _, percent, key in found]

    def _signature(self, text: str) -> MinHash:
        """What is looked for is mostly added next."""
        if self._last is None or self._last[0] != text:
            ends = max(1, len(text) - _SHINGLE + 1)
            shingles = {text[start : start + _SHINGLE] for start in range(ends)}
            signature = self._empty.copy()  # makes no permutations anew
            signature.update_batch([shingle.encode("utf-8", "surrogatepass") for shingle in shingles])
            self._last = text, signature
        return self._last[1]
