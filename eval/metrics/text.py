"""Deterministic scores of an answer against its gold answers.

TEXT_SCORER.score([(question, record)])  # {"exact_match": [1.0], "token_f1": [1.0], ...}
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

from eval.scorer import Scorer

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WORD = re.compile(r"[^\W_]+")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact_match(answer: str, gold: str) -> float:
    """1.0 when the two are the same after SQuAD normalisation, else 0.0 (Rajpurkar et al. 2016, section 6.1)."""
    return float(normalise(answer) == normalise(gold))


def token_f1(answer: str, gold: str) -> float:
    """Harmonic mean of token precision and recall after SQuAD normalisation (Rajpurkar et al. 2016, section 6.1)."""
    said, wanted = normalise(answer).split(), normalise(gold).split()
    common = sum((Counter(said) & Counter(wanted)).values())
    return 2 * common / (len(said) + len(wanted)) if common else 0.0


def contains(answer: str, gold: str) -> float:
    """1.0 when the normalised gold answer stands in the normalised answer as whole words, else 0.0."""
    return float(f" {normalise(gold)} " in f" {normalise(answer)} ")


def rouge(measure: str, answer: str, gold: str) -> float:
    """The F-measure of one of the rouge-score package's measures, without stemming, over `words`."""
    return float(_rouge_scorer(measure).score(gold, answer)[measure].fmeasure)


def rouge_l(answer: str, gold: str) -> float:
    """ROUGE-L's F-measure: the longest common subsequence of words over both lengths (Lin 2004, section 3.1, beta 1).

    By bits, in memory that grows with one text: rouge-score's own table of both holds gigabytes for long ones.
    """
    from rapidfuzz.distance import LCSseq

    said, wanted = words(answer), words(gold)
    return 2 * LCSseq.similarity(said, wanted) / (len(said) + len(wanted)) if said and wanted else 0.0


METRICS: Mapping[str, Callable[[str, str], float]] = {
    "exact_match": exact_match,
    "token_f1": token_f1,
    "contains": contains,
    "rouge_l": rouge_l,
}


# The metrics of `METRICS`: pure functions of the answer's text and the gold answers, the best over the golds.
TEXT_SCORER = Scorer(
    tuple(METRICS),
    lambda question, record: [best_over(metric, record.text, question.answers) for metric in METRICS.values()],
)


def best_over(metric: Callable[[str, str], float], answer: str, golds: Sequence[str]) -> float:
    """The best score of one answer over all accepted gold answers."""
    return max(metric(answer, gold) for gold in golds)


def normalise(text: str) -> str:
    """SQuAD v1.1's normalisation: lower case, ASCII punctuation out, articles out, single spaces.

    Where that leaves nothing, as of the label "A" or the answer "+", the step that emptied the text is left out: no
    empty answer may match such a gold.
    """
    lowered = text.lower()
    bare = lowered.translate(_PUNCTUATION)
    for candidate in (_ARTICLES.sub(" ", bare), bare, lowered):
        words = candidate.split()
        if words:
            return " ".join(words)
    return ""


def split_words(text: str) -> list[str]:
    """Words of any script; a text without words in pieces between spaces."""
    return _WORD.findall(text) or text.split()


def words(text: str) -> list[str]:
    """The same in lower case."""
    return split_words(text.lower())


@cache
def _rouge_scorer(measure: str) -> Any:
    # Over `words`: its own tokenizer knows only a to z.
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([measure], tokenizer=SimpleNamespace(tokenize=words))
