"""Asking the arms of a run: the engine is started for the first answer that is not known yet, and every answer is kept.

asker = Asker(config=config, base=base, home=home, console=console, adapters={}, indexes=indexes, versions=versions)
with closing(asker):
    asked = asker.ask_all(arms, questions)          or asker.race(arms, plan, score)
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from arbiter.build import open_engine
from arbiter.config.schema import Config
from arbiter.console import Console, Step
from eval.answers import AnswerCache, AnswerRecord, Asked, Versions
from eval.evaluate import Patience, ask, time_first_tokens, weigh
from eval.questions import Question
from eval.race import Look, RacePlan, run_race
from eval.tasks import run_anywhere
from rag.index import Index
from router.answering.answerer import Answerer
from router.answering.arm import Arm
from router.answering.engine import HttpEngine
from router.answering.topics import TopicChooser
from router.deciding.arm_table import make_table
from router.deciding.racing import look
from router.deciding.scorecard import Scorecard
from serving.engine.engine import OpenEngine
from storage.errors import ArbiterError
from tuning.base import ResolvedModel
from tuning.export.adapters import Adapter

T = TypeVar("T")
OnAnswer = Callable[[AnswerRecord], None]


@dataclass(kw_only=True)
class Asker:
    """One run's answers: from the cache where they are known, else from an engine that stays up until the end.

    `adapters` and `indexes` are by the names that arms hold, `versions` as in `eval.answers`, and `topics` choose among
    sets of adapters; all but the adapters may be set anew between two asks.
    """

    config: Config
    base: ResolvedModel
    home: Path
    console: Console
    adapters: Mapping[str, Adapter]
    indexes: Mapping[str, Index]
    versions: Versions
    topics: Mapping[str, TopicChooser] = field(default_factory=dict)
    _open: ExitStack = field(default_factory=ExitStack, init=False)
    _engine: OpenEngine | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._cache = self._open.enter_context(AnswerCache(self.home / "answers.db"))

    def ask_all(self, arms: list[Arm], questions: tuple[Question, ...]) -> Asked:
        """Every arm's answer to every question; the engine starts for the first one that is not known. Adapters with
        engines of their own take turns, so that any number of them fits.
        """

        def ask_some(some: list[Arm]) -> list[AnswerRecord]:
            who = f"{len(some)} arms" if len(some) > 1 else some[0].name
            with self.console.step(f"asking {who} {len(questions)} questions") as step:
                return self.ask(some, questions, _counting(step, len(some) * len(questions)))

        if self.knows(arms, questions):
            self.console.say(f"all {len(arms) * len(questions)} answers are known: nothing to generate")
            records = self.ask(arms, questions)
        else:
            records = self._in_turns(arms, questions, ask_some, timed=questions)
        return Asked(questions, tuple(records), self._first_tokens(arms, questions))

    def race(
        self,
        arms: list[Arm],
        plan: RacePlan,
        score: Callable[[Asked], Scorecard],
        earlier_looks: tuple[int, ...] = (),
    ) -> Asked:
        """The answers of a race; `score` gives what it decides by. After `earlier_looks` at some of the questions no
        arm drops out. Adapters with engines of their own take turns in each batch, where they are more than the engines
        that may run at a time. Raises ArbiterError for a cost cap without costs.
        """
        first = plan.batches[0]
        timed = () if self.knows(arms, first) else first
        if timed:
            self.start()
        with self.console.step(f"racing {len(arms)} arms over {plan.num_questions} questions") as step:
            counted = _counting(step, len(arms) * plan.num_questions)
            out: set[str] = set()

            def ask_batch(arms: Sequence[Arm], questions: Sequence[Question]) -> list[AnswerRecord]:
                return self._in_turns(
                    arms,
                    questions,
                    lambda some: self.ask(some, questions, counted),
                    timed=timed if questions == first else (),
                    stays=True,
                )

            def look_at(asked: Asked, active: Sequence[str]) -> Look:
                for name in sorted(out.intersection(active)):
                    self.console.say(f"  {name} is back: the arm that was better may not be served")
                out.difference_update(active)
                card = score(replace(asked, first_tokens_ms=self._first_tokens(arms, first)))
                table = make_table(replace(card, earlier_looks=earlier_looks), self.config.policy)
                ruling = look(table, active, ends=plan.ends)
                for drop in ruling.drops:
                    self.console.say(f"  after {drop.after} questions {drop.arm} is out: {drop.beaten_by} is better")
                for name in ruling.ruled_out:
                    said = f"  after {len(asked.questions)} questions {name} is out: {table.row(name).excluded}"
                    self.console.say(said)
                out.update(drop.arm for drop in ruling.drops)
                costs = [(row.scores.num_asked, row.costs.per_1k) for row in table.rows]
                if plan.settings.max_cost is not None and any(num and cost is None for num, cost in costs):
                    raise ArbiterError("race.max_cost needs every cost; set the prices of what is not measured to 0")
                return Look(ruling, sum(num * (cost or 0.0) / 1000 for num, cost in costs))

            raced = run_race(arms, plan, ask_batch, look_at)
        assert raced.race is not None
        self.console.say(f"  {raced.race.summary}")
        return replace(raced, first_tokens_ms=self._first_tokens(arms, first))

    def knows(self, arms: Sequence[Arm], questions: Sequence[Question]) -> bool:
        """Whether every answer is in the cache."""
        return None not in self._recall(arms, questions)

    def ask(
        self, arms: Sequence[Arm], questions: Sequence[Question], on_answer: OnAnswer = lambda _: None
    ) -> list[AnswerRecord]:
        """Every arm's answer to every question, arm by arm. Raises EngineFailed and EngineUnavailable."""
        known = [record for record in self._recall(arms, questions) if record is not None]
        if len(known) == len(arms) * len(questions):
            for record in known:
                on_answer(record)
            return known
        self.start()
        return self._with_answerer(
            lambda answerer: ask(
                arms,
                questions,
                answerer,
                self._cache,
                versions=self.versions,
                concurrency=self.config.eval.concurrency,
                patience=Patience(limit_s=self.config.eval.patience_s),
                on_answer=on_answer,
            )
        )

    def weigh(self, arm: Arm, texts: Sequence[tuple[Question, str]]) -> list[float | None]:
        """The log-likelihood of each text as the arm's answer, as `eval.evaluate.weigh` gives it; the engine starts for
        the first one that is not known.
        """
        known = [self._cache.get_likelihood(arm, question, text, self.versions) for question, text in texts]
        if None not in known:
            return known
        ((adapter, _),) = self._turns([arm])
        with self._loaded(adapter, stays=False):
            return self._with_answerer(
                lambda answerer: weigh(
                    arm,
                    texts,
                    answerer,
                    self._cache,
                    versions=self.versions,
                    concurrency=self.config.eval.concurrency,
                    patience=Patience(limit_s=self.config.eval.patience_s),
                )
            )

    def start(self) -> OpenEngine:
        """The engine, brought up if it is not."""
        if self._engine is None:
            # Beside the one that is asked; in a race others stay for the next batch.
            own_engines = self.config.engine.max_own_engines - 1 if self.config.race is not None else 0
            parts = (self.config, self.base, self.adapters)
            engine = open_engine(*parts, home=self.home, console=self.console, own_engines=own_engines)
            self._engine = self._open.enter_context(engine)
        return self._engine

    def close(self) -> None:
        """Stops the engine, if one was started, and closes the cache."""
        self._open.close()

    def _in_turns(
        self,
        arms: Sequence[Arm],
        questions: Sequence[Question],
        ask: Callable[[list[Arm]], list[AnswerRecord]],
        *,
        timed: Sequence[Question],
        stays: bool = False,
    ) -> list[AnswerRecord]:
        """What `ask` gives, arm by arm, with the engine up for what is not known; first tokens of `timed` before it. An
        engine of an adapter's own ends with its turn, or `stays` until there is no place for another. Mixtures come
        last, when all that is proposed to them is known.
        """
        named = [arm.fingerprint() for arm in arms]
        unasked = {one.name: one for arm in arms for one in arm.proposers if one.fingerprint() not in named}
        if unasked:
            others = list(unasked.values())
            self._in_turns(others, questions, lambda some: self.ask(some, questions), timed=(), stays=stays)
        records: dict[str, list[AnswerRecord]] = {}
        for adapter, some in self._turns(arms):
            is_known = self.knows(some, questions) and self._has_first_tokens(some, timed)
            with nullcontext() if is_known else self._loaded(adapter, stays=stays):
                self._time_first_tokens(some, timed)
                for record in ask(some):
                    records.setdefault(record.arm, []).append(record)
        return [record for arm in arms for record in records.get(arm.name, ())]

    def _turns(self, arms: Sequence[Arm]) -> list[tuple[Adapter | None, list[Arm]]]:
        """The arms of the engine that all share, then those of each adapter that has one of its own; mixtures last."""
        # A remote engine has all adapters, or says at the start what it lacks.
        is_remote = self.config.engine.url is not None
        alone = {} if is_remote else {name: one for name, one in self.adapters.items() if one.has_own_engine}
        turns: dict[tuple[bool, str], list[Arm]] = {(False, ""): []}
        for arm in sorted(arms, key=lambda arm: bool(arm.proposers)):
            name = arm.adapter or ""
            turns.setdefault((bool(arm.proposers), name if name in alone else ""), []).append(arm)
        return [(alone.get(name), some) for (_, name), some in turns.items() if some]

    @contextmanager
    def _loaded(self, adapter: Adapter | None, *, stays: bool) -> Iterator[None]:
        """The engine up, with the engine of an adapter that has its own."""
        engine = self.start()
        if adapter is None:
            yield
            return
        engine.load(adapter)
        try:
            yield
        finally:
            if stays:
                engine.keep(())
            else:
                engine.unload(adapter)

    def _has_first_tokens(self, arms: Sequence[Arm], questions: Sequence[Question]) -> bool:
        """Whether every time that would be measured is in the cache."""
        return None not in self._recall_first_tokens(arms, questions).values()

    def _time_first_tokens(self, arms: Sequence[Arm], questions: Sequence[Question]) -> None:
        """Measure the time to the first token of a few answers, where it is not known."""
        if not self._has_first_tokens(arms, questions):
            probes = questions[: self.config.eval.first_token_probes]
            with self.console.step(f"timing the first token of {len(probes)} answers an arm"):
                self._with_answerer(
                    lambda answerer: time_first_tokens(arms, probes, answerer, self._cache, versions=self.versions)
                )

    def _first_tokens(self, arms: Sequence[Arm], questions: Sequence[Question]) -> dict[tuple[str, str], float]:
        """The time to the first token of a few answers in ms, by arm and question id, where it was measured."""
        return {place: ms for place, ms in self._recall_first_tokens(arms, questions).items() if ms is not None}

    def _recall_first_tokens(
        self, arms: Sequence[Arm], questions: Sequence[Question]
    ) -> dict[tuple[str, str], float | None]:
        """The times that are known already, by arm and question id; None for the others that would be measured."""
        probes = questions[: self.config.eval.first_token_probes]
        return {
            (arm.name, question.id): self._cache.get_first_token_ms(arm, question, self.versions)
            for arm, question in itertools.product(arms, probes)
        }

    def _recall(self, arms: Sequence[Arm], questions: Sequence[Question]) -> list[AnswerRecord | None]:
        """The answers that are known already, arm by arm; None for the others."""
        return [self._cache.get(arm, question, self.versions) for arm, question in itertools.product(arms, questions)]

    def _with_answerer(self, work: Callable[[Answerer], Awaitable[T]]) -> T:
        engine = self.start()

        async def run() -> T:
            limit_s = self.config.engine.request_timeout_s
            http = HttpEngine(engine.url, api_key=engine.api_key, timeout_s=limit_s, hold=engine.hold)
            try:
                return await work(Answerer(http, self.indexes, engine.base_model, self.topics))
            finally:
                await http.close()

        return run_anywhere(run)


def _counting(step: Step, total: int) -> OnAnswer:
    """Shows how many answers are there."""
    done = itertools.count(1)
    return lambda record: step.update(next(done), total, record.arm)
