"""ragas's metrics behind the `Scorer` shape: those that need no judge, and those that ask one.

    ReferenceScorer(embed, reference_contexts).score(pairs)
    JudgeScorer("http://127.0.0.1:9000/v1", "my-judge", embed=embed).score(pairs)

This is the only module that imports ragas (0.4.3), and only when something is scored. Both scorers run an event loop of
their own: inside async code call them through `asyncio.to_thread`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eval.answers import AnswerRecord
from eval.judge_replies import fault_of
from eval.metrics import Pair, Progress, as_score
from eval.questions import Question

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Embed = Callable[[Sequence[str]], NDArray[np.float32]]

REFERENCE_METRICS = ("string_similarity", "semantic_similarity", "context_precision", "context_recall")
JUDGE_METRICS = (
    "judge_faithfulness",
    "judge_answer_relevancy",
    "judge_factual_correctness",
    "judge_context_precision",
    "judge_context_recall",
)

# Scores in a row for which the judge could not be reached, after which it is not asked any more: a judge that hangs
# would otherwise cost a time-out for each of the scores that are left.
GIVE_UP_AFTER = 8
# The longest metrics make about one request per passage or four in sequence; a score that takes longer than this many
# request time-outs is not worth waiting for.
_TIMEOUTS_PER_SCORE = 3
# The judge works but not for this prompt, which may be too long for it.
_PROMPT_REFUSED = (400, 413, 422)
_REASON_CHARACTERS = 200


class ReferenceScorer:
    """String and semantic similarity to the gold answer, non-LLM context precision and recall against gold passages.

    The similarities take the best over several golds. The context metrics compare passages by string similarity with
    ragas's threshold of 0.5, so `reference_contexts` must return texts of the passages' size (chunks for chunks); they
    are unscored where nothing was retrieved or no gold passage is known.
    """

    names: tuple[str, ...] = REFERENCE_METRICS

    def __init__(self, embed: Embed, reference_contexts: Callable[[Question, AnswerRecord], tuple[str, ...]]) -> None:
        """`embed(texts)`: (n,) texts -> (n, d) float32; it is called once a `score`, with every distinct text."""
        self._embed = embed
        self._reference_contexts = reference_contexts

    def score(self, pairs: Sequence[Pair], progress: Progress | None = None) -> dict[str, list[float | None]]:
        """Scores of every answer; a failed answer is None."""
        jobs = _Jobs(self.names, len(pairs))
        for row, (question, record) in enumerate(pairs):
            if record.error is not None:
                continue
            # Half of the texts are shared among arms, the golds among all of them: each distinct pair is scored once.
            jobs.add("string_similarity", row, (record.text, *question.answers))
            jobs.add("semantic_similarity", row, (record.text, *question.answers))
            gold_passages = self._reference_contexts(question, record)
            if record.passages and gold_passages:
                jobs.add("context_precision", row, (record.passages, gold_passages))
                jobs.add("context_recall", row, (record.passages, gold_passages))
        texts = {text for name, inputs in jobs.distinct if name == "semantic_similarity" for text in inputs}
        metrics = _reference_metrics(_embedded(self._embed, sorted(texts)))

        async def score_all() -> None:
            for name, inputs in jobs.distinct:
                jobs.settle(name, inputs, await metrics[name](*inputs), progress)

        asyncio.run(score_all())
        return jobs.scores

    def diagnostics(self) -> tuple[str, ...]:
        """Nothing is lost: what is unscored here is undefined."""
        return ()


class JudgeScorer:
    """ragas's LLM metrics, each against the first gold answer, asked of any OpenAI-compatible judge.

    A score that the judge did not give (prose instead of JSON, a verdict that is neither 0 nor 1, NaN, a time-out, HTTP
    errors) is None and counted: `failures` maps a metric to the number of such scores of the last `score`, `reasons` to
    the first reason. What is undefined (faithfulness and context metrics without passages) is None and not counted.
    """

    names: tuple[str, ...] = JUDGE_METRICS

    def __init__(
        self,
        url: str,
        model: str,
        *,
        embed: Embed,
        api_key: str = "none",
        concurrency: int = 4,
        timeout_s: float = 60.0,
        max_tokens: int = 1024,
    ) -> None:
        """`url` ends in /v1; `timeout_s` bounds one request, retried once; `concurrency` counts scores in flight."""
        self._url = url
        self._model = model
        self._api_key = api_key
        self._embed = embed
        self._concurrency = concurrency
        self._timeout_s = timeout_s
        self._max_tokens = max_tokens
        self.failures: dict[str, int] = {}
        self.reasons: dict[str, str] = {}

    def score(self, pairs: Sequence[Pair], progress: Progress | None = None) -> dict[str, list[float | None]]:
        """Scores of every answer; equal inputs (as two arms with one index have) are judged once."""
        jobs = _Jobs(self.names, len(pairs))
        for row, (question, record) in enumerate(pairs):
            if record.error is not None:
                continue
            asked, said, gold = question.text, record.text.strip(), question.answers[0]
            if said:
                jobs.add("judge_answer_relevancy", row, (asked, said))
            jobs.add("judge_factual_correctness", row, (said, gold))
            if record.passages:
                if said:
                    jobs.add("judge_faithfulness", row, (asked, said, record.passages))
                jobs.add("judge_context_precision", row, (asked, gold, record.passages))
                jobs.add("judge_context_recall", row, (asked, record.passages, gold))
        self.failures, self.reasons = {}, {}
        asyncio.run(self._score_all(jobs, progress))
        return jobs.scores

    def diagnostics(self) -> tuple[str, ...]:
        """One line per metric that lost scores in the last `score`."""
        return tuple(
            f"{name}: the judge {self._model!r} failed to score {count} answers; the first: {self.reasons[name]}"
            for name, count in self.failures.items()
        )

    async def _score_all(self, jobs: _Jobs, progress: Progress | None) -> None:
        from openai import AsyncOpenAI

        slots = asyncio.Semaphore(self._concurrency)
        unreachable = 0
        async with AsyncOpenAI(
            base_url=self._url, api_key=self._api_key, timeout=self._timeout_s, max_retries=1
        ) as client:
            build = _judge_metrics(client, self._model, self._embed, self._max_tokens)

            async def score_one(name: str, inputs: tuple[Any, ...]) -> None:
                nonlocal unreachable
                async with slots:
                    if unreachable >= GIVE_UP_AFTER:
                        outcome = _Outcome(None, f"not asked any more after {GIVE_UP_AFTER} failed requests in a row")
                    else:
                        outcome = await self._ask(build, name, inputs)
                        unreachable = unreachable + 1 if outcome.is_unreachable else 0
                count = jobs.settle(name, inputs, outcome.value, progress)
                if outcome.value is None:
                    self.failures[name] = self.failures.get(name, 0) + count
                    self.reasons.setdefault(name, outcome.reason)

            await asyncio.gather(*(score_one(name, inputs) for name, inputs in jobs.distinct))

    async def _ask(self, build: Callable[[], _JudgeMetrics], name: str, inputs: tuple[Any, ...]) -> _Outcome:
        import openai

        if name == "judge_factual_correctness" and not inputs[0]:
            return _Outcome(0.0)  # no claim is made, so none of the gold answer's is: F1 is 0 and nobody need be asked
        metrics = build()
        try:
            async with asyncio.timeout(_TIMEOUTS_PER_SCORE * self._timeout_s):
                value = as_score(await metrics.ascore[name](*inputs))
        except TimeoutError:
            waited = _TIMEOUTS_PER_SCORE * self._timeout_s
            return _Outcome(None, f"no score within {waited:g} s", is_unreachable=True)
        # ragas, instructor and pydantic raise many types for a judge's mistakes; whatever it is, one score is lost.
        except Exception as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, openai.APIError):
                cause = cause.__cause__
            if cause is not None:
                is_about_prompt = isinstance(cause, openai.APIStatusError) and cause.status_code in _PROMPT_REFUSED
                return _Outcome(None, _one_line(cause), is_unreachable=not is_about_prompt)
            return _Outcome(None, f"no usable reply: {_one_line(error)}")
        fault = fault_of(metrics.replies)
        if fault is not None:
            return _Outcome(None, fault)
        return _Outcome(value, "the score is NaN" if value is None else "")


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What asking the judge for one score came to; `reason` says why `value` is None."""

    value: float | None
    reason: str = ""
    is_unreachable: bool = False


@dataclass(frozen=True, slots=True)
class _JudgeMetrics:
    """ragas's metrics over one judge, and the replies it gave, in order, to the one score they are used for."""

    ascore: Mapping[str, Callable[..., Awaitable[object]]]
    replies: list[Any]


class _Jobs:
    """Which distinct inputs are to be scored, and where each result belongs: metric -> rows, None until settled."""

    def __init__(self, names: Sequence[str], num_rows: int) -> None:
        self.scores: dict[str, list[float | None]] = {name: [None] * num_rows for name in names}
        self.distinct: dict[tuple[str, tuple[Any, ...]], list[int]] = {}
        self._num_settled = 0

    def add(self, name: str, row: int, inputs: tuple[Any, ...]) -> None:
        self.distinct.setdefault((name, inputs), []).append(row)

    def settle(self, name: str, inputs: tuple[Any, ...], value: float | None, progress: Progress | None) -> int:
        """Write one result to its rows; their number."""
        rows = self.distinct[(name, inputs)]
        for row in rows:
            self.scores[name][row] = value
        self._num_settled += 1
        if progress is not None:
            progress(self._num_settled, len(self.distinct))
        return len(rows)


def _quiet_ragas() -> None:
    """Call before importing ragas: no usage reports to its makers, no log line a failed reply (those are counted)."""
    os.environ["RAGAS_DO_NOT_TRACK"] = "true"
    from ragas._analytics import do_not_track

    do_not_track.cache_clear()  # it remembers what the variable said when ragas was first used
    logging.getLogger("instructor").setLevel(logging.CRITICAL)


def _reference_metrics(embeddings: Any) -> dict[str, Callable[..., Awaitable[float | None]]]:
    _quiet_ragas()
    from ragas.dataset_schema import SingleTurnSample
    from ragas.metrics._context_precision import NonLLMContextPrecisionWithReference
    from ragas.metrics._context_recall import NonLLMContextRecall
    from ragas.metrics.collections import NonLLMStringSimilarity, SemanticSimilarity

    # ragas's new collections lack the two context metrics, and `ragas.metrics` warns about every name that is not in
    # them; the version is pinned, so they are taken from where they live.
    precision, recall = NonLLMContextPrecisionWithReference(), NonLLMContextRecall()

    def best(metric: Any) -> Callable[..., Awaitable[float | None]]:
        async def score(answer: str, *golds: str) -> float | None:
            results = [as_score((await metric.ascore(reference=gold, response=answer)).value) for gold in golds]
            return max((value for value in results if value is not None), default=None)

        return score

    def over_passages(metric: Any) -> Callable[..., Awaitable[float | None]]:
        async def score(retrieved: tuple[str, ...], golds: tuple[str, ...]) -> float | None:
            sample = SingleTurnSample(retrieved_contexts=list(retrieved), reference_contexts=list(golds))
            return as_score(await metric.single_turn_ascore(sample))

        return score

    return {
        "string_similarity": best(NonLLMStringSimilarity()),
        "semantic_similarity": best(SemanticSimilarity(embeddings=embeddings)),
        "context_precision": over_passages(precision),
        "context_recall": over_passages(recall),
    }


def _judge_metrics(client: AsyncOpenAI, model: str, embed: Embed, max_tokens: int) -> Callable[[], _JudgeMetrics]:
    """A builder, because the metrics are made anew for every score: only so it is known which replies led to it."""
    _quiet_ragas()
    from ragas.llms import llm_factory
    from ragas.llms.base import InstructorBaseRagasLLM
    from ragas.metrics.collections import (
        AnswerRelevancy,
        ContextPrecisionWithReference,
        ContextRecall,
        FactualCorrectness,
        Faithfulness,
    )

    # One further try after a reply that does not parse, with instructor's own words about what was wrong.
    llm = llm_factory(model, client=client, max_tokens=max_tokens, max_retries=1)
    embeddings = _embedded(embed, ())

    class Recording(InstructorBaseRagasLLM):  # type: ignore[misc]  # ragas is untyped here
        """The judge, keeping its replies."""

        def __init__(self) -> None:
            self.replies: list[Any] = []

        def generate(self, prompt: str, response_model: Any) -> Any:
            raise NotImplementedError("scores are computed asynchronously")

        async def agenerate(self, prompt: str, response_model: Any) -> Any:
            reply = await llm.agenerate(prompt, response_model)
            self.replies.append(reply)
            return reply

    def build() -> _JudgeMetrics:
        judge = Recording()
        faithfulness, relevancy = Faithfulness(llm=judge), AnswerRelevancy(llm=judge, embeddings=embeddings)
        correctness, recall = FactualCorrectness(llm=judge), ContextRecall(llm=judge)
        precision = ContextPrecisionWithReference(llm=judge)

        async def value(result: Awaitable[Any]) -> object:
            return (await result).value

        return _JudgeMetrics(
            ascore={
                "judge_faithfulness": lambda asked, said, seen: value(faithfulness.ascore(asked, said, list(seen))),
                "judge_answer_relevancy": lambda asked, said: value(relevancy.ascore(asked, said)),
                "judge_factual_correctness": lambda said, gold: value(correctness.ascore(said, gold)),
                "judge_context_precision": lambda asked, gold, seen: value(precision.ascore(asked, gold, list(seen))),
                "judge_context_recall": lambda asked, seen, gold: value(recall.ascore(asked, list(seen), gold)),
            },
            replies=judge.replies,
        )

    return build


def _embedded(embed: Embed, texts: Sequence[str]) -> Any:
    """`embed` as the object that ragas wants, with `texts` embedded at once beforehand; ragas asks for them singly."""
    _quiet_ragas()
    from ragas.embeddings.base import BaseRagasEmbedding

    class Embedded(BaseRagasEmbedding):  # type: ignore[misc]  # ragas is untyped here
        """Remembers every vector; the lock keeps a model that is not thread-safe to one caller."""

        def __init__(self) -> None:
            super().__init__()
            self._lock = threading.Lock()
            self._vectors: dict[str, NDArray[np.float32]] = {}
            self.embed_texts(list(texts))

        def embed_texts(self, texts: list[str], **_: object) -> list[NDArray[np.float32]]:
            with self._lock:
                unknown = [text for text in dict.fromkeys(texts) if text not in self._vectors]
                if unknown:
                    self._vectors.update(zip(unknown, embed(unknown), strict=True))
                return [self._vectors[text] for text in texts]

        async def aembed_texts(self, texts: list[str], **_: object) -> list[NDArray[np.float32]]:
            return await asyncio.to_thread(self.embed_texts, texts)

        def embed_text(self, text: str, **_: object) -> NDArray[np.float32]:
            return self.embed_texts([text])[0]

        async def aembed_text(self, text: str, **_: object) -> NDArray[np.float32]:
            return (await self.aembed_texts([text]))[0]

    return Embedded()


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _REASON_CHARACTERS else text[: _REASON_CHARACTERS - 1] + "…"
