"""Questions by arms: ask every arm every question through the serving path, score the answers, build the scorecard.

records = await ask(arms, questions, answerer, cache, versions=versions)
scorecard = build_scorecard(arms, questions, records, scorers, primary="token_f1")
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from eval.answers import AnswerCache, AnswerRecord, answer_key
from eval.errors import EvalError
from eval.metrics import Pair, Progress, Scorer
from eval.questions import Question
from router.answerer import Answerer
from router.arm import Arm
from router.errors import EngineRejected, EngineUnavailable
from router.scorecard import ArmScores, Score, Scorecard


@dataclass(slots=True)
class Patience:
    """How long a silent engine is waited for. `limit_s` counts from the last answer of any request, so one restart of
    the engine costs one wait and not one a question. Backoff between tries starts at `pause_s` and doubles up to 10 s.
    """

    limit_s: float = 300.0
    pause_s: float = 0.5
    clock: Callable[[], float] = time.monotonic
    last_answer: float = field(init=False)

    def __post_init__(self) -> None:
        self.last_answer = self.clock()

    def is_exhausted(self) -> bool:
        """Whether the engine has been silent for longer than the limit."""
        return self.clock() - self.last_answer > self.limit_s


async def ask(
    arms: Sequence[Arm],
    questions: Sequence[Question],
    answerer: Answerer,
    cache: AnswerCache,
    *,
    versions: Mapping[str, Mapping[str, str]],
    concurrency: int = 16,
    patience: Patience | None = None,
    on_answer: Callable[[AnswerRecord, bool], None] | None = None,
) -> list[AnswerRecord]:
    """Every arm's answer to every question, arm by arm, in order; `on_answer(record, was_cached)` reports each.

    `versions` maps an arm's name to what its answers depend on besides the arm itself (model revision, index
    version). A request that the engine refuses becomes a record with an `error`; an engine that stays away raises
    EngineUnavailable with everything answered so far in the cache.
    """
    patience = patience or Patience()
    gate = asyncio.Semaphore(concurrency)

    async def one(arm: Arm, question: Question) -> AnswerRecord:
        key = answer_key(arm, question.text, versions[arm.name])
        cached = cache.get(key, arm=arm.name, question_id=question.id)
        if cached is None:
            async with gate:
                record = await _answer(answerer, arm, question, patience)
            cache.put(key, record)
        else:
            record = cached
        if on_answer is not None:
            on_answer(record, cached is not None)
        return record

    records: list[AnswerRecord] = []
    for arm in arms:
        # A TaskGroup stops the other requests of the arm when one of them gives up.
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(arm, question)) for question in questions]
        except* (EngineUnavailable, EvalError) as stopped:
            raise stopped.exceptions[0] from None
        records.extend(task.result() for task in tasks)
    return records


def recall(
    arms: Sequence[Arm], questions: Sequence[Question], cache: AnswerCache, versions: Mapping[str, Mapping[str, str]]
) -> list[AnswerRecord | None]:
    """The answers that are known already, in the order of `ask`; None for those that it would have to generate."""
    return [
        cache.get(answer_key(arm, question.text, versions[arm.name]), arm=arm.name, question_id=question.id)
        for arm in arms
        for question in questions
    ]


async def _answer(answerer: Answerer, arm: Arm, question: Question, patience: Patience) -> AnswerRecord:
    pause_s = patience.pause_s
    while True:
        try:
            prepared = await answerer.prepare(arm, [{"role": "user", "content": question.text}])
            answer = await answerer.answer(prepared)
        except EngineRejected as error:
            return AnswerRecord(arm=arm.name, question_id=question.id, text="", error=str(error))
        except EngineUnavailable:
            if patience.is_exhausted():
                raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 10.0)
        else:
            patience.last_answer = patience.clock()
            return AnswerRecord.from_answer(arm.name, question.id, answer)


def build_scorecard(
    arms: Sequence[Arm],
    questions: Sequence[Question],
    records: Sequence[AnswerRecord],
    scorers: Sequence[Scorer],
    *,
    primary: str,
    training_s: Mapping[str, float] | None = None,
    indexing_s: Mapping[str, float] | None = None,
    provenance: Mapping[str, object] | None = None,
    progress: Progress | None = None,
) -> Scorecard:
    """Score every arm's records with every scorer. Raises EvalError when no scorer gives `primary`."""
    known = [name for scorer in scorers for name in scorer.names]
    if primary not in known:
        raise EvalError(f"no metric {primary!r} for policy.metric; choose one of: {', '.join(known)}")
    by_place = {(record.arm, record.question_id): record for record in records}
    pairs = [(question, by_place[arm.name, question.id]) for arm in arms for question in questions]
    columns: dict[str, list[float | None]] = {}
    diagnostics: list[str] = []
    for scorer in scorers:
        columns |= scorer.score(pairs, progress)
        diagnostics += scorer.diagnostics()
    return Scorecard(
        question_ids=tuple(question.id for question in questions),
        clusters=tuple(question.cluster for question in questions),
        primary=primary,
        arms=tuple(
            _arm_scores(arm, pairs[i * len(questions) : (i + 1) * len(questions)], columns, i * len(questions))
            for i, arm in enumerate(arms)
        ),
        training_s=training_s or {},
        indexing_s=indexing_s or {},
        diagnostics=tuple(diagnostics),
        provenance=provenance or {},
    )


def _arm_scores(arm: Arm, pairs: Sequence[Pair], columns: Mapping[str, Sequence[Score]], start: int) -> ArmScores:
    records = [record for _, record in pairs]
    return ArmScores(
        arm=arm,
        scores={name: tuple(values[start : start + len(pairs)]) for name, values in columns.items()},
        latency_ms=tuple(record.latency_ms for record in records),
        prompt_tokens=tuple(record.prompt_tokens for record in records),
        generated_tokens=tuple(record.generated_tokens for record in records),
        errors={record.question_id: record.error for record in records if record.error is not None},
    )
