from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from numpy.typing import NDArray

from eval.answers import AnswerRecord
from eval.questions import Question
from eval.ragas_metrics import GIVE_UP_AFTER, JUDGE_METRICS, REFERENCE_METRICS, JudgeScorer, ReferenceScorer

TOWER = "The Eiffel Tower is in Paris. It was built in 1889."
BRIDGE = "The Golden Gate Bridge is in California."
QUESTION = Question("q1", "Where is the Eiffel Tower?", answers=("Paris", "in Paris"), document_ids=("tower",))
RIGHT = AnswerRecord("rag", "q1", "Paris", passages=(TOWER, BRIDGE), passage_documents=("tower", "bridge"))
CLOSED_BOOK = AnswerRecord("base", "q1", "Paris")
FAILED = AnswerRecord("rag", "q1", "", passages=(TOWER,), error="the engine answered 500")


class Embedder:
    """Vectors by hand: Paris (1, 0), London (0, 1), everything else (1, 1)."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.calls.append(list(texts))
        known = {"Paris": (1, 0), "London": (0, 1), "Nowhere": (-1, 0)}
        return np.array([known.get(text, (1, 1)) for text in texts], dtype=np.float32)


def reference_scorer(embed: Embedder, contexts: tuple[str, ...] = (TOWER,)) -> ReferenceScorer:
    return ReferenceScorer(embed, lambda question, record: contexts)


def test_similarities_take_the_best_gold_answer() -> None:
    scores = reference_scorer(Embedder()).score([(QUESTION, AnswerRecord("base", "q1", "Pairs"))])
    # Two of five letters change against "Paris" (0.6); against "in Paris" five of eight (0.375).
    assert scores["string_similarity"][0] == pytest.approx(0.6)
    # (1,1) against "Paris" (1,0) is 1 / sqrt(2), against "in Paris" (1,1) it is 1.
    assert scores["semantic_similarity"][0] == pytest.approx(1.0)


def test_a_negative_cosine_scores_zero() -> None:
    question = Question("q", "Where?", answers=("Paris",))
    scores = reference_scorer(Embedder()).score([(question, AnswerRecord("base", "q", "Nowhere"))])
    assert scores["semantic_similarity"] == [0.0]


def test_context_metrics_compare_the_passages_with_the_gold_passages() -> None:
    reversed_order = AnswerRecord("rag", "q1", "Paris", passages=(BRIDGE, TOWER))
    missed = AnswerRecord("rag", "q1", "Paris", passages=(BRIDGE,))
    scores = reference_scorer(Embedder()).score([(QUESTION, RIGHT), (QUESTION, reversed_order), (QUESTION, missed)])
    # The gold passage stands first (average precision 1), second (1/2), nowhere (0).
    assert scores["context_precision"] == pytest.approx([1.0, 0.5, 0.0], abs=1e-6)
    assert scores["context_recall"] == [1.0, 1.0, 0.0]


def test_context_metrics_are_unscored_without_passages_or_without_gold_passages() -> None:
    without_passages = reference_scorer(Embedder()).score([(QUESTION, CLOSED_BOOK)])
    without_golds = reference_scorer(Embedder(), contexts=()).score([(QUESTION, RIGHT)])
    for scores in (without_passages, without_golds):
        assert scores["context_precision"] == scores["context_recall"] == [None]
        assert scores["string_similarity"] == [1.0]


def test_a_failed_answer_is_unscored_by_every_reference_metric() -> None:
    scores = reference_scorer(Embedder()).score([(QUESTION, FAILED), (QUESTION, RIGHT)])
    assert {name: values[0] for name, values in scores.items()} == dict.fromkeys(REFERENCE_METRICS)
    assert all(values[1] is not None for values in scores.values())


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # ragas divides by the norm
def test_a_vector_of_zeros_is_unscored() -> None:
    scorer = ReferenceScorer(lambda texts: np.zeros((len(texts), 2), dtype=np.float32), lambda question, record: ())
    assert scorer.score([(QUESTION, CLOSED_BOOK)])["semantic_similarity"] == [None]


def test_every_distinct_text_is_embedded_once_and_in_one_call() -> None:
    embed = Embedder()
    progress: list[tuple[int, int]] = []
    pairs = [(QUESTION, RIGHT), (QUESTION, CLOSED_BOOK), (QUESTION, AnswerRecord("base", "q1", "London"))]
    reference_scorer(embed).score(pairs, lambda done, total: progress.append((done, total)))
    assert embed.calls == [["London", "Paris", "in Paris"]]
    assert progress[-1] == (6, 6)  # two answers by two similarities, one set of passages by two context metrics


def test_importing_the_module_imports_no_ragas() -> None:
    code = "import sys, eval.ragas_metrics; sys.exit('ragas' in sys.modules or 'openai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_ragas_is_told_not_to_report_to_its_makers(monkeypatch: pytest.MonkeyPatch) -> None:
    from ragas._analytics import do_not_track

    monkeypatch.setenv("RAGAS_DO_NOT_TRACK", "false")
    do_not_track.cache_clear()
    assert not do_not_track()
    reference_scorer(Embedder()).score([(QUESTION, RIGHT)])
    assert do_not_track()


@dataclass
class Judge:
    """A scripted OpenAI-compatible judge; `reply(schema, given)` gives its content, `status` an HTTP error instead.

    The honest reply: an answer is one statement a sentence, and a statement holds when it stands in the context.
    """

    url: str = ""
    reply: Callable[[str, dict[str, object]], str] | None = None
    status: Callable[[int], int] = field(default=lambda number: 200)
    delay_s: float = 0.0
    requests: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def answer(self, body: dict[str, object]) -> tuple[int, dict[str, object]]:
        messages = body["messages"]
        assert isinstance(messages, list)
        prompt = next(str(m["content"]) for m in messages if "Now perform the same" in str(m["content"]))
        schema = next(name for name in HONEST if f'"title": "{name}"' in prompt)
        given = json.loads(prompt.split("following input\ninput: ")[1].rsplit("\nOutput:", 1)[0])
        self.requests.append((schema, given))
        status = self.status(len(self.requests))
        if status != 200:
            return status, {"error": {"message": "scripted", "type": "scripted", "code": None, "param": None}}
        if self.delay_s:
            self.released.wait(self.delay_s)
        content = (self.reply or honest)(schema, given)
        message = {"role": "assistant", "content": content}
        return 200, {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "judge",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }

    def scorer(self, **options: object) -> JudgeScorer:
        return JudgeScorer(self.url, "judge", embed=Embedder(), **{"timeout_s": 5.0, **options})  # type: ignore[arg-type]


def sentences(text: object) -> list[str]:
    return [part.strip().rstrip(".") for part in str(text).split(". ") if part.strip()]


def rulings(statements: Sequence[str], context: object, key: str) -> list[dict[str, object]]:
    return [{"statement": s, "reason": "r", key: int(s.lower() in str(context).lower())} for s in statements]


HONEST: dict[str, Callable[[dict[str, object]], dict[str, object]]] = {
    "StatementGeneratorOutput": lambda given: {"statements": sentences(given["answer"])},
    "ClaimDecompositionOutput": lambda given: {"claims": sentences(given["response"])},
    "NLIStatementOutput": lambda given: {
        "statements": rulings(given["statements"], given["context"], "verdict")  # type: ignore[arg-type]
    },
    "ContextPrecisionOutput": lambda given: {
        "reason": "r",
        "verdict": int(str(given["answer"]) in str(given["context"])),
    },
    "ContextRecallOutput": lambda given: {
        "classifications": rulings(sentences(given["answer"]), given["context"], "attributed")
    },
    "AnswerRelevanceOutput": lambda given: {
        "question": f"What of {given['response']}?",
        "noncommittal": int("know" in str(given["response"])),
    },
}


def honest(schema: str, given: dict[str, object]) -> str:
    return json.dumps(HONEST[schema](given))


@pytest.fixture
def judge() -> Iterator[Judge]:
    scripted = Judge()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, row = scripted.answer(body)
            payload = json.dumps(row).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
                self.send_header("retry-after-ms", "1")
                self.end_headers()
                self.wfile.write(payload)
            except BrokenPipeError:
                pass  # the client did not wait

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    scripted.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield scripted
    scripted.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_honest_judge_scores_every_metric(judge: Judge) -> None:
    question = Question("q", "Where is the Eiffel Tower?", answers=("It was built in 1889. It is in France.",))
    answer = AnswerRecord(
        "rag",
        "q",
        "It was built in 1889. It is red. It is tall.",
        passages=(BRIDGE, TOWER),
        passage_documents=("b", "t"),
    )
    scorer = judge.scorer()
    scores = scorer.score([(question, answer)])
    assert scorer.failures == {}
    # One of three statements stands in the passages.
    assert scores["judge_faithfulness"] == pytest.approx([1 / 3])
    # One of three claims stands in the gold answer, one of its two in the answer: P 1/3, fn 1 so R 1/2, F1 0.4.
    assert scores["judge_factual_correctness"] == pytest.approx([0.4])
    # One of the gold answer's two statements stands in the passages.
    assert scores["judge_context_recall"] == [0.5]
    # The whole gold answer stands in no passage.
    assert scores["judge_context_precision"] == [0.0]
    # The written question and the asked one have the same vector.
    assert scores["judge_answer_relevancy"] == pytest.approx([1.0])


def test_metrics_without_a_meaning_are_neither_asked_nor_counted(judge: Judge) -> None:
    scorer = judge.scorer()
    scores = scorer.score([(QUESTION, CLOSED_BOOK), (QUESTION, FAILED)])
    unscored = {name for name, values in scores.items() if values == [None, None]}
    assert unscored == {"judge_faithfulness", "judge_context_precision", "judge_context_recall"}
    assert scores["judge_factual_correctness"] == [1.0, None]
    assert scorer.failures == {}
    assert scorer.diagnostics() == ()


def test_an_empty_answer_is_factually_wrong_without_asking(judge: Judge) -> None:
    scores = judge.scorer().score([(QUESTION, AnswerRecord("base", "q1", " "))])
    assert scores["judge_factual_correctness"] == [0.0]
    assert judge.requests == []


def test_an_answer_that_claims_nothing_is_factually_wrong(judge: Judge) -> None:
    def no_claims_for_the_answer(schema: str, given: dict[str, object]) -> str:
        return '{"claims": []}' if given.get("response") == "No idea" else honest(schema, given)

    judge.reply = no_claims_for_the_answer
    scores = judge.scorer().score([(QUESTION, AnswerRecord("base", "q1", "No idea"))])
    assert scores["judge_factual_correctness"] == [0.0]


def test_equal_answers_of_two_arms_are_judged_once(judge: Judge) -> None:
    twin = AnswerRecord("hybrid", "q1", RIGHT.text, passages=RIGHT.passages)
    judge.scorer().score([(QUESTION, RIGHT)])
    alone = len(judge.requests)
    scores = judge.scorer().score([(QUESTION, RIGHT), (QUESTION, twin)])
    assert len(judge.requests) == 2 * alone
    assert all(first == second is not None for first, second in scores.values())


def test_a_failed_score_counts_for_every_answer_that_shares_it(judge: Judge) -> None:
    judge.status = lambda number: 400
    twin = AnswerRecord("hybrid", "q1", RIGHT.text, passages=RIGHT.passages)
    scorer = judge.scorer()
    scorer.score([(QUESTION, RIGHT), (QUESTION, twin)])
    assert scorer.failures == dict.fromkeys(JUDGE_METRICS, 2)


@pytest.mark.parametrize(
    ("replies", "metric", "reason"),
    [
        ({}, "judge_context_recall", "no usable reply"),
        ({"ContextPrecisionOutput": '{"reason": "r", "verdict": NaN}'}, "judge_context_precision", "no usable reply"),
        ({"ContextPrecisionOutput": '{"reason": "r", "verdict": 7}'}, "judge_context_precision", "verdict 7"),
        ({"ContextRecallOutput": '{"classifications": []}'}, "judge_context_recall", "NaN"),
        ({"AnswerRelevanceOutput": '{"question": "", "noncommittal": 0}'}, "judge_answer_relevancy", "no question"),
        ({"ClaimDecompositionOutput": '{"claims": []}'}, "judge_factual_correctness", "no claim in the gold"),
        ({"NLIStatementOutput": '{"statements": []}'}, "judge_faithfulness", "0 of 1 statements"),
        ({"NLIStatementOutput": '{"statements": []}'}, "judge_factual_correctness", "0 of 1 statements"),
        ({"StatementGeneratorOutput": '{"statements": []}'}, "judge_faithfulness", "NaN"),
    ],
)
def test_a_worthless_reply_is_unscored_and_counted_never_zero(
    judge: Judge, replies: dict[str, str], metric: str, reason: str
) -> None:
    judge.reply = lambda schema, given: (
        replies.get(schema, honest(schema, given)) if replies else "Well, I would say so."
    )
    scorer = judge.scorer()
    scores = scorer.score([(QUESTION, RIGHT)])
    assert scores[metric] == [None]
    assert scorer.failures[metric] == 1
    assert reason in scorer.reasons[metric]
    assert set(scorer.failures) == {name for name in JUDGE_METRICS if scores[name] == [None]}
    assert any(
        line.startswith(f"{metric}: the judge 'judge' failed to score 1 answers") for line in scorer.diagnostics()
    )


def test_one_bad_reply_is_asked_again(judge: Judge) -> None:
    judge.reply = lambda schema, given: "prose" if len(judge.requests) == 1 else honest(schema, given)
    scorer = judge.scorer(concurrency=1)
    scores = scorer.score([(QUESTION, RIGHT)])
    assert scorer.failures == {}
    assert all(values[0] is not None for values in scores.values())


def test_failures_are_those_of_the_last_score(judge: Judge) -> None:
    judge.status = lambda number: 500
    scorer = judge.scorer()
    scorer.score([(QUESTION, RIGHT)])
    assert set(scorer.failures) == set(scorer.reasons) == set(JUDGE_METRICS)
    judge.status = lambda number: 200
    scorer.score([(QUESTION, RIGHT)])
    assert scorer.failures == scorer.reasons == {}


def test_one_busy_reply_is_asked_again(judge: Judge) -> None:
    judge.status = lambda number: 429 if number == 1 else 200
    scorer = judge.scorer(concurrency=1)
    scorer.score([(QUESTION, RIGHT)])
    assert scorer.failures == {}


@pytest.mark.parametrize("status", [429, 500])
def test_a_judge_that_only_fails_loses_every_score_and_is_given_up(judge: Judge, status: int) -> None:
    judge.status = lambda number: status
    pairs = [(QUESTION, AnswerRecord("base", "q1", f"answer {number}")) for number in range(20)]
    scorer = judge.scorer(concurrency=1)
    scores = scorer.score(pairs)
    assert all(value is None for values in scores.values() for value in values)
    assert scorer.failures == {"judge_answer_relevancy": 20, "judge_factual_correctness": 20}
    assert str(status) in scorer.reasons["judge_answer_relevancy"]
    assert len(judge.requests) == 2 * GIVE_UP_AFTER  # each tried twice, the other 32 scores not at all


def test_a_refused_prompt_does_not_count_toward_giving_up(judge: Judge) -> None:
    judge.status = lambda number: 400
    pairs = [(QUESTION, AnswerRecord("base", "q1", f"answer {number}")) for number in range(GIVE_UP_AFTER + 4)]
    scorer = judge.scorer(concurrency=1)
    scorer.score(pairs)
    assert len(judge.requests) == 2 * len(pairs)  # two metrics, no retry of a 400


def test_a_hanging_judge_is_not_waited_for_for_ever(judge: Judge) -> None:
    judge.delay_s = 60
    pairs = [(QUESTION, AnswerRecord("base", "q1", f"answer {number}")) for number in range(50)]
    scorer = judge.scorer(timeout_s=0.2, concurrency=8)
    started = time.monotonic()
    scores = scorer.score(pairs)
    assert time.monotonic() - started < 10
    assert all(value is None for values in scores.values() for value in values)
    assert scorer.failures["judge_factual_correctness"] == 50


def test_an_unreachable_judge_is_unscored_with_the_reason() -> None:
    scorer = JudgeScorer("http://127.0.0.1:9/v1", "judge", embed=Embedder(), timeout_s=2.0)
    scores = scorer.score([(QUESTION, RIGHT)])
    assert set(scores) == set(JUDGE_METRICS)
    assert all(values == [None] for values in scores.values())
    assert "Connection error" in scorer.reasons["judge_faithfulness"]


def test_progress_reaches_its_end_though_scores_fail(judge: Judge) -> None:
    judge.status = lambda number: 500
    seen: list[tuple[int, int]] = []
    judge.scorer().score([(QUESTION, RIGHT)], lambda done, total: seen.append((done, total)))
    assert seen == [(number, 5) for number in range(1, 6)]
