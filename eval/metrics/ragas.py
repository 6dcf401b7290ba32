"""ragas's metrics as scorers: those that need no judge, and those that ask one.

    reference_scorer(embed, reference_contexts).score(pairs)
    judge_scorer(JudgeEndpoint("http://127.0.0.1:9000/v1", "my-judge"), embed=embed).score(pairs)

This module and eval/judge/asking.py are the only ones that import ragas (0.4.3), and only when something is scored.
Both scorers run an event loop of their own, in a thread where one runs already.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.answers import AnswerRecord
from eval.judge.asking import Ask, Outcome, ask_all, quiet_ragas
from eval.questions import Question
from eval.scorer import Embed, Pair, Progress, Scorer, to_score
from eval.settings import JudgeEndpoint
from eval.tasks import run_anywhere

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
# By these an answer that failed is wrong; the others say something of answers and passages that there are.
_FAILED_IS_WRONG = ("string_similarity", "semantic_similarity", *_EMPTY_IS_WRONG)

AskAll = Callable[[Sequence[Ask], Callable[[Ask, Outcome], None]], Coroutine[Any, Any, object]]


def reference_scorer(embed: Embed, reference_contexts: Callable[[Question, AnswerRecord], tuple[str, ...]]) -> Scorer:
    """String and semantic similarity to the gold answer, non-LLM context precision and recall against gold passages.

    The similarities take the best over several golds. The context metrics compare passages by string similarity with
    ragas's threshold of 0.5, so `reference_contexts` must return texts of the passages' size (chunks for chunks); they
    are unscored where nothing was retrieved or no gold passage is known. `embed` is called once a `score`, with every
    distinct text.
    """

    def asks(question: Question, record: AnswerRecord) -> Iterator[Ask]:
        for gold in question.answers:
            yield Ask("string_similarity", (record.text, gold))
            yield Ask("semantic_similarity", (record.text, gold))
        gold_passages = reference_contexts(question, record)
        if record.passages and gold_passages:
            yield Ask("context_precision", (record.passages, gold_passages))
            yield Ask("context_recall", (record.passages, gold_passages))

    async def ask_ragas(asks: Sequence[Ask], hear: Callable[[Ask, Outcome], None]) -> None:
        texts = {str(text) for ask in asks if ask.name == "semantic_similarity" for text in ask.inputs}
        metrics = _reference_metrics(_embedded(embed, sorted(texts)))
        for ask in asks:
            hear(ask, Outcome(to_score(await metrics[ask.name](*ask.inputs))))

    return _ragas_scorer(REFERENCE_METRICS, asks, ask_ragas, called="ragas")


def judge_scorer(endpoint: JudgeEndpoint, *, embed: Embed) -> Scorer:
    """ragas's LLM metrics, asked of any OpenAI-compatible judge.

    `judge_correctness` is one direct verdict, right or wrong, against all gold answers: it is what certification
    measures. `judge_claim_recall` is the share of the first gold answer's claims that the answer holds. The others are
    ragas's own, against the first gold answer.

    Lost are scores that the judge did not give: prose instead of JSON, a verdict that is neither 0 nor 1, NaN, a
    time-out, HTTP errors. Undefined are faithfulness and context metrics without passages.
    """

    async def ask_judge(asks: Sequence[Ask], hear: Callable[[Ask, Outcome], None]) -> None:
        wrong = {ask for ask in asks if ask.name in _EMPTY_IS_WRONG and "" in ask.inputs}
        for ask in wrong:
            hear(ask, Outcome(0.0))
        await ask_all(endpoint, [ask for ask in asks if ask not in wrong], hear, _embedded(embed, ()))

    return _ragas_scorer(JUDGE_METRICS, _judge_asks, ask_judge, called=f"the judge {endpoint.model!r}")


def _ragas_scorer(
    names: tuple[str, ...], asks_of: Callable[[Question, AnswerRecord], Iterator[Ask]], ask_all: AskAll, *, called: str
) -> Scorer:
    """Nothing is asked for twice, whatever came of it: two arms with one index have equal inputs, and a race looks at
    the answers so far again and again. Of several asks of one name the best one counts.
    """
    known: dict[Ask, Outcome] = {}
    asks: dict[tuple[str, AnswerRecord], tuple[Ask, ...]] = {}

    def prepare(pairs: Sequence[Pair], progress: Progress | None) -> None:
        asks.clear()
        asks.update({(question.id, record): tuple(asks_of(question, record)) for question, record in pairs})
        new = [ask for ask in dict.fromkeys(itertools.chain(*asks.values())) if ask not in known]
        done = itertools.count(1)

        def hear(ask: Ask, outcome: Outcome) -> None:
            known[ask] = outcome
            if progress is not None:
                progress(next(done), len(new))

        if new:
            run_anywhere(lambda: ask_all(new, hear))

    def score_one(question: Question, record: AnswerRecord) -> list[float | str | None]:
        found: dict[str, float | str | None] = dict.fromkeys(names)
        for ask in asks[question.id, record]:
            outcome, best = known[ask], found[ask.name]
            if outcome.value is None:
                found[ask.name] = best if outcome.reason == "" else outcome.reason
            else:
                found[ask.name] = max(outcome.value, best) if isinstance(best, float) else outcome.value
        return list(found.values())

    return Scorer(names, score_one, prepare, called, [0.0 if name in _FAILED_IS_WRONG else None for name in names])


def _judge_asks(question: Question, record: AnswerRecord) -> Iterator[Ask]:
    asked, said, gold = question.in_full, record.text.strip(), question.answers[0]
    if said:
        yield Ask("judge_answer_relevancy", (asked, said))
    yield Ask("judge_factual_correctness", (said, gold))
    yield Ask("judge_claim_recall", (gold, said))
    yield Ask("judge_correctness", (asked, question.answers, said))
    if record.passages:
        if said:
            yield Ask("judge_faithfulness", (asked, said, record.passages))
        yield Ask("judge_context_precision", (asked, gold, record.passages))
        yield Ask("judge_context_recall", (asked, record.passages, gold))


def _reference_metrics(embeddings: object) -> dict[str, Callable[..., Awaitable[object]]]:
    quiet_ragas()
    from ragas.dataset_schema import SingleTurnSample

    # ragas's new collections lack the two context metrics, and `ragas.metrics` warns about every name that is not in
    # them; the version is pinned, so they are taken from where they live.
    from ragas.metrics._context_precision import NonLLMContextPrecisionWithReference
    from ragas.metrics._context_recall import NonLLMContextRecall
    from ragas.metrics.collections import NonLLMStringSimilarity, SemanticSimilarity

    async def compare(metric: Any, answer: str, gold: str) -> object:
        return (await metric.ascore(reference=gold, response=answer)).value

    async def compare_passages(metric: Any, retrieved: tuple[str, ...], golds: tuple[str, ...]) -> object:
        sample = SingleTurnSample(retrieved_contexts=list(retrieved), reference_contexts=list(golds))
        return await metric.single_turn_ascore(sample)

    return {
        "string_similarity": partial(compare, NonLLMStringSimilarity()),
        "semantic_similarity": partial(compare, SemanticSimilarity(embeddings=embeddings)),
        "context_precision": partial(compare_passages, NonLLMContextPrecisionWithReference()),
        "context_recall": partial(compare_passages, NonLLMContextRecall()),
    }


def _embedded(embed: Embed, texts: Sequence[str]) -> Any:
    """`embed` as the object that ragas wants, with `texts` embedded at once beforehand; ragas asks for them singly."""
    quiet_ragas()
    from ragas.embeddings.base import BaseRagasEmbedding

    vectors: dict[str, NDArray[np.float32]] = dict(zip(texts, embed(texts), strict=True)) if texts else {}

    class Embedded(BaseRagasEmbedding):  # type: ignore[misc]  # ragas is untyped here
        """Remembers every vector."""

        def embed_text(self, text: str, **_: object) -> NDArray[np.float32]:
            if text not in vectors:
                vectors[text] = embed([text])[0]
            return vectors[text]

        async def aembed_text(self, text: str, **_: object) -> NDArray[np.float32]:
            # In the loop's own thread, so that a model that is not thread-safe has one caller.
            return self.embed_text(text)

    return Embedded()
