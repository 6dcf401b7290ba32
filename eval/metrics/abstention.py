"""Abstaining: which answers say that they have no answer, which questions have none, and whether the two go together.

is_abstention("I don't know.")  # True
ABSTENTION_SCORER.score(pairs)  # {"abstention": [1.0, ...], "abstained": [0.0, ...]}
"""

from __future__ import annotations

import re

from eval.answers import AnswerRecord
from eval.metrics.text import best_over, exact_match, normalise
from eval.questions import Question
from eval.scorer import Scorer

# Golds that say that a question has no answer. "unknown" or "none" may well be a label or the true answer.
_NO_ANSWER = frozenset({"unanswerable", "not answerable", "no answer", "noanswer", "no answer possible"})
# A whole answer that abstains. All words here are in the form that `normalise` gives: no punctuation, no articles.
_WHOLE = _NO_ANSWER | {"unknown", "not known", "na", "not available", "not sure", "no idea", "idk", "dunno"}
# Words that make an answer abstain wherever they stand. "Lunch is not provided" is an answer, so what is said to be
# missing must be missing from a source.
_SOURCE = r"(?:given |provided )?(?:context|text|passages?|documents?|sources?|information)(?: provided| given)?"
_WITHIN = re.compile(
    r"\b(?:"
    r"unanswerable"
    r"|i (?:do not|dont) know"
    r"|(?:i am|im) not sure"
    r"|(?:can not|cannot|cant|could not|couldnt|unable to) (?:be )?(?:answer(?:ed)?|say|tell|determined?)"
    r"|i (?:can not|cannot|cant|could not|couldnt) find"
    rf"|not (?:\w+ )?(?:in|by|from) {_SOURCE}"
    rf"|{_SOURCE} (?:does not|doesnt|do not|dont) "
    r"(?:say|mention|state|specify|tell|give|provide|contain|include|answer)"
    r"|(?:not enough|insufficient) information"
    r"|no information (?:about|on|in|is|was|given|provided|available)"
    r")\b"
)


def is_abstention(text: str) -> bool:
    """Whether an answer says, in English, that it has no answer; an empty one does.

    By a short list of phrases, which reads an answer that hedges ("The text does not say, but ...") as abstaining too.
    """
    words = normalise(text.replace("\u2019", "'"))
    return not words or words in _WHOLE or _WITHIN.search(words) is not None


def is_unanswerable(question: Question) -> bool:
    """Whether a question is marked as one without an answer.

    `metadata["unanswerable"]` decides where it is true or false; else all golds must say so ("unanswerable", "no
    answer"), as in SQuAD 2.0's rows.
    """
    marked = question.metadata.get("unanswerable")
    if isinstance(marked, bool):
        return marked
    return all(normalise(gold) in _NO_ANSWER for gold in question.answers)


def abstains(text: str, question: Question) -> bool:
    """As `is_abstention`; but an answer that is accepted abstains only if the question has none, whatever it says."""
    if best_over(exact_match, text, question.answers) == 1.0:
        return is_unanswerable(question)
    return is_abstention(text)


def _score(question: Question, record: AnswerRecord) -> tuple[float, float]:
    has_abstained = abstains(record.text, question)
    return float(has_abstained == is_unanswerable(question)), float(has_abstained)


# `abstention`: 1.0 when the answer abstains and the question has no answer, or neither, else 0.0; on questions without
# an answer this is SQuAD 2.0's score of them (Rajpurkar et al. 2018). `abstained`: 1.0 when the answer abstains; a
# description, neither good nor bad. Both are defined on every question; an answer that failed did not abstain.
ABSTENTION_SCORER = Scorer(("abstention", "abstained"), _score, when_failed=(0.0, 0.0))
