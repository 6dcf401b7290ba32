"""What is searched for the last message of a conversation: a follow-up question seldom names what it is about.

await retrieval_query(messages, "recent", engine, "org/base")
# "When does the loan desk open? And on Sundays? And on Sundays?"

`last` searches the last message as it is. `recent` puts the user's message before it in front, in any language. `model`
has the engine say it in full. A conversation's first question is searched as it is in any case.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Literal

from router.answering.engine import EngineRequest, HttpEngine
from router.answering.prompts import Message, ask_rewrite
from router.errors import EngineRejected, EngineUnavailable

Condense = Literal["last", "recent", "model"]

# A rewritten question is about as long as the question. Greedy, so that a repeated conversation searches the same.
_REWRITE_OPTIONS = {"temperature": 0.0, "max_tokens": 64, "seed": 0}
_REWRITE_CHARS = 600
_BEFORE_CHARS = 400
_BLANKS = re.compile(r"\s+")
_POLITE = re.compile(
    r"\s*(?:(?:hi|hello|hey|thanks|thank you|ok|okay)(?: there)?\s*[,.!]+\s*|please\b[\s,]*"
    r"|(?:can|could|would|will) you (?:please )?(?:tell|show|explain|find|give)(?: (?:me|us|to me|to us))?\b[\s,:]*"
    r"|(?:i|we) (?:want|need|would like|'d like|wish) to (?:know|find out|learn|see)\b[\s,:]*"
    r"|(?:tell|show|give) (?:me|us)\b[\s,:]*|do you know\b[\s,:]*)+",
    re.IGNORECASE,
)


async def retrieval_query(messages: Sequence[Message], mode: Condense, engine: HttpEngine, model: str) -> str:
    """The text to search for the conversation's last user message; `model` is the engine's name for the one to ask.

    An engine that is away, refuses or rambles is not waited for: the last message is searched then.
    """
    question, before = _turns(messages)
    if mode != "model" or not question.strip() or not any(role == "user" for role, _ in before):
        return query_without_engine(messages, mode)
    return await _rewritten(question, before, engine, model)


def query_without_engine(messages: Sequence[Message], mode: Condense) -> str:
    """The same where no engine can be asked, as before a training: the `recent` exchange in place of the `model`."""
    question, before = _turns(messages)
    asked = next((text for role, text in reversed(before) if role == "user"), None)
    if mode == "last" or not question.strip() or asked is None:
        return question
    # Twice, so that it weighs more than what it follows. docs/adr/0022 has the measurements.
    return _BLANKS.sub(" ", f"{asked[-_BEFORE_CHARS:]} {question} {question}").strip()


def rewrite_query(query: str) -> str:
    """A search text without greetings and phrases of asking, blanks joined; the text itself if nothing is left."""
    joined = _BLANKS.sub(" ", query).strip()
    polite = _POLITE.match(joined)
    return (joined[polite.end() :].strip() or joined) if polite else joined


def _turns(messages: Sequence[Message]) -> tuple[str, list[tuple[str, str]]]:
    """The last user message, and role and text of what was said before it."""
    said = [(str(message["role"]), str(message["content"])) for message in messages]
    last = max(i for i, (role, _) in enumerate(said) if role == "user")
    return said[last][1], [(role, text) for role, text in said[:last] if role in ("user", "assistant") and text.strip()]


async def _rewritten(question: str, before: Sequence[tuple[str, str]], engine: HttpEngine, model: str) -> str:
    request = EngineRequest(model=model, messages=ask_rewrite(question, before), options=_REWRITE_OPTIONS)
    try:
        completion = await engine.complete(request)
    except (EngineUnavailable, EngineRejected) as error:
        logging.getLogger(__name__).warning("no rewritten question, searching the message itself: %s", error)
        return question
    text = (completion.choices[0].message.content or "") if completion.choices else ""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "").strip('"“”')
    return line if 0 < len(line) <= max(_REWRITE_CHARS, 2 * len(question)) else question
