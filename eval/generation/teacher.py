"""The model that writes questions and answers them: every reply is kept as it comes, so that nothing is asked twice.

with ReplyCache(home / "teacher.db") as cache:
    teacher = Teacher(HttpEngine(url), "large-model", cache=cache, budget=Budget(max_requests=500))
    reply = await teacher.ask(messages)
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from eval.errors import EvalError
from router.answering.engine import EngineRequest
from router.answering.prompts import Message
from router.errors import EngineRejected, EngineUnavailable
from storage.hashes import content_hash
from storage.records import from_json
from storage.row_cache import RowCache

# Requests in a row without an answer, after which no other is made: a teacher that hangs would otherwise cost a
# time-out for each draft that is left.
GIVE_UP_AFTER = 4
# A question and a short answer; a model that thinks first needs more than it writes.
REPLY_TOKENS = 1024
_PAUSE_S = 0.5
# The teacher works but not for this prompt, which may be too long for it.
_PROMPT_REFUSED = (400, 413, 422)
# What some models refuse to be told, and what it is called there, if anything.
_OTHER_NAMES = {"temperature": None, "max_tokens": "max_completion_tokens", "response_format": None}


class NoReply(EvalError):
    """The teacher gave no answer to one prompt; others may well be answered."""


class TeacherAway(EvalError):
    """The teacher cannot be asked any more."""


class BudgetSpent(EvalError):
    """No further request fits the budget."""


class Engine(Protocol):
    """What generates text, as `router.answering.engine.HttpEngine` does."""

    async def complete(self, request: EngineRequest) -> Any:
        """The whole completion. Raises EngineUnavailable or EngineRejected."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the teacher said, and the tokens that it took, None where it does not say."""

    text: str
    prompt_tokens: int | None = None
    generated_tokens: int | None = None


class ReplyCache(RowCache):
    """Replies in a SQLite file, each committed as it comes."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file. Raises StorageError when it cannot be opened."""
        table = "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL)"
        super().__init__(path, (table,), called="cache of the teacher's replies", row="a reply")

    def get(self, key: str) -> Reply | None:
        """The reply that is known."""
        return self.find("SELECT reply FROM replies WHERE key = ?", key, lambda row: from_json(Reply, row))

    def put(self, key: str, reply: Reply) -> None:
        """Keep a reply. Raises StorageError when the disk is full."""
        self.write("INSERT OR REPLACE INTO replies VALUES (?, ?)", (key, json.dumps(asdict(reply))))


@dataclass(slots=True)
class Budget:
    """What may be asked, over all starts: what an earlier one asked and is remembered counts, though it costs nothing.

    `num_sent` are the requests of this start, failed ones among them.
    """

    max_requests: int | None = None
    max_tokens: int | None = None
    num_requests: int = 0
    num_tokens: int = 0
    num_sent: int = 0

    def take(self) -> None:
        """Count a request. Raises BudgetSpent where it is one too many."""
        if self.max_requests is not None and self.num_requests >= self.max_requests:
            raise BudgetSpent(f"the budget of {self.max_requests:,} requests is spent (generate.max_requests)")
        if self.max_tokens is not None and self.num_tokens >= self.max_tokens:
            raise BudgetSpent(f"the budget of {self.max_tokens:,} tokens is spent (generate.max_tokens)")
        self.num_requests += 1

    def spend(self, reply: Reply, messages: tuple[Message, ...]) -> None:
        """Count a reply's tokens; four characters are one where the teacher does not say."""
        asked = sum(len(str(message["content"])) for message in messages) // 4
        prompt = asked if reply.prompt_tokens is None else reply.prompt_tokens
        self.num_tokens += prompt + (len(reply.text) // 4 if reply.generated_tokens is None else reply.generated_tokens)


@dataclass
class Teacher:
    """One model at one engine. `identity` stands for what shapes its replies: another model or revision is another."""

    engine: Engine
    model: str
    identity: str
    cache: ReplyCache
    budget: Budget = field(default_factory=Budget)
    retries: int = 2
    pause_s: float = _PAUSE_S
    _in_a_row: int = field(default=0, init=False)
    _gone: TeacherAway | None = field(default=None, init=False)
    _silence: str = field(default="", init=False)

    @property
    def silence(self) -> TeacherAway | None:
        """Why the last request of all was not answered; None where it was."""
        return TeacherAway(self._silence) if self._silence else None

    _renamed: dict[str, str | None] = field(default_factory=dict, init=False)

    async def ask(self, messages: tuple[Message, ...], shape: Mapping[str, object] | None = None) -> str:
        """The reply, of the JSON schema `shape` where the engine can hold the model to one. Raises BudgetSpent, NoReply
        where this prompt alone failed, and TeacherAway where the key or the model is refused, or one request after
        another came to nothing.
        """
        key = content_hash(self.identity, json.dumps(messages), *([json.dumps(shape)] if shape else []))
        if self._gone is not None:
            raise self._gone
        self.budget.take()
        reply = self.cache.get(key)
        if reply is None:
            reply = await self._fetch(messages, shape)
            self.cache.put(key, reply)
        self.budget.spend(reply, messages)
        return reply.text

    async def _fetch(self, messages: tuple[Message, ...], shape: Mapping[str, object] | None) -> Reply:
        fault = ""
        for attempt in range(1 + self.retries):
            if attempt:
                await asyncio.sleep(self.pause_s * 2 ** (attempt - 1))
            try:
                completion = await self._complete(messages, shape)
            except EngineUnavailable as error:
                fault = str(error)
            else:
                self._in_a_row, self._silence = 0, ""
                return _reply(completion)
        self._silence = fault
        raise self._missed(fault, NoReply("no answer from the teacher"))

    async def _complete(self, messages: tuple[Message, ...], shape: Mapping[str, object] | None) -> Any:
        options: dict[str, object] = {"temperature": 0.0, "max_tokens": REPLY_TOKENS}
        if shape is not None:
            options["response_format"] = {"type": "json_schema", "json_schema": {"name": "reply", "schema": shape}}
        while True:
            given = {name: value for key, value in options.items() if (name := self._renamed.get(key, key)) is not None}
            self.budget.num_sent += 1
            try:
                return await self.engine.complete(EngineRequest(self.model, messages, given))
            except EngineRejected as error:
                refused = _refused(error, given)
                if refused is not None and refused not in self._renamed:
                    self._renamed[refused] = _OTHER_NAMES[refused]
                    continue
                said, self._silence = f"it answers {error.status}: {error}", ""
                if error.status not in _PROMPT_REFUSED:
                    self._gone = TeacherAway(said)
                    raise self._gone from error
                raise self._missed(said, NoReply("the teacher refused the prompt")) from error

    def _missed(self, fault: str, alone: NoReply) -> EvalError:
        """What a failed request means: one after another, that the teacher is away."""
        self._in_a_row += 1
        if self._in_a_row < GIVE_UP_AFTER:
            return alone
        self._gone = TeacherAway(fault)
        return self._gone


def _refused(error: EngineRejected, given: Mapping[str, object]) -> str | None:
    """The option that an engine does not take; some name it in their words alone, or a part of it."""
    if error.param in _OTHER_NAMES:
        return error.param
    said = f"{error.param} {error}".lower()
    is_shape = "response_format" in given and error.status in _PROMPT_REFUSED
    return "response_format" if is_shape and ("response_format" in said or "json_schema" in said) else None


def _reply(completion: Any) -> Reply:
    choices, usage = completion.choices or [], completion.usage
    text = str(choices[0].message.content or "") if choices else ""
    if usage is None:
        return Reply(text)
    return Reply(text, usage.prompt_tokens, usage.completion_tokens)
