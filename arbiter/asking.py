"""Asking the arms of a run: the engine is started for the first answer that is not known yet, and every answer is kept.

asker = Asker(config=config, models=models, home=home, console=console, adapters={}, indexes=indexes, versions=versions)
with closing(asker):
    records = asker.ask(arms, questions)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from arbiter.build import Models, open_engine
from arbiter.config import Config
from arbiter.console import Console
from eval.answers import AnswerCache, AnswerRecord, Versions
from eval.evaluate import Patience, ask, recall, recall_first_tokens, time_first_tokens
from eval.questions import Question
from rag.index import Index
from router.answering.answerer import Answerer
from router.answering.arm import Arm
from router.answering.engine import HttpEngine
from serving.engine.engine import OpenEngine
from tuning.export.adapters import Adapter

T = TypeVar("T")
OnAnswer = Callable[[AnswerRecord, bool], None]


@dataclass(kw_only=True)
class Asker:
    """One run's answers: from the cache where they are known, else from an engine that stays up until the end."""

    config: Config
    models: Models
    home: Path
    console: Console
    adapters: Mapping[str, Adapter]
    """By the names that arms hold."""

    indexes: Mapping[str, Index]
    """The same; these and `versions` may be set anew between two asks."""

    versions: Versions
    """As in `eval.answers`."""

    asking_s: float = field(default=0.0, init=False)
    _open: ExitStack = field(default_factory=ExitStack, init=False)
    _engine: OpenEngine | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._cache = self._open.enter_context(AnswerCache(self.home / "answers.db"))

    def knows(self, arms: Sequence[Arm], questions: Sequence[Question]) -> bool:
        """Whether every answer is in the cache."""
        return all(record is not None for record in recall(arms, questions, self._cache, self.versions))

    def ask(
        self, arms: Sequence[Arm], questions: Sequence[Question], on_answer: OnAnswer | None = None
    ) -> list[AnswerRecord]:
        """Every arm's answer to every question, arm by arm. Raises EngineFailed and EngineUnavailable."""
        known = [r for r in recall(arms, questions, self._cache, self.versions) if r is not None]
        if len(known) == len(arms) * len(questions):
            for record in known:
                if on_answer is not None:
                    on_answer(record, True)
            return known
        self.start()
        started = time.monotonic()

        async def all_answers(answerer: Answerer) -> list[AnswerRecord]:
            return await ask(
                arms,
                questions,
                answerer,
                self._cache,
                versions=self.versions,
                concurrency=self.config.eval.concurrency,
                patience=Patience(limit_s=self.config.eval.patience_s),
                on_answer=on_answer,
            )

        try:
            return self._with_answerer(all_answers)
        finally:
            self.asking_s += time.monotonic() - started

    def time_first_tokens(self, arms: Sequence[Arm], questions: Sequence[Question]) -> dict[tuple[str, str], float]:
        """The time to the first token in ms, by arm and question id; measured only while an engine is up."""
        if self._engine is not None:

            async def measure(answerer: Answerer) -> None:
                await time_first_tokens(arms, questions, answerer, self._cache, versions=self.versions)

            with self.console.step(f"timing the first token of {len(questions)} answers an arm"):
                self._with_answerer(measure)
        return recall_first_tokens(arms, questions, self._cache, self.versions)

    def start(self) -> OpenEngine:
        """The engine, brought up if it is not."""
        if self._engine is None:
            engine = open_engine(self.config, self.models.base, self.adapters, home=self.home, console=self.console)
            self._engine = self._open.enter_context(engine)
        return self._engine

    def _with_answerer(self, work: Callable[[Answerer], Awaitable[T]]) -> T:
        engine = self.start()

        async def run() -> T:
            http = HttpEngine(engine.url, api_key=engine.api_key, timeout_s=self.config.engine.request_timeout_s)
            try:
                return await work(Answerer(http, self.indexes, engine.base_model))
            finally:
                await http.close()

        return _run(run)

    def close(self) -> None:
        """Stops the engine, if one was started, and closes the cache."""
        self._open.close()


def _run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of asynchronous work, wherever it is asked for: a notebook runs an event loop of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work())
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(work())).result()
