"""A text as the words that BM25 counts: `words_of("Rung bells")` gives rung, bells, ~rung, ~bell.

Case is folded. Each word counts as it is spelled and, marked, without its English ending: what is spelled alike weighs
more than what only has the stem in common. Scripts that put no spaces between words (Chinese, Japanese, Thai, ...) are
counted by pairs of neighbouring signs. No word is left out as too common: BM25 gives it little weight, and a question
of nothing but common words still finds something. docs/adr/0011 has the measurements.
"""

from __future__ import annotations

import re
from itertools import pairwise

# Python's \w knows letters, not the vowel signs and accents that follow them as characters of their own.
_MARKS = r"\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff"
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_RUN = re.compile(rf"[{_UNSPACED}\U00020000-\U0003ffff]+|(?:(?![{_UNSPACED}])[^\W_]|[{_MARKS}])+")
_IS_UNSPACED = re.compile(rf"[{_UNSPACED}\U00020000-\U0003ffff]")

# Longer runs are no words but data, of which the beginning is enough.
_MAX_WORD_CHARS = 64


def words_of(text: str) -> list[str]:
    """The words of a text as often as they stand there: all as they are spelled, then all without their endings."""
    spellings = spellings_of(text)
    return spellings + stems_of(spellings)


def spellings_of(text: str) -> list[str]:
    """The words of a text, case folded, with their endings."""
    words = []
    for run in _RUN.findall(text.casefold()):
        if not _IS_UNSPACED.match(run):
            words.append(run[:_MAX_WORD_CHARS])
        elif len(run) == 1:
            words.append(run)
        else:
            words.extend(map("".join, pairwise(run)))
    return words


def stems_of(spellings: list[str]) -> list[str]:
    """The words without their English endings (Porter's second stemmer), each marked as no spelling can be."""
    import Stemmer

    # A stemmer must not be used by two threads at once, and making one takes microseconds.
    return [f"~{stem}" for stem in Stemmer.Stemmer("english", 0).stemWords(spellings)]
