"""What is wrong with a row as something to learn from, by what can be seen in its words alone.

faults_of("How?", "As an AI language model, I cannot")   # ("the answer speaks as an AI model",)

Each is a sign and no proof: faults decide which of two rows is taken where one is enough, and throw none away.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_MOJIBAKE = re.compile("\ufffd|[\u00c3\u00c2][\u0080-\u00bf]|\u00e2\u20ac")
_MARKUP = re.compile(
    r"</?(?:p|br|div|span|li|ul|ol|td|tr|table|a|img|b|i|h[1-6])\b[^>]*>|&(?:nbsp|amp|lt|gt|quot|#\d+);"
)
_AS_MODEL = re.compile(r"\bas an? (?:ai|artificial intelligence|large language model|language model)\b", re.IGNORECASE)
# What a whole answer ends in: sentences, quotes, brackets, code.
_ENDS = tuple(".!?…:;\"'”’»)]}>`。！？」』）।؟")
_LONG_WORDS = 20
_REPEATED_WORDS = 4
_LEAST_DISTINCT = 0.5
_LEAST_LETTERS = 0.3
_FEW_CHARACTERS = 10


def faults_of(question: str, answer: str) -> tuple[str, ...]:
    """What is wrong with the row, a few words each."""
    checks: tuple[tuple[str, Callable[[], bool]], ...] = (
        ("letters that were decoded wrongly", lambda: bool(_MOJIBAKE.search(question + answer))),
        ("markup in the text", lambda: bool(_MARKUP.search(question + answer))),
        ("a question of hardly any letters", lambda: _lacks_letters(question)),
        ("the answer is the question again", lambda: _plain(question) == _plain(answer)),
        ("the answer speaks as an AI model", lambda: bool(_AS_MODEL.search(answer))),
        ("the answer repeats itself", lambda: _repeats_itself(answer)),
        ("the answer breaks off", lambda: _breaks_off(answer)),
    )
    return tuple(what for what, is_so in checks if is_so())


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _lacks_letters(text: str) -> bool:
    seen = [character for character in text if not character.isspace()]
    return len(seen) >= _FEW_CHARACTERS and sum(map(str.isalpha, seen)) < _LEAST_LETTERS * len(seen)


def _repeats_itself(text: str) -> bool:
    """Whether most runs of four words were there before."""
    words = text.casefold().split()
    runs = [tuple(words[i : i + _REPEATED_WORDS]) for i in range(len(words) - _REPEATED_WORDS + 1)]
    return len(words) >= _LONG_WORDS and len(set(runs)) < _LEAST_DISTINCT * len(runs)


def _breaks_off(text: str) -> bool:
    """Whether a text of some length ends in the middle of a line."""
    return len(text.split()) >= _LONG_WORDS and not text.rstrip().endswith(_ENDS)
