"""ragas's metrics behind the `Scorer` shape: those that need no judge, and those that ask one.

    ReferenceScorer(embed, reference_contexts).score(pairs)
    JudgeScorer(JudgeEndpoint("http://127.0.0.1:9000/v1", "my-judge"), embed=embed).score(pairs)

This module and eval/judge/asking.py are the only ones that import ragas (0.4.3), and only when something is scored.
Both scorers run an event loop of their own: inside async code call them through `asyncio.to_thread`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.answers import AnswerRecord
from eval.judge.asking import GIVE_UP_AFTER, Judge, Outcome, open_judge, quiet_ragas
from eval.judge.endpoint import JudgeEndpoint
from eval.questions import Question
from eval.scorer import Embed, Pair, Progress, to_score

REFERENCE_METRICS = ("string_similarity", "semantic_similarity", "context_precision", "context_recall")
JUDGE_METRICS = (
    "judge_faithfulness",
    "judge_answer_relevancy",
    "judge_factual_correctness",
    "judge_context_precision",
    "judge_context_recall",
    "judge_claim_recall",
    "judge_correctness",
)
# An empty answer is wrong by these without asking: it makes no claim, holds none of the gold's, and is no answer.
_EMPTY_IS_WRONG = ("judge_factual_correctness", "judge_claim_recall", "judge_correctness")


class ReferenceScorer:
    """String and semantic similarity to the gold answer, non-LLM context precision and recall against gold passages.

    The similarities take the best over several golds. The context metrics compare passages by string similarity with
    ragas's threshold of 0.5, so `reference_contexts` must return texts of the passages' size (chunks for chunks); they
    are unscored where nothing was retrieved or no gold passage is known.
    """

    names: tuple[str, ...] = REFERENCE_METRICS

    def __init__(self, embed: Embed, reference_contexts: Callable[[Question, AnswerRecord], tuple[str, ...]]) -> None:
        """`embed` is called once a `score`, with every distinct text."""
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
    """ragas's LLM metrics, asked of any OpenAI-compatible judge.

    `judge_correctness` is one direct verdict, right or wrong, against all gold answers: it is what certification
    measures. `judge_claim_recall` is the share of the first gold answer's claims that the answer holds. The others are
    ragas's own, against the first gold answer.

    A score that the judge did not give (prose instead of JSON, a verdict that is neither 0 nor 1, NaN, a time-out, HTTP
    errors) is None and counted: `failures` maps a metric to the number of such scores of the last `score`, `reasons` to
    the first reason. What is undefined (faithfulness and context metrics without passages) is None and not counted.
    """

    names: tuple[str, ...] = JUDGE_METRICS

    def __init__(self, endpoint: JudgeEndpoint, *, embed: Embed) -> None:
        self._endpoint = endpoint
        self._embed = embed
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
            jobs.add("judge_claim_recall", row, (said, gold))
            jobs.add("judge_correctness", row, (asked, said, question.answers))
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
        judge = self._endpoint.model
        return tuple(
            f"{name}: the judge {judge!r} failed to score {count} answers; the first: {self.reasons[name]}"
            for name, count in self.failures.items()
        )

    async def _score_all(self, jobs: _Jobs, progress: Progress | None) -> None:
        slots = asyncio.Semaphore(self._endpoint.concurrency)
        unreachable = 0
        async with open_judge(self._endpoint, _embedded(self._embed, ())) as judge:

            async def score_one(name: str, inputs: tuple[Any, ...]) -> None:
                nonlocal unreachable
                async with slots:
                    if unreachable >= GIVE_UP_AFTER:
                        outcome = Outcome(None, f"not asked any more after {GIVE_UP_AFTER} failed requests in a row")
                    else:
                        outcome = await _ask(judge, name, inputs)
                        unreachable = unreachable + 1 if outcome.is_unreachable else 0
                count = jobs.settle(name, inputs, outcome.value, progress)
                if outcome.value is None:
                    self.failures[name] = self.failures.get(name, 0) + count
                    self.reasons.setdefault(name, outcome.reason)

            await asyncio.gather(*(score_one(name, inputs) for name, inputs in jobs.distinct))


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


async def _ask(judge: Judge, name: str, inputs: tuple[Any, ...]) -> Outcome:
    said = inputs[1] if name == "judge_correctness" else inputs[0]
    if name in _EMPTY_IS_WRONG and not said:
        return Outcome(0.0)
    return await judge.ask(name, inputs)


def _reference_metrics(embeddings: Any) -> dict[str, Callable[..., Awaitable[float | None]]]:
    quiet_ragas()
    from ragas.dataset_schema import SingleTurnSample
    from ragas.metrics._context_precision import NonLLMContextPrecisionWithReference
    from ragas.metrics._context_recall import NonLLMContextRecall
    from ragas.metrics.collections import NonLLMStringSimilarity, SemanticSimilarity

    # ragas's new collections lack the two context metrics, and `ragas.metrics` warns about every name that is not in
    # them; the version is pinned, so they are taken from where they live.
    precision, recall = NonLLMContextPrecisionWithReference(), NonLLMContextRecall()

    def best(metric: Any) -> Callable[..., Awaitable[float | None]]:
        async def score(answer: str, *golds: str) -> float | None:
            results = [to_score((await metric.ascore(reference=gold, response=answer)).value) for gold in golds]
            return max((value for value in results if value is not None), default=None)

        return score

    def over_passages(metric: Any) -> Callable[..., Awaitable[float | None]]:
        async def score(retrieved: tuple[str, ...], golds: tuple[str, ...]) -> float | None:
            sample = SingleTurnSample(retrieved_contexts=list(retrieved), reference_contexts=list(golds))
            return to_score(await metric.single_turn_ascore(sample))

        return score

    return {
        "string_similarity": best(NonLLMStringSimilarity()),
        "semantic_similarity": best(SemanticSimilarity(embeddings=embeddings)),
        "context_precision": over_passages(precision),
        "context_recall": over_passages(recall),
    }


def _embedded(embed: Embed, texts: Sequence[str]) -> Any:
    """`embed` as the object that ragas wants, with `texts` embedded at once beforehand; ragas asks for them singly."""
    quiet_ragas()
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
