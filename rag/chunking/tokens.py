"""Where the tokens of a text lie, so that lengths are arithmetic: `tokenise(text, embedder.token_spans)`."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

TokenSpans = Callable[[Sequence[str]], list[list[tuple[int, int]]]]

# A tokenizer may count a long unbroken run (base64, a 5 MB line) as one unknown token; no language comes near this.
MAX_CHARS_PER_TOKEN = 16

# Up to a hundred words, with the white space before each, as byte-level tokenizers want it. An unbroken run is cut, or
# some would be quadratic.
_PIECE = re.compile(r"\s*\S{1,1000}(?:\s+\S{1,1000}){0,99}")


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a text by their offsets in characters; `starts` and `ends` ascend.

    The length of a slice is the number of tokens that overlap it, or one for each MAX_CHARS_PER_TOKEN characters if
    that is more.
    """

    starts: Sequence[int]
    ends: Sequence[int]

    def count(self, start: int, end: int) -> int:
        """Length of the slice in tokens."""
        overlapping = bisect_left(self.starts, end) - bisect_right(self.ends, start)
        return max(overlapping, (end - start) // MAX_CHARS_PER_TOKEN)

    def reach(self, start: int, limit: int) -> int:
        """The farthest end of a slice from `start` that has at most `limit` tokens; may lie behind the text."""
        farthest = start + limit * MAX_CHARS_PER_TOKEN + MAX_CHARS_PER_TOKEN - 1
        beyond = bisect_right(self.ends, start) + limit
        return min(self.starts[beyond], farthest) if beyond < len(self.starts) else farthest

    def reach_back(self, end: int, limit: int) -> int:
        """The earliest start of a slice up to `end` that has at most `limit` tokens."""
        earliest = max(0, end - limit * MAX_CHARS_PER_TOKEN - MAX_CHARS_PER_TOKEN + 1)
        before = bisect_left(self.starts, end) - limit - 1
        return max(self.ends[before], earliest) if before >= 0 else earliest


def tokenise(text: str, token_spans: TokenSpans) -> Tokens:
    """The tokens of the text.

    Tokenizers do not look beyond the white space around a word, so the pieces' tokens are those of the whole text
    (measured: WordPiece and byte-level BPE alike, Unigram counts more in runs of spaces).
    """
    pieces = _PIECE.findall(text.rstrip())
    starts, ends, offset = [], [], 0
    for piece, spans in zip(pieces, token_spans(pieces), strict=True):
        starts += [offset + start for start, _ in spans]
        ends += [offset + end for _, end in spans]
        offset += len(piece)
    # A normalising tokenizer may report a token a little before its predecessor; bisection needs them in order.
    return Tokens(list(accumulate(starts, max)), list(accumulate(ends, max)))
