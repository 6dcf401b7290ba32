"""Questions by arms: ask every arm every question through the serving path, score the answers, build the scorecard.

records = await ask(arms, questions, answerer, cache, versions=versions)
scorecard = build_scorecard(arms, Asked(questions, records), scorers, primary="token_f1")
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from eval.answers import AnswerCache, AnswerRecord, Asked, Proposed, Versions
from eval.metrics.catalogue import PRIMARY, Declared, check_declared, metrics_of, primary_column
from eval.questions import Question
from eval.scorer import Pair, Progress, Scorer
from eval.tasks import run_all
from rag.passage import Passage
from router.answering.answerer import Answerer
from router.answering.arm import Arm
from router.answering.proposals import Proposal, none_answered
from router.deciding.costs import prefill_seconds
from router.deciding.scorecard import ArmScores, Score, Scorecard
from router.errors import EngineRejected, EngineUnavailable

T = TypeVar("T")

# What stands where an arm was not asked a question.
_NOT_ASKED = AnswerRecord(arm="", question_id="", text="")


@dataclass(slots=True)
class Patience:
    """How long a silent engine is waited for: `limit_s` from the last answer to any request, so that a restart costs
    one wait and not one a question. The pause between tries starts at `pause_s` and doubles up to 10 s.
    """

    limit_s: float = 300.0
    pause_s: float = 0.5
    last_answer: float = field(default_factory=time.monotonic, init=False)

    def is_exhausted(self) -> bool:
        """Whether the engine has been silent for longer than the limit."""
        return time.monotonic() - self.last_answer > self.limit_s

    async def wait_for(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` gives; it is tried again while the engine is away. Raises EngineUnavailable at the end."""
        pause_s = self.pause_s
        while True:
            try:
                found = await ask()
                self.last_answer = time.monotonic()
                return found
            except EngineUnavailable:
                if self.is_exhausted():
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 10.0)


@dataclass(slots=True)
class BusyClock:
    """Divides the seconds in which an engine, or a search, works among the answers that are in flight at the time.

    The shares of all answers add up to the seconds in which at least one was in flight.
    """

    clock: Callable[[], float] = time.monotonic
    _in_flight: int = 0
    _shared: float = 0.0
    _seen: float = 0.0

    async def share(self, work: Awaitable[T]) -> tuple[T, float]:
        """What the work gives, and its share in seconds."""
        self._advance()
        started = self._shared
        self._in_flight += 1
        try:
            found = await work
        finally:
            self._advance()
            self._in_flight -= 1
        return found, self._shared - started

    def _advance(self) -> None:
        now = self.clock()
        if self._in_flight:
            self._shared += (now - self._seen) / self._in_flight
        self._seen = now


async def ask(
    arms: Sequence[Arm],
    questions: Sequence[Question],
    answerer: Answerer,
    cache: AnswerCache,
    *,
    versions: Versions,
    concurrency: int = 16,
    patience: Patience | None = None,
    on_answer: Callable[[AnswerRecord], object] = lambda _: None,
) -> list[AnswerRecord]:
    """Every arm's answer to every question, arm by arm, in order; `on_answer` reports each.

    What a mixture's proposers answer is known or asked as if they were asked alone, and kept as their own answer.
    A request that the engine refuses becomes a record with an `error`; an engine that stays away raises
    EngineUnavailable with everything answered so far in the cache.
    """
    patience = patience or Patience()
    gate = asyncio.Semaphore(concurrency)
    engine, search = BusyClock(), BusyClock()

    async def generate(arm: Arm, question: Question, proposed: Sequence[AnswerRecord]) -> AnswerRecord:
        asked = answerer.prepare(arm, question.messages, proposals=[*map(_as_proposal, arm.proposers, proposed)])
        prepared, retrieval_s = await search.share(asked)
        async with answerer.hold(arm):
            answer, engine_s = await engine.share(answerer.answer(prepared))
        told = [record for record in proposed if record.error is None]
        busy = [engine_s, *(record.engine_s for record in told)]
        searched = [record.retrieval_s for record in told if record.retrieval_s is not None]
        searched += [retrieval_s] if arm.index is not None else []
        return AnswerRecord(
            arm=arm.name,
            question_id=question.id,
            text=answer.text,
            passages=tuple(passage.text for passage in answer.passages),
            passage_documents=tuple(passage.document_id for passage in answer.passages),
            cited_documents=tuple(citation.document_id for citation in answer.citations),
            prompt_tokens=answer.prompt_tokens,
            generated_tokens=answer.generated_tokens,
            retrieval_ms=answer.retrieval_ms,
            latency_ms=answer.latency_ms,
            engine_s=None if None in busy else sum(share for share in busy if share is not None),
            retrieval_s=sum(searched) if searched else None,
            cached_tokens=answer.cached_tokens,
            proposals=tuple(Proposed(record.arm, record.text, record.error) for record in proposed),
            chosen=answer.chosen,
        )

    async def answered(arm: Arm, question: Question) -> AnswerRecord:
        record = cache.get(arm, question, versions)
        if record is not None:
            return record
        # Not within the gate, which each of them passes by itself.
        proposed = await run_all(answered(proposer, question) for proposer in arm.proposers)
        if proposed and all(one.error is not None for one in proposed):
            error = none_answered(arm.name, [(one.arm, one.error) for one in proposed])
            return AnswerRecord(arm=arm.name, question_id=question.id, text="", error=error)
        async with gate:
            try:
                record = await patience.wait_for(partial(generate, arm, question, proposed))
            except EngineRejected as error:
                record = AnswerRecord(arm=arm.name, question_id=question.id, text="", error=str(error))
        cache.put(arm, question, versions, record)
        return record

    async def one(arm: Arm, question: Question) -> AnswerRecord:
        record = await answered(arm, question)
        on_answer(record)
        return record

    return [record for arm in arms for record in await run_all(one(arm, question) for question in questions)]


async def weigh(
    arm: Arm,
    texts: Sequence[tuple[Question, str]],
    answerer: Answerer,
    cache: AnswerCache,
    *,
    versions: Versions,
    concurrency: int = 16,
    patience: Patience | None = None,
) -> list[float | None]:
    """The log-likelihood of each text as the arm's answer to its question, as `Answerer.log_likelihood` has it; None
    where the engine refuses to say it. What is known is not asked again. Raises EngineUnavailable.
    """
    patience = patience or Patience()
    gate = asyncio.Semaphore(concurrency)

    async def one(question: Question, text: str) -> float | None:
        value = cache.get_likelihood(arm, question, text, versions)
        if value is None:
            async with gate:
                with contextlib.suppress(EngineRejected):
                    value = await patience.wait_for(partial(answerer.log_likelihood, arm, question.messages, text))
            if value is not None:
                cache.put_likelihood(arm, question, text, versions, value)
        return value

    return await run_all(one(question, text) for question, text in texts)


async def time_first_tokens(
    arms: Sequence[Arm], questions: Sequence[Question], answerer: Answerer, cache: AnswerCache, *, versions: Versions
) -> None:
    """Stream every arm's answers one at a time and keep the time to the first token; what is known is not asked again.

    Asked before anything else, so that the engine's prefix cache has not seen the questions. That of a mixture begins
    with the latency of its slowest proposer, as it was measured when that was asked. An engine that is away or refuses
    leaves the time unmeasured, and so does a proposal that is not known.
    """
    for arm, question in itertools.product(arms, questions):
        if cache.get_first_token_ms(arm, question, versions) is not None:
            continue
        known = [cache.get(proposer, question, versions) for proposer in arm.proposers]
        proposed = [record for record in known if record is not None]
        if len(proposed) < len(known):
            continue
        found = None
        with contextlib.suppress(EngineRejected, EngineUnavailable):
            async with answerer.hold(arm):
                started = time.perf_counter()
                prepared = await answerer.prepare(
                    arm, question.messages, proposals=[*map(_as_proposal, arm.proposers, proposed)]
                )
                async for chunk in answerer.stream(prepared):
                    if found is None and any(choice.delta.content for choice in chunk.choices):
                        found = prepared.proposing_ms + 1000 * (time.perf_counter() - started)
            if found is not None:
                cache.put_first_token_ms(arm, question, versions, found)


def _as_proposal(arm: Arm, record: AnswerRecord) -> Proposal:
    """A proposer's answer as the mixture is shown it, whenever it was given."""
    passages = zip(record.passage_documents, record.passages, strict=True) if arm.reads_documents else ()
    return Proposal(
        record.arm,
        record.text,
        error=record.error,
        passages=tuple(
            Passage(chunk_id="", document_id=document, title="", text=text, score=0.0, rank=rank)
            for rank, (document, text) in enumerate(passages, start=1)
        ),
        prompt_tokens=record.prompt_tokens or 0,
        generated_tokens=record.generated_tokens or 0,
        cached_tokens=record.cached_tokens,
        latency_ms=record.latency_ms or 0.0,
    )


def build_scorecard(
    arms: Sequence[Arm],
    asked: Asked,
    scorers: Sequence[Scorer],
    *,
    primary: Declared,
    progress: Progress | None = None,
    **rest: Any,
) -> Scorecard:
    """Score every arm's answers with every scorer; `rest` are further fields of the scorecard.

    `primary` names the metric that decides, or maps question kinds to one each; by it a failed answer scores 0.
    A question without a record was not asked of the arm. Raises EvalError when no scorer gives a metric that `primary`
    names.
    """
    check_declared(primary, [name for scorer in scorers for name in scorer.names])
    by_place = {(record.arm, record.question_id): record for record in asked.records}
    by_id = {question.id: question for question in asked.questions}
    scored = [(arm.name, name) for arm in arms for name in by_id if (arm.name, name) in by_place]
    pairs: list[Pair] = [(by_id[name], by_place[arm, name]) for arm, name in scored]
    columns: dict[str, list[Score]] = {}
    diagnostics: list[str] = []
    lost: set[int] = set()
    for scorer in scorers:
        columns |= scorer.score(pairs, progress)
        diagnostics += scorer.diagnostics()
        lost.update(*(scorer.lost.get(name, ()) for name in metrics_of(primary)))
    column, metric_of = primary_column([question for question, _ in pairs], columns, primary)
    deciding = PRIMARY if metric_of else str(primary)
    columns = {deciding: _failed_as_wrong(pairs, column), **{k: v for k, v in columns.items() if k != deciding}}
    told = {name for row, (_, name) in enumerate(scored) if column[row] is not None or row in lost}
    scores = {name: dict(zip(scored, values, strict=True)) for name, values in columns.items()}

    def scores_of(arm: Arm) -> ArmScores:
        places = [(arm.name, name) for name in by_id]
        given = [by_place.get(place, _NOT_ASKED) for place in places]
        return ArmScores(
            arm=arm,
            scores={name: tuple(map(values.get, places)) for name, values in scores.items()},
            latency_ms=tuple(record.latency_ms for record in given),
            prompt_tokens=tuple(record.prompt_tokens for record in given),
            generated_tokens=tuple(record.generated_tokens for record in given),
            errors={record.question_id: record.error for record in given if record.error is not None},
            ttft_ms=tuple(asked.first_tokens_ms.get(place) for place in places),
            engine_s=tuple(record.engine_s for record in given),
            retrieval_s=tuple(record.retrieval_s for record in given),
            # A prompt that was streamed before, for its time to the first token, is in the cache for that.
            cached_tokens=tuple(
                None if place in asked.first_tokens_ms else record.cached_tokens
                for place, record in zip(places, given, strict=True)
            ),
            not_asked=tuple(name for name in by_id if (arm.name, name) not in by_place),
        )

    found = tuple(map(scores_of, arms))
    return Scorecard(
        question_ids=tuple(by_id),
        clusters=tuple(question.cluster for question in asked.questions),
        primary=deciding,
        arms=found,
        diagnostics=tuple(diagnostics),
        metric_of=metric_of,
        undefined=tuple(name for name in by_id if name not in told),
        race=asked.race,
        prefill_s=prefill_seconds(found),
        **rest,
    )


def _failed_as_wrong(pairs: Sequence[Pair], column: Sequence[Score]) -> list[Score]:
    """The column that decides, with 0 for answers that failed to questions that some answer has a score of."""
    known = {question.id for (question, _), score in zip(pairs, column, strict=True) if score is not None}
    return [
        0.0 if score is None and record.error is not None and question.id in known else score
        for (question, record), score in zip(pairs, column, strict=True)
    ]
