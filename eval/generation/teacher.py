"""The model that writes questions and answers, or tells how likely it finds a text: every reply is kept as it comes,
so that nothing is asked twice.

with ReplyCache(home / "teacher.db") as cache:
    teacher = Teacher(HttpEngine(url), "large-model", cache=cache, budget=Budget(max_requests=500))
    reply = await teacher.ask(messages)
    reading = await teacher.read((5, 17, 3), top=20)
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from eval.errors import EvalError
from eval.generation.readings import Reading, packed, reading_of, unpacked
from router.answering.engine import EngineRequest, TextRequest
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
    """The teacher gave no answer to one prompt; others may well be answered. `why` is what the engine said."""

    def __init__(self, message: str, why: EngineUnavailable | EngineRejected) -> None:
        super().__init__(message)
        self.why = why


class TeacherAway(EvalError):
    """The teacher cannot be asked any more."""


class BudgetSpent(EvalError):
    """No further request fits the budget."""


class Engine(Protocol):
    """What generates text, as `router.answering.engine.HttpEngine` does."""

    async def complete(self, request: EngineRequest) -> Any:
        """The whole completion. Raises EngineUnavailable or EngineRejected."""

    async def complete_text(self, request: TextRequest) -> Any:
        """The same of a text as it is."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the teacher said, and the tokens that it took, None where it does not say; `is_cut` where it said no more
    because it may not.
    """

    text: str
    prompt_tokens: int | None = None
    generated_tokens: int | None = None
    is_cut: bool = False


class ReplyCache(RowCache):
    """Replies and readings in a SQLite file, each committed as it comes."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file. Raises StorageError when it cannot be opened."""
        tables = (
            "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL)",
            "CREATE TABLE IF NOT EXISTS readings (key TEXT PRIMARY KEY, reading BLOB NOT NULL)",
        )
        super().__init__(path, tables, called="cache of the teacher's replies", row="a reply")

    def get(self, key: str) -> Reply | None:
        """The reply that is known."""
        return self.find("SELECT reply FROM replies WHERE key = ?", key, lambda row: from_json(Reply, row))

    def put(self, key: str, reply: Reply) -> None:
        """Keep a reply. Raises StorageError when the disk is full."""
        self.write("INSERT OR REPLACE INTO replies VALUES (?, ?)", (key, json.dumps(asdict(reply))))

    def get_reading(self, key: str) -> Reading | None:
        """The reading that is known."""
        return self.find("SELECT reading FROM readings WHERE key = ?", key, unpacked)

    def put_reading(self, key: str, reading: Reading) -> None:
        """Keep a reading. Raises StorageError when the disk is full."""
        self.write("INSERT OR REPLACE INTO readings VALUES (?, ?)", (key, packed(reading)))


@dataclass(slots=True)
class Budget:
    """What may be asked, over all starts: what an earlier one asked and is remembered counts, though it costs nothing.

    `num_sent` are the requests of this start, failed ones among them. `section` is where a config says the limits.
    """

    max_requests: int | None = None
    max_tokens: int | None = None
    num_requests: int = 0
    num_tokens: int = 0
    num_sent: int = 0
    section: str = "generate"
    _counted: set[str] = field(default_factory=set)

    def take(self) -> None:
        """Count a request. Raises BudgetSpent where it is one too many."""
        if self.max_requests is not None and self.num_requests >= self.max_requests:
            raise BudgetSpent(f"the budget of {self.max_requests:,} requests is spent ({self.section}.max_requests)")
        if self.max_tokens is not None and self.num_tokens >= self.max_tokens:
            raise BudgetSpent(f"the budget of {self.max_tokens:,} tokens is spent ({self.section}.max_tokens)")
        self.num_requests += 1

    def take_once(self, key: str, num_tokens: int) -> None:
        """Count a request and its tokens, however often what has this key is taken in this start."""
        if key not in self._counted:
            self.take()
            self.num_tokens += num_tokens
            self._counted.add(key)

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
    reply_tokens: int = REPLY_TOKENS
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
        return (await self.answer(messages, shape)).text

    async def answer(self, messages: tuple[Message, ...], shape: Mapping[str, object] | None = None) -> Reply:
        """The same with what it took, and whether it is whole."""
        key = self._key_of(messages, shape)
        if self._gone is not None:
            raise self._gone
        self.budget.take()
        reply = self.cache.get(key)
        if reply is None:
            reply = _reply(await self._fetch(partial(self._complete, messages, shape)))
            self.cache.put(key, reply)
        self.budget.spend(reply, messages)
        return reply

    def known(self, messages: tuple[Message, ...]) -> Reply | None:
        """The reply that was given before; nothing is asked."""
        return self.cache.get(self._key_of(messages, None))

    async def read(self, text: str | tuple[int, ...], *, start: int = 1, top: int = 0) -> Reading:
        """How likely the tokens of a text are from the place `start` on, 1 at least, and the `top` likeliest in each
        place; a text that is given as tokens is read as these. Asked of vLLM's `prompt_logprobs`. Raises as `ask`, and
        NoProbabilities where the teacher does not tell.
        """
        key = content_hash("read", self.identity, json.dumps([text, start, top]))
        if self._gone is not None:
            raise self._gone
        # The engine reads the text and writes one more token; a token of a text has four letters.
        self.budget.take_once(key, 1 + (len(text) // 4 if isinstance(text, str) else len(text)))
        reading = self.cache.get_reading(key)
        if reading is None:
            completion = await self._fetch(partial(self._complete_text, text, top))
            reading = reading_of(completion, text, start)
            self.cache.put_reading(key, reading)
        return reading

    def _key_of(self, messages: tuple[Message, ...], shape: Mapping[str, object] | None) -> str:
        length = [] if self.reply_tokens == REPLY_TOKENS else [str(self.reply_tokens)]
        return content_hash(self.identity, json.dumps(messages), *([json.dumps(shape)] if shape else []), *length)

    async def _fetch(self, send: Callable[[], Awaitable[Any]]) -> Any:
        fault = EngineUnavailable("it was not asked")
        for attempt in range(1 + self.retries):
            if attempt:
                await asyncio.sleep(self.pause_s * 2 ** (attempt - 1))
            try:
                completion = await send()
            except EngineUnavailable as error:
                fault = error
            else:
                self._in_a_row, self._silence = 0, ""
                return completion
        self._silence = str(fault)
        raise self._missed(str(fault), NoReply("no answer from the teacher", fault))

    async def _complete(self, messages: tuple[Message, ...], shape: Mapping[str, object] | None) -> Any:
        options: dict[str, object] = {"temperature": 0.0, "max_tokens": self.reply_tokens}
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
                raise self._rejected(error) from error

    async def _complete_text(self, text: str | tuple[int, ...], top: int) -> Any:
        extra = {"prompt_logprobs": top, "add_special_tokens": False}
        self.budget.num_sent += 1
        try:
            request = TextRequest(self.model, text, {"temperature": 0.0, "max_tokens": 1}, extra)
            return await self.engine.complete_text(request)
        except EngineRejected as error:
            raise self._rejected(error) from error

    def _rejected(self, error: EngineRejected) -> EvalError:
        """What a refused request means."""
        said, self._silence = f"it answers {error.status}: {error}", ""
        if error.status not in _PROMPT_REFUSED:
            self._gone = TeacherAway(said)
            return self._gone
        return self._missed(said, NoReply("the teacher refused the prompt", error))

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
    is_cut = bool(choices) and choices[0].finish_reason == "length"
    if usage is None:
        return Reply(text, is_cut=is_cut)
    return Reply(text, usage.prompt_tokens, usage.completion_tokens, is_cut)
