"""A text's words for comparing an answer with a passage, in any script: `terms("The desk opens at nine.")`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

# Combining marks are part of a word (Devanagari, Tamil, Arabic vowels), though not `\w`.
_MARKS = (
    r"\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1-\u05c7\u0610-\u061a"
    r"\u064b-\u065f\u0670\u06d6-\u06dc\u0900-\u0963\u0966-\u0dff"
)
# Scripts that put no blanks between words (Thai, Lao, Burmese, Khmer, kana, Han), or particles on them (Hangul).
_DENSE = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uac00-\ud7a3\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{_DENSE}]+|(?:(?![{_DENSE}])[\w{_MARKS}])+")
_IS_DENSE = re.compile(rf"[{_DENSE}]")
_IS_ALPHABETIC = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")
_FUNCTION_WORDS = frozenset((
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "from", "has", "have", "in",
    "is", "it", "its", "of", "on", "or", "that", "the", "this", "to", "was", "were", "will", "with",
))  # fmt: skip


def terms(text: str) -> frozenset[str]:
    """The text's words in one form. Scripts without blanks between words give runs of characters instead: of one and
    two in Chinese, Japanese and Korean, of three in alphabets.
    """
    found: set[str] = set()
    for word in _WORD.findall(unicodedata.normalize("NFKC", text).casefold()):
        if not _IS_DENSE.match(word):
            found.add(word)
        elif _IS_ALPHABETIC.match(word):
            found.update(word[i : i + 3] for i in range(max(1, len(word) - 2)))
        else:
            found.update(word)
            found.update(word[i : i + 2] for i in range(len(word) - 1))
    return frozenset(found)


def without_function_words(words: frozenset[str], others: Iterable[frozenset[str]]) -> frozenset[str]:
    """The words less the English function words, if one of the `others` is English: "or" is gold in French."""
    return words - _FUNCTION_WORDS if any("the" in other for other in others) else words


def weight(words: Iterable[str]) -> int:
    """How much words tell: a point a letter, up to four a word. The function words of most languages are short."""
    return sum(min(len(word), 4) for word in words)
