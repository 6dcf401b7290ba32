"""Runs of evals in the background: each row is asked through the one answering path, graded, and kept at once.

runner = EvalRunner(store, current, jobs, concurrency=4)
await runner.open()          when a server starts: what a killed one left is asked, what it had is kept
runner.submit(run.id, rows)  in the transaction that adds it; the rows and the run's status are in the store
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter

from eval.errors import EvalError
from eval.evaluate import Patience
from eval.graders import Criterion, StringCheck, TextSimilarity, grade
from eval.scorer import Embed
from router.answering.answerer import Answer, Answerer, Prepared
from router.answering.arm import Arm
from router.errors import EngineUnavailable
from serving.chat.request import ChatBody
from serving.errors import NotFound
from serving.evals.request import CompletionsSource, CreateRun, JsonlSource
from serving.evals.store import LIVE, RUN_ROWS, Card, EvalStore, ItemStatus, Run
from serving.http.served import CurrentDecision, Served
from storage.errors import ArbiterError, StorageError
from storage.jobs.jobs import LOOK_S, Jobs, JobStopped, RunningJob
from storage.jobs.rows import job_id
from storage.records import from_row

KIND = "eval_run"
# Runs that are under way at once share what may be in flight; more of them wait.
_MAX_RUNS = 8

_CRITERIA = TypeAdapter(list[Criterion])
_log = logging.getLogger("arbiter.evals")
# What is shown of a row that nothing was generated for.
_NO_SAMPLE: Mapping[str, Any] = {
    "input": [],
    "output": [],
    "finish_reason": "",
    "model": "",
    "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "cached_tokens": 0},
    "error": None,
    "temperature": None,
    "top_p": None,
    "max_completion_tokens": None,
    "seed": None,
}


@dataclass(frozen=True, slots=True)
class _Work:
    """One run under way: everything that is the same for all of its rows."""

    run: Run
    source: JsonlSource | CompletionsSource
    rows: Sequence[Mapping[str, Any]]
    criteria: Sequence[StringCheck | TextSimilarity]
    answerer: Answerer
    arm: Arm | None
    patience: Patience


@dataclass(eq=False)
class EvalRunner:
    """At most `concurrency` rows of all runs together are in flight, so that chat requests keep most of the engine.

    An outcome is in the store before it is counted. A row is asked again only if it has none. All rows of a run are
    answered by the arm that `model` meant when the run was created. A silent engine is waited for, `patience_s` in all,
    from `pause_s` on with doubling pauses. `embed` makes the metric `cosine` available.
    """

    store: EvalStore
    current: CurrentDecision
    jobs: Jobs
    concurrency: int = 4
    patience_s: float = 300.0
    pause_s: float = 0.5
    embed: Embed | None = None
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._gate = asyncio.Semaphore(self.concurrency)

    async def open(self) -> None:
        """Begin, with what an earlier server left first."""
        self._loop = asyncio.get_running_loop()
        live = sa.select(RUN_ROWS.c.id).where(RUN_ROWS.c.status.in_(LIVE))
        await asyncio.to_thread(self.jobs.rows.begin_anew, KIND, live)
        # Another server that lives may serve other arms: what one leaves is for its own next start.
        await asyncio.to_thread(self.jobs.begin, KIND, self._work, limit=_MAX_RUNS, takes_over=False)

    def submit(self, run_id: str, rows: sa.Connection) -> None:
        """Work on a run in the background, if the transaction is committed; wake `jobs` then."""
        self.jobs.rows.submit(KIND, run_id, rows=rows)

    def stop(self, run_id: str) -> None:
        """Stop working on a run; its status is the caller's to set, and its items stay."""
        self.jobs.cancel(job_id(KIND, run_id))

    async def close(self) -> None:
        """Stop working; live runs go on when a server starts again."""
        await asyncio.to_thread(self.jobs.stop, KIND)

    def _work(self, running: RunningJob) -> None:
        assert self._loop is not None, "jobs are worked on after `open`"
        error = None
        while True:
            try:
                run = self.store.find_live_run(running.job.key)
                if run is None:
                    return
                error = error or asyncio.run_coroutine_threadsafe(self._run(run, running), self._loop).result()
                if error is None:
                    return
                self.store.set_status(run.id, "failed", error=error)
                break
            except StorageError as trouble:
                # A database is away, which is no fault of the run: what has its outcome is not asked again.
                _log.warning("run=%s waits: %s", running.job.key, trouble)
                running.wait(self.pause_s)
        raise EvalError(error["message"])

    async def _run(self, run: Run, running: RunningJob) -> Mapping[str, str] | None:
        """Why the run failed, if it did. Raises JobStopped, and StorageError while a database is away."""
        try:
            # Held, so that the arm keeps its adapter whatever is promoted meanwhile.
            with self.current.hold() as served:
                async with asyncio.TaskGroup() as group:
                    watch = group.create_task(_watch(running))
                    await self._ask_all(run, served, group)
                    watch.cancel()
        except ExceptionGroup as faults:
            if faults.subgroup(JobStopped) is not None:
                raise JobStopped(running.job.id) from faults
            for fault in faults.exceptions:
                if isinstance(fault, StorageError):
                    raise fault from faults
                if isinstance(fault, ArbiterError):
                    return {"code": "run_failed", "message": str(fault)}
            _log.exception("run=%s failed", run.id)
            return {"code": "internal_error", "message": "the server failed on this run; its log has the reason"}
        return None

    async def _ask_all(self, run: Run, served: Served, group: asyncio.TaskGroup) -> None:
        work = await asyncio.to_thread(self._prepare, run, served)
        async with self._gate:
            if not await asyncio.to_thread(self.store.set_status, run.id, "in_progress"):
                return
        done = await asyncio.to_thread(self.store.done_positions, run.id)
        rows = iter([(i, row) for i, row in enumerate(work.rows) if i not in done])
        # A fault in one of them ends the whole group.
        await asyncio.wait([group.create_task(self._work_off(work, rows)) for _ in range(self.concurrency)])
        if await asyncio.to_thread(self.store.set_status, run.id, "completed"):
            _log.info("run=%s completed", run.id)

    def _prepare(self, run: Run, served: Served) -> _Work:
        source, arm = CreateRun.model_validate({"data_source": run.card["data_source"]}).data_source, None
        if run.work["arm"] is not None:
            measured = from_row(Arm, run.work["arm"])
            with contextlib.suppress(NotFound):
                arm = served.arm(measured.name)
            if arm is None or arm.fingerprint() != measured.fingerprint():
                raise EvalError(
                    f"arm {measured.name!r} is no longer served as it was when the run was created; create it again"
                )
        return _Work(
            run=run,
            source=source,
            rows=run.work["rows"] or run.card["data_source"]["source"]["content"],
            criteria=_CRITERIA.validate_python(self.store.get_eval(run.eval_id)["testing_criteria"]),
            answerer=served.answerer,
            arm=arm,
            patience=Patience(limit_s=self.patience_s, pause_s=self.pause_s),
        )

    async def _work_off(self, work: _Work, rows: Iterator[tuple[int, Mapping[str, Any]]]) -> None:
        for position, row in rows:
            # What the graders see of the row, and what is shown of its sample.
            seen: Card = {"item": row["item"]}
            try:
                if isinstance(work.source, JsonlSource):
                    sample = _given_sample(row.get("sample") or {})
                    if row.get("sample") is not None:
                        seen["sample"] = row["sample"]
                else:
                    assert work.arm is not None
                    ask = partial(self._answer, work, work.arm, work.source.chat_request(row["item"]))
                    prepared, answer = await work.patience.wait_for(ask)
                    sample, seen["sample"] = _shown_sample(prepared, answer), _graded_sample(answer, work.arm)
            except StorageError:
                raise
            except ArbiterError as error:
                code = "engine_unavailable" if isinstance(error, EngineUnavailable) else "invalid_row"
                model = work.arm.name if work.arm is not None else ""
                sample = {**_NO_SAMPLE, "model": model, "error": {"code": code, "message": str(error)}}
            async with self._gate:
                await asyncio.to_thread(self._keep, work, position, seen, sample)

    async def _answer(self, work: _Work, arm: Arm, asked: ChatBody) -> tuple[Prepared, Answer]:
        # The gate is not held while waiting for an engine that is away, or that is started; nor is an engine while the
        # proposers of a mixture may wait for theirs.
        async with contextlib.nullcontext() if arm.proposers else work.answerer.hold(arm), self._gate:
            prepared = await work.answerer.prepare(arm, asked.conversation, asked.options)
            return prepared, await work.answerer.answer(prepared)

    def _keep(self, work: _Work, position: int, seen: Card, sample: Card) -> None:
        # Without an answer there is nothing to grade: no criterion has passed, and none has failed.
        grades = (
            [] if sample["error"] is not None else [grade(criterion, seen, self.embed) for criterion in work.criteria]
        )
        status: ItemStatus = "pass" if all(one.passed for one in grades) else "fail"
        if sample["error"] is not None or any(one.score is None for one in grades):
            status = "error"
        results = [asdict(one) for one in grades]
        outcome = {"datasource_item": seen["item"], "status": status, "results": results, "sample": sample}
        self.store.add_item(work.run, position, outcome)


async def _watch(running: RunningJob) -> None:
    """Raises JobStopped when the work is to end."""
    while True:
        await asyncio.to_thread(running.check)
        await asyncio.sleep(LOOK_S)


def _graded_sample(answer: Answer, arm: Arm) -> Card:
    """What `{{sample.NAME}}` stands for in a generated row."""
    choice = answer.completion.choices[0]
    sample: Card = {
        "model": arm.name,
        "output_text": answer.text,
        "finish_reason": choice.finish_reason,
        "choices": [{"finish_reason": choice.finish_reason, "message": {"role": "assistant", "content": answer.text}}],
    }
    with contextlib.suppress(ValueError, RecursionError):
        sample["output_json"] = json.loads(answer.text)
    return sample


def _shown_sample(prepared: Prepared, answer: Answer) -> Card:
    options = prepared.request.options
    return {
        "input": [{"role": m["role"], "content": m["content"]} for m in prepared.request.messages],
        "output": [{"role": "assistant", "content": answer.text}],
        "finish_reason": answer.completion.choices[0].finish_reason,
        "model": prepared.arm.name,
        "usage": {
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.generated_tokens,
            "total_tokens": answer.prompt_tokens + answer.generated_tokens,
            "cached_tokens": answer.cached_tokens or 0,
        },
        "error": None,
        "temperature": options.get("temperature"),
        "top_p": options.get("top_p"),
        "max_completion_tokens": options.get("max_tokens"),
        "seed": options.get("seed"),
        "arbiter": {
            "arm": prepared.arm.name,
            "kind": prepared.arm.kind,
            "retrieval_ms": round(answer.retrieval_ms, 1),
            "latency_ms": round(answer.latency_ms, 1),
            "proposals": [{"arm": one.arm, "text": one.text, "error": one.error} for one in answer.proposals],
            "file_ids": [passage.document_id for passage in answer.passages],
        },
    }


def _given_sample(given: Mapping[str, Any]) -> Card:
    text = given.get("output_text")
    output = [{"role": "assistant", "content": text}] if isinstance(text, str) else []
    return {**_NO_SAMPLE, "model": str(given.get("model", "")), "output": output}
