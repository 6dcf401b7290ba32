"""What is searched for the last message of a conversation: a follow-up question seldom names what it is about.

await retrieval_query(messages, "recent", engine, "org/base")
# "When does the loan desk open? And on Sundays? And on Sundays?"

`last` searches the last message as it is. `recent` adds what the exchange before it names, if the message leans on
that. `model` has the engine say it in full. A conversation's first question is searched as it is in any case.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Literal

from router.answering.engine import Engine, EngineRequest
from router.answering.prompts import Message, ask_rewrite
from router.answering.terms import terms, weight
from router.errors import EngineRejected, EngineUnavailable, RouterError

Condense = Literal["last", "recent", "model"]

# A rewritten question is about as long as the question. Greedy, so that a repeated conversation searches the same.
_REWRITE_OPTIONS = {"temperature": 0.0, "max_tokens": 64, "seed": 0}
_REWRITE_CHARS = 600
_BEFORE_CHARS = 400
_MAX_NAMES = 12
_SHORT_ANSWER_WORDS = 6
# A question of so little weight names next to nothing ("Why?", "Which floor?", "いつ?").
_BARE_WEIGHT = 8

# Words that stand for what was said before.
_LEANING = re.compile(
    r"\b(?:it|its|itself|he|him|his|she|her|hers|they|them|their|theirs|this|these|those|there|one|ones|same|such|former|"
    r"latter|else|another|above|mentioned)\b"
    r"|\b(?:is|was|do|does|did|of|about|like|than|after|before|by|for|with|at|in|on|to|from|how|why) that\b"
    r"|\bthat\s*(?:[?.!,]|$)",
    re.IGNORECASE,
)
_CONTINUING = re.compile(r"\s*(?:and|but|so|or|then|also|what about|how about|what if|why not)\b", re.IGNORECASE)
# A word, and what stands before it: a blank within a sentence, or something else.
_WORD = re.compile(r"(?P<inside>(?<=[^.!?:。\s][ \t]))?(?P<word>\w+(?:['’-]\w+)*)")
_BLANKS = re.compile(r"\s+")
_POLITE = re.compile(
    r"\s*(?:(?:hi|hello|hey|thanks|thank you|ok|okay)(?: there)?\s*[,.!]+\s*|please\b[\s,]*"
    r"|(?:can|could|would|will) you (?:please )?(?:tell|show|explain|find|give)(?: (?:me|us|to me|to us))?\b[\s,:]*"
    r"|(?:i|we) (?:want|need|would like|'d like|wish) to (?:know|find out|learn|see)\b[\s,:]*"
    r"|(?:tell|show|give) (?:me|us)\b[\s,:]*|do you know\b[\s,:]*)+",
    re.IGNORECASE,
)


async def retrieval_query(messages: Sequence[Message], mode: Condense, engine: Engine, model: str) -> str:
    """The text to search for the conversation's last user message; `model` is the engine's name for the one to ask.

    Raises RouterError when no message is the user's. An engine that is away, refuses or rambles is not waited for: the
    last message is searched then.
    """
    said = [(str(message["role"]), str(message["content"])) for message in messages]
    last = next((i for i in range(len(said) - 1, -1, -1) if said[i][0] == "user"), None)
    if last is None:
        raise RouterError("messages hold no user message; add one with the question")
    question = said[last][1]
    before = [(role, text) for role, text in said[:last] if role in ("user", "assistant") and text.strip()]
    if mode == "last" or not question.strip() or not any(role == "user" for role, _ in before):
        return question
    return _with_recent(question, before) if mode == "recent" else await _rewritten(question, before, engine, model)


def rewrite_query(query: str) -> str:
    """A search text without greetings and phrases of asking, blanks joined; the text itself if nothing is left."""
    joined = _BLANKS.sub(" ", query).strip()
    polite = _POLITE.match(joined)
    return (joined[polite.end() :].strip() or joined) if polite else joined


def _with_recent(question: str, before: Sequence[tuple[str, str]]) -> str:
    """The question; if it leans on the last exchange, then with what that names before it, or else that whole question.

    It stands twice, so that it goes on to weigh more than what it leans on.
    """
    if not _leans(question):
        return question
    asked = next(text for role, text in reversed(before) if role == "user")
    answer = before[-1][1] if before[-1][0] == "assistant" else ""
    named = [name for name in _names(asked, answer) if name not in question]
    return _BLANKS.sub(" ", " ".join([*(named or [asked[-_BEFORE_CHARS:]]), question, question])).strip()


def _leans(question: str) -> bool:
    return bool(_LEANING.search(question) or _CONTINUING.match(question)) or weight(terms(question)) <= _BARE_WEIGHT


def _names(asked: str, answer: str) -> list[str]:
    """Names, numbers and codes: runs of words with a capital or a digit, where that is not for opening a sentence."""
    # An answer is often nothing but a name; a question opens with "Who".
    is_short = len(answer.split()) <= _SHORT_ANSWER_WORDS
    found = [*_named(asked, is_opening_named=False), *_named(answer, is_opening_named=is_short)]
    return list(dict.fromkeys(found))[:_MAX_NAMES]


def _named(text: str, *, is_opening_named: bool) -> list[str]:
    runs: list[str] = []
    run_end = -1
    for match in _WORD.finditer(text):
        word = match["word"]
        is_inside = match["inside"] is not None or is_opening_named
        if any(map(str.isdigit, word)) or (is_inside and word[0].isupper()):
            if text[run_end : match.start()] == " " and runs:
                runs[-1] += f" {word}"
            else:
                runs.append(word)
            run_end = match.end()
    return runs


async def _rewritten(question: str, before: Sequence[tuple[str, str]], engine: Engine, model: str) -> str:
    request = EngineRequest(model=model, messages=ask_rewrite(question, before), options=_REWRITE_OPTIONS)
    try:
        completion = await engine.complete(request)
    except (EngineUnavailable, EngineRejected) as error:
        logging.getLogger(__name__).warning("no rewritten question, searching the message itself: %s", error)
        return question
    text = (completion.choices[0].message.content or "") if completion.choices else ""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "").strip('"“”')
    return line if 0 < len(line) <= max(_REWRITE_CHARS, 2 * len(question)) else question
