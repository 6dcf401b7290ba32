"""The larger model that adapters learn from, asked over HTTP: its answers, and how likely it finds tokens.

distilling = Distilling(config, home=home, console=console)
rows, notes = distilling.answered(rows, max_tokens=1024)       # objective distill
train_adapter(..., teacher=distilling.teacher())               # objective gkd
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from arbiter.config.schema import Config
from arbiter.console import Console
from eval.errors import EvalError
from eval.generation.readings import NoProbabilities, Reading
from eval.generation.settings import TeacherSettings
from eval.generation.teacher import REPLY_TOKENS, Budget, BudgetSpent, NoReply, Reply, ReplyCache, Teacher
from eval.tasks import run_all, run_anywhere
from router.answering.engine import HttpEngine
from router.errors import EngineUnavailable
from storage.errors import ArbiterError
from tuning import recipe
from tuning.data.rows import TrainingRow

T = TypeVar("T")
_Ask = Callable[[Teacher], Coroutine[Any, Any, T]]


@dataclass(eq=False)
class Distilling:
    """What is asked of the teacher of one config in one start of a command; what was asked before is remembered."""

    config: Config
    _: KW_ONLY
    home: Path
    console: Console
    _budget: Budget = field(init=False)
    _replies: dict[tuple[str, int], Reply] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        limits = self.config.distill
        self._budget = Budget(limits.max_requests, limits.max_tokens, section="distill")

    @property
    def told(self) -> TeacherSettings:
        """Where the teacher is."""
        assert self.config.distill.teacher is not None, "refused with the config"
        return self.config.distill.teacher

    def answered(
        self, rows: Sequence[TrainingRow], *, max_tokens: int | None, asks: bool = True
    ) -> tuple[list[TrainingRow], tuple[str, ...]]:
        """The rows with the teacher's answers in place of their own, and what is to be said of them. A row whose answer
        is empty, cut off or refused is left out. Without `asks` a row that was never asked keeps its answer.

        Raises ArbiterError where the teacher cannot be asked, and where none of its answers can be learned.
        """
        length = max_tokens or REPLY_TOKENS
        prompts = {_key(row): tuple(dict(message) for message in row.prompt) for row in rows}
        left = {key: prompt for key, prompt in prompts.items() if (key, length) not in self._replies}
        if asks and left:
            self._ask(left, length)
        elif left:
            with ReplyCache(self.home / "teacher.db") as cache:
                teacher = self._teacher(None, cache, length)
                known = {key: teacher.known(prompt) for key, prompt in left.items()}
        learned, faults = list[TrainingRow](), Counter[str]()
        for row in rows:
            reply = self._replies.get((_key(row), length)) or (None if asks else known.get(_key(row)))
            fault = _fault(reply)
            if reply is None and not asks:
                learned.append(row)
            elif reply is None or fault:
                faults[fault] += 1
            else:
                learned.append(replace(row, completion=reply.text.strip()))
        if rows and not learned:
            raise ArbiterError(
                f"the teacher {self.told.label} gave no answer to {len(rows)} prompts that can be learned "
                f"({', '.join(faults)}); raise objective.max_tokens ({length}), or name another with distill.teacher"
            )
        notes = (f"{count} rows are left out: the teacher's answer is {fault}" for fault, count in faults.items())
        return learned, tuple(notes)

    def teacher(self) -> recipe.Teacher:
        """What a training asks about tokens."""
        return recipe.Teacher(self.told.label, self._spell, self._read)

    def _ask(self, prompts: dict[str, Any], length: int) -> None:
        missed: list[EngineUnavailable] = []
        with self.console.step(f"{self.told.label} answers {len(prompts)} prompts") as step:

            async def ask(teacher: Teacher, key: str) -> None:
                try:
                    self._replies[key, length] = await teacher.answer(prompts[key])
                except NoReply as error:  # the teacher refused the prompt, or may answer it another time
                    if isinstance(error.why, EngineUnavailable):
                        missed.append(error.why)
                step.update(len(self._replies), len(prompts), f"{self._budget.num_sent} requests")

            self._run([partial(ask, key=key) for key in prompts], length)
        if missed:
            raise self._away(missed[-1])

    def _spell(self, text: str) -> list[tuple[int, str]]:
        (reading,) = self._readings([(text, 1)], 0)
        return [(token, shown) for ((token, _, shown), *_) in reading]

    def _read(
        self, texts: Sequence[Sequence[int]], starts: Sequence[int], top: int
    ) -> list[list[list[tuple[int, float]]]]:
        readings = self._readings([(tuple(text), start) for text, start in zip(texts, starts, strict=True)], top)
        return [[[(token, number) for token, number, _ in place] for place in reading] for reading in readings]

    def _readings(self, texts: Sequence[tuple[str | tuple[int, ...], int]], top: int) -> list[Reading]:
        async def read(teacher: Teacher, text: str | tuple[int, ...], start: int) -> Reading:
            return await teacher.read(text, start=start, top=top)

        return self._run([partial(read, text=text, start=start) for text, start in texts], REPLY_TOKENS)

    def _run(self, asks: Sequence[_Ask[T]], length: int) -> list[T]:
        """What comes of asking the teacher, several at once. Raises ArbiterError where it cannot be asked."""

        async def work() -> list[T]:
            told = self.told
            http = HttpEngine(told.url, api_key=told.api_key, timeout_s=told.timeout_s)
            slots = asyncio.Semaphore(told.concurrency)
            with ReplyCache(self.home / "teacher.db") as cache:
                teacher = self._teacher(http, cache, length)

                async def one(ask: _Ask[T]) -> T:
                    async with slots:
                        return await ask(teacher)

                try:
                    return await run_all(map(one, asks))
                finally:
                    await http.close()

        try:
            return run_anywhere(work)
        except BudgetSpent as error:
            raise ArbiterError(
                f"{error}, and what the teacher told so far is kept: raise it and run the same command again, which "
                "goes on"
            ) from error
        except NoProbabilities as error:
            raise ArbiterError(
                f"the teacher {self.told.label} does not tell how likely it finds a text: {error}; serve it with vLLM, "
                "or take objective distill, which learns its answers alone"
            ) from error
        except NoReply as error:
            if isinstance(error.why, EngineUnavailable):
                raise self._away(error.why) from error
            raise ArbiterError(
                f"the teacher {self.told.label} refused to read a text: {error.why}; lower objective.top_k, or "
                "max_length and objective.max_tokens"
            ) from error
        except EvalError as error:
            raise self._away(error) from error

    def _away(self, fault: ArbiterError) -> ArbiterError:
        return ArbiterError(
            f"the teacher {self.told.label} cannot be asked any more: {fault}; what it told so far is kept, and the "
            "same command goes on from there"
        )

    def _teacher(self, http: Any, cache: ReplyCache, length: int) -> Teacher:
        told = self.told
        numbers: dict[str, Any] = {"retries": told.retries, "reply_tokens": length}
        return Teacher(http, told.model, told.identity, cache, self._budget, **numbers)


def _key(row: TrainingRow) -> str:
    return json.dumps([dict(message) for message in row.prompt])


def _fault(reply: Reply | None) -> str:
    """Why nothing is learned from a reply, "" where something is."""
    if reply is None:
        return "refused"
    return "cut off" if reply.is_cut else "" if reply.text.strip() else "empty"
