"""Ranges of a text that hold up to a number of tokens: `pack(text, tokens, (0, len(text)), 160, overlap=20)`."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rag.chunking.tokens import Tokens

Range = tuple[int, int]

_PARAGRAPH = re.compile(r"\n[^\S\n]*\n")
# Full stops before white space: Latin, Arabic, Urdu, Devanagari, Armenian, Ethiopic. In scripts without spaces a "。"
# ends a sentence anywhere, "!" and "?" (which full-width ones are folded to) where such a script goes on.
_END = r"""(?:[.!?؟۔।॥։።]["'”’»)\]]*(?=\s)|[。！？]["'”’」』）)]*|[!?]["'”’」』)]*(?=[\u3008-\u9fff]))"""
_SENTENCE = re.compile(_END)
_LAST_SPACE = re.compile(r"\s\S*\Z")
_SENTENCE_START = re.compile(rf"(?:{_END}|\n)\s*(?=\S)")
_WORD_START = re.compile(r"(?<=\s)(?=\S)")
_NOT_SPACE = re.compile(r"\S")


@dataclass(frozen=True, slots=True)
class Blocks:
    """What packing keeps to: `breaks` are offsets where a cut is best, `kept` ranges that are not to be cut.

    Both ascend; a kept range begins behind the beginning of the one before, and does not end before it.
    """

    breaks: Sequence[int] = ()
    kept: Sequence[Range] = ()

    def around(self, offset: int) -> Range | None:
        """The kept range that a cut at the offset would break."""
        index = bisect_left(self.kept, (offset, 0)) - 1
        return self.kept[index] if index >= 0 and self.kept[index][1] > offset else None


def pack(
    text: str, tokens: Tokens, within: Range, limit: int, *, overlap: int = 0, blocks: Blocks = Blocks()
) -> Iterator[Range]:
    """Ranges that cover all of `text` in `within` but white space between them, in order; none begins or ends with it.

    Each has at most `limit` tokens, and is cut at the best place that leaves it more than half full: the last break,
    else the last end of a paragraph, else of a line, a sentence or a word, else the limit itself. It begins with up to
    `overlap` tokens of the one before: whole sentences, or words if that one was cut between words. A single character
    of more than `limit` tokens is a range of its own.
    """
    start, end = _strip(text, *within)
    covered = start
    while start < end:
        reach = max(tokens.reach(start, limit), start + 1)
        if reach >= end:
            yield start, end
            return
        if reach > covered:
            # More than `overlap`, so that the next range begins behind this one's beginning.
            floor = max(covered, tokens.reach(start, max(limit // 2, overlap)))
            cut, is_sentence = _cut(text, min(floor, reach - 1), reach, blocks)
            cut = _outside(cut, covered, blocks, is_free=start == covered)
        else:
            cut = covered
        if cut <= covered:
            # The overlap leaves no room for what has to come whole.
            start = covered
            continue
        _, stop = _strip(text, start, cut)
        yield start, stop
        covered = _next_char(text, cut, end)
        start = _overlap_start(text, tokens, (start, stop), overlap, blocks, words=not is_sentence) or covered


def _cut(text: str, floor: int, reach: int, blocks: Blocks) -> tuple[int, bool]:
    """The best end in (floor, reach], and whether a sentence or more ends there."""
    breaks = blocks.breaks[bisect_right(blocks.breaks, floor) : bisect_right(blocks.breaks, reach)]
    if breaks:
        return breaks[-1], True
    ends = [match.start() for match in _PARAGRAPH.finditer(text, floor + 1, reach + 2) if match.start() <= reach]
    if ends:
        return ends[-1], True
    line_end = text.rfind("\n", floor + 1, reach + 1)
    if line_end >= 0:
        return line_end, True
    ends = [match.end() for match in _SENTENCE.finditer(text, floor, reach + 1) if floor < match.end() <= reach]
    if ends:
        return ends[-1], True
    space = _LAST_SPACE.search(text, floor + 1, reach + 1)
    return (space.start() if space else reach), False


def _outside(cut: int, covered: int, blocks: Blocks, *, is_free: bool) -> int:
    """The cut, moved to before the kept ranges that it would break.

    If that is not behind `covered`, the nearest that is, where the range is free of overlap; else `covered`.
    """
    while (block := blocks.around(cut)) is not None:
        if block[0] <= covered:
            return cut if is_free else covered
        cut = block[0]
    return cut


def _overlap_start(
    text: str, tokens: Tokens, packed: Range, overlap: int, blocks: Blocks, *, words: bool
) -> int | None:
    """Where the last `overlap` tokens of the packed range begin with a whole sentence or word; None if nowhere."""
    if not overlap:
        return None
    start, stop = packed
    earliest = max(start + 1, tokens.reach_back(stop, overlap))
    if words:
        found = [match.start() for match in _WORD_START.finditer(text, earliest, stop)]
        # For a script without spaces, or an unbroken run.
        found.append(_next_char(text, earliest, stop))
    else:
        found = [match.end() for match in _SENTENCE_START.finditer(text, start, stop)]
    return next((offset for offset in found if earliest <= offset < stop and not blocks.around(offset)), None)


def _strip(text: str, start: int, end: int) -> Range:
    """The range without white space at its ends; empty if there is nothing else."""
    start = _next_char(text, start, end)
    return start, start + len(text[start:end].rstrip())


def _next_char(text: str, start: int, end: int) -> int:
    """Offset of the first character from `start` on that is no white space, `end` if there is none."""
    match = _NOT_SPACE.search(text, start, end)
    return match.start() if match else end
