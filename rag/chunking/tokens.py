"""Where the tokens of a text lie, so that lengths are arithmetic: `next(tokenise([text], embedder.token_spans))`."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

TokenSpans = Callable[[Sequence[str]], list[list[tuple[int, int]]]]

# A tokenizer may count a long unbroken run (base64, a 5 MB line) as one unknown token; no language comes near this.
MAX_CHARS_PER_TOKEN = 16

# With the white space before it, as byte-level tokenizers want it. An unbroken run is cut, or some would be quadratic.
_WORD = re.compile(r"\s*\S{1,1000}")
_MAX_KNOWN_WORDS = 500_000
_WORDS_TOGETHER = 100


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


def tokenise(texts: Iterable[str], token_spans: TokenSpans) -> Iterator[Tokens]:
    """The tokens of each text, in order; each distinct word goes through the tokenizer once.

    Tokenizers do not look beyond the white space around a word, so the tokens are those of the whole text (measured:
    WordPiece and byte-level BPE alike, Unigram counts more in runs of spaces).
    """
    known: dict[str, list[tuple[int, int]]] = {}
    for text in texts:
        words = _WORD.findall(text.rstrip())
        if len(known) > _MAX_KNOWN_WORDS:
            known.clear()
        known.update(_spans_of([word for word in dict.fromkeys(words) if word not in known], token_spans))
        starts, ends, offset = [], [], 0
        for word in words:
            for start, end in known[word]:
                starts.append(offset + start)
                ends.append(offset + end)
            offset += len(word)
        # A normalising tokenizer may report a token a little before its predecessor; bisection needs them in order.
        yield Tokens(list(accumulate(starts, max)), list(accumulate(ends, max)))


def _spans_of(words: Iterable[str], token_spans: TokenSpans) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Each word with its tokens. Words that begin with white space go to the tokenizer together, which is faster."""
    groups: list[list[str]] = []
    for word in words:
        if not groups or not word[0].isspace() or len(groups[-1]) == _WORDS_TOGETHER:
            groups.append([])
        groups[-1].append(word)
    for group, spans in zip(groups, token_spans(["".join(group) for group in groups]), strict=True):
        offset, first = 0, 0
        for word in group:
            behind = first
            while behind < len(spans) and spans[behind][0] < offset + len(word):
                behind += 1
            yield word, [(start - offset, end - offset) for start, end in spans[first:behind]]
            offset, first = offset + len(word), behind
