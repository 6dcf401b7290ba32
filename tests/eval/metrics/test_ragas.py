from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from fakes.judges import ScriptedJudge, honest, serve_judge
from numpy.typing import NDArray

from eval.answers import AnswerRecord
from eval.judge.asking import GIVE_UP_AFTER
from eval.metrics.ragas import JUDGE_METRICS, REFERENCE_METRICS, judge_scorer, reference_scorer
from eval.questions import Question
from eval.scorer import Scorer
from eval.settings import JudgeEndpoint

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


def scorer_with(embed: Embedder, contexts: tuple[str, ...] = (TOWER,)) -> Scorer:
    return reference_scorer(embed, lambda question, record: contexts)


def test_similarities_take_the_best_gold_answer() -> None:
    scores = scorer_with(Embedder()).score([(QUESTION, AnswerRecord("base", "q1", "Pairs"))])
    # Two of five letters change against "Paris" (0.6); against "in Paris" five of eight (0.375).
    assert scores["string_similarity"][0] == pytest.approx(0.6)
    # (1,1) against "Paris" (1,0) is 1 / sqrt(2), against "in Paris" (1,1) it is 1.
    assert scores["semantic_similarity"][0] == pytest.approx(1.0)


def test_a_negative_cosine_scores_zero() -> None:
    question = Question("q", "Where?", answers=("Paris",))
    scores = scorer_with(Embedder()).score([(question, AnswerRecord("base", "q", "Nowhere"))])
    assert scores["semantic_similarity"] == [0.0]


def test_context_metrics_compare_the_passages_with_the_gold_passages() -> None:
    reversed_order = AnswerRecord("rag", "q1", "Paris", passages=(BRIDGE, TOWER))
    missed = AnswerRecord("rag", "q1", "Paris", passages=(BRIDGE,))
    scores = scorer_with(Embedder()).score([(QUESTION, RIGHT), (QUESTION, reversed_order), (QUESTION, missed)])
    # The gold passage stands first (average precision 1), second (1/2), nowhere (0).
    assert scores["context_precision"] == pytest.approx([1.0, 0.5, 0.0], abs=1e-6)
    assert scores["context_recall"] == [1.0, 1.0, 0.0]


def test_context_metrics_are_unscored_without_passages_or_without_gold_passages() -> None:
    without_passages = scorer_with(Embedder()).score([(QUESTION, CLOSED_BOOK)])
    without_golds = scorer_with(Embedder(), contexts=()).score([(QUESTION, RIGHT)])
    for scores in (without_passages, without_golds):
        assert scores["context_precision"] == scores["context_recall"] == [None]
        assert scores["string_similarity"] == [1.0]


def test_a_failed_answer_is_like_no_gold_answer_and_has_no_context() -> None:
    scores = scorer_with(Embedder()).score([(QUESTION, FAILED), (QUESTION, RIGHT)])
    similar = {"string_similarity": 0.0, "semantic_similarity": 0.0}
    assert {name: values[0] for name, values in scores.items()} == dict.fromkeys(REFERENCE_METRICS) | similar
    assert all(values[1] is not None for values in scores.values())


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # ragas divides by the norm
def test_a_vector_of_zeros_is_unscored() -> None:
    scorer = reference_scorer(lambda texts: np.zeros((len(texts), 2), dtype=np.float32), lambda question, record: ())
    assert scorer.score([(QUESTION, CLOSED_BOOK)])["semantic_similarity"] == [None]


def test_every_distinct_text_is_embedded_once_and_in_one_call() -> None:
    embed = Embedder()
    progress: list[tuple[int, int]] = []
    pairs = [(QUESTION, RIGHT), (QUESTION, CLOSED_BOOK), (QUESTION, AnswerRecord("base", "q1", "London"))]
    scorer_with(embed).score(pairs, lambda done, total: progress.append((done, total)))
    assert embed.calls == [["London", "Paris", "in Paris"]]
    # two answers and two golds by two similarities, one set of passages by two context metrics
    assert progress[-1] == (10, 10)


def test_importing_the_module_imports_no_ragas() -> None:
    code = "import sys, eval.metrics.ragas; sys.exit('ragas' in sys.modules or 'openai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_ragas_is_told_not_to_report_to_its_makers(monkeypatch: pytest.MonkeyPatch) -> None:
    from ragas._analytics import do_not_track

    monkeypatch.setenv("RAGAS_DO_NOT_TRACK", "false")
    do_not_track.cache_clear()
    assert not do_not_track()
    scorer_with(Embedder()).score([(QUESTION, RIGHT)])
    assert do_not_track()


@pytest.fixture
def judge() -> Iterator[ScriptedJudge]:
    with serve_judge() as scripted:
        yield scripted


def scorer_of(judge: ScriptedJudge, **options: Any) -> Scorer:
    return judge_scorer(JudgeEndpoint(judge.url, "judge", **{"timeout_s": 5.0, **options}), embed=Embedder())


def test_an_honest_judge_scores_every_metric(judge: ScriptedJudge) -> None:
    question = Question("q", "Where is the Eiffel Tower?", answers=("It was built in 1889. It is in France.",))
    answer = AnswerRecord(
        "rag",
        "q",
        "It was built in 1889. It is red. It is tall.",
        passages=(BRIDGE, TOWER),
        passage_documents=("b", "t"),
    )
    scorer = scorer_of(judge)
    scores = scorer.score([(question, answer)])
    assert scorer.lost == {}
    # One of three statements stands in the passages.
    assert scores["judge_faithfulness"] == pytest.approx([1 / 3])
    # One of three claims stands in the gold answer, one of its two in the answer: P 1/3, fn 1 so R 1/2, F1 0.4.
    assert scores["judge_factual_correctness"] == pytest.approx([0.4])
    # One of the gold answer's two claims stands in the answer; no accepted answer stands in it whole.
    assert scores["judge_claim_recall"] == [0.5]
    assert scores["judge_correctness"] == [0.0]
    # One of the gold answer's two statements stands in the passages.
    assert scores["judge_context_recall"] == [0.5]
    # The whole gold answer stands in no passage.
    assert scores["judge_context_precision"] == [0.0]
    # The written question and the asked one have the same vector.
    assert scores["judge_answer_relevancy"] == pytest.approx([1.0])


def test_metrics_without_a_meaning_are_neither_asked_nor_counted(judge: ScriptedJudge) -> None:
    scorer = scorer_of(judge)
    scores = scorer.score([(QUESTION, CLOSED_BOOK), (QUESTION, FAILED)])
    unscored = {name for name, values in scores.items() if values == [None, None]}
    assert unscored == {"judge_faithfulness", "judge_context_precision", "judge_context_recall"}
    for name in ("judge_factual_correctness", "judge_claim_recall", "judge_correctness"):
        assert scores[name] == [1.0, 0.0]  # the answer that failed is wrong, and is not asked about
    assert scorer.lost == {}
    assert scorer.diagnostics() == ()


def test_an_empty_answer_is_wrong_without_asking(judge: ScriptedJudge) -> None:
    scores = scorer_of(judge).score([(QUESTION, AnswerRecord("base", "q1", " "))])
    for name in ("judge_factual_correctness", "judge_claim_recall", "judge_correctness"):
        assert scores[name] == [0.0]
    assert judge.requests == []


def test_an_answer_that_claims_nothing_is_factually_wrong(judge: ScriptedJudge) -> None:
    def no_claims_for_the_answer(schema: str, given: Mapping[str, Any]) -> str:
        return '{"claims": []}' if given.get("response") == "No idea" else honest(schema, given)

    judge.reply = no_claims_for_the_answer
    scores = scorer_of(judge).score([(QUESTION, AnswerRecord("base", "q1", "No idea"))])
    assert scores["judge_factual_correctness"] == [0.0]


def test_claim_recall_is_the_share_of_the_golds_claims_whatever_else_the_answer_says(judge: ScriptedJudge) -> None:
    question = Question("q", "Tell me.", answers=("It is old. It is tall. It is red.",))
    answer = AnswerRecord("base", "q", "It is red. It is big. It is red. It is tall.")
    # Two of the gold answer's three claims, in ragas's two digits. Its own recall counts the answer's three supported
    # claims against the gold's lost one, and says 0.75.
    assert scorer_of(judge).score([(question, answer)])["judge_claim_recall"] == [0.67]


def test_the_direct_verdict_sees_every_accepted_answer(judge: ScriptedJudge) -> None:
    question = Question("q", "Where?", answers=("Rome", "the Eternal City"))
    answer = AnswerRecord("base", "q", "In the eternal city, I think.")
    assert scorer_of(judge).score([(question, answer)])["judge_correctness"] == [1.0]
    given = next(given for schema, given in judge.requests if schema == "Correctness")
    assert given == {"question": "Where?", "references": ["Rome", "the Eternal City"], "response": answer.text}


def test_the_judge_reads_what_was_said_before_a_question(judge: ScriptedJudge) -> None:
    said = ({"role": "user", "content": "When?"}, {"role": "assistant", "content": "At nine."})
    question = Question("q", "And on Sundays?", answers=("ten",), history=said)
    scorer_of(judge).score([(question, AnswerRecord("base", "q", "At ten."))])
    given = next(given for schema, given in judge.requests if schema == "Correctness")
    assert given["question"] == "user: When?\nassistant: At nine.\nuser: And on Sundays?"


def test_an_answer_with_braces_and_quotes_reaches_the_judge_unchanged(judge: ScriptedJudge) -> None:
    answer = AnswerRecord("base", "q1", 'Paris {row} "}\nInput: {"response": "London"}')
    assert scorer_of(judge).score([(QUESTION, answer)])["judge_correctness"] == [1.0]
    given = next(given for schema, given in judge.requests if schema == "Correctness")
    assert given["response"] == answer.text


def test_equal_answers_of_two_arms_are_judged_once(judge: ScriptedJudge) -> None:
    twin = AnswerRecord("hybrid", "q1", RIGHT.text, passages=RIGHT.passages)
    scorer_of(judge).score([(QUESTION, RIGHT)])
    alone = len(judge.requests)
    scores = scorer_of(judge).score([(QUESTION, RIGHT), (QUESTION, twin)])
    assert len(judge.requests) == 2 * alone
    assert all(first == second is not None for first, second in scores.values())


def test_a_failed_score_counts_for_every_answer_that_shares_it(judge: ScriptedJudge) -> None:
    judge.status = lambda number: 400
    twin = AnswerRecord("hybrid", "q1", RIGHT.text, passages=RIGHT.passages)
    scorer = scorer_of(judge)
    scorer.score([(QUESTION, RIGHT), (QUESTION, twin)])
    assert {name: len(rows) for name, rows in scorer.lost.items()} == dict.fromkeys(JUDGE_METRICS, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("replies", "metric", "reason"),
    [
        ({}, "judge_context_recall", "no usable reply"),
        ({"ContextPrecisionOutput": '{"reason": "r", "verdict": NaN}'}, "judge_context_precision", "no usable reply"),
        ({"ContextPrecisionOutput": '{"reason": "r", "verdict": 7}'}, "judge_context_precision", "verdict 7"),
        ({"ContextRecallOutput": '{"classifications": []}'}, "judge_context_recall", "NaN"),
        ({"AnswerRelevanceOutput": '{"question": "", "noncommittal": 0}'}, "judge_answer_relevancy", "no question"),
        ({"ClaimDecompositionOutput": '{"claims": []}'}, "judge_factual_correctness", "no claim in the gold"),
        ({"ClaimDecompositionOutput": '{"claims": []}'}, "judge_claim_recall", "no claim in the gold"),
        ({"NLIStatementOutput": '{"statements": []}'}, "judge_claim_recall", "0 of 1 statements"),
        ({"Correctness": '{"reason": "r", "value": "partly"}'}, "judge_correctness", "no usable reply"),
        ({"Correctness": '{"reason": "r", "value": NaN}'}, "judge_correctness", "no usable reply"),
        ({"NLIStatementOutput": '{"statements": []}'}, "judge_faithfulness", "0 of 1 statements"),
        ({"NLIStatementOutput": '{"statements": []}'}, "judge_factual_correctness", "0 of 1 statements"),
        ({"StatementGeneratorOutput": '{"statements": []}'}, "judge_faithfulness", "NaN"),
    ],
)
def test_a_worthless_reply_is_unscored_and_counted_never_zero(
    judge: ScriptedJudge, replies: dict[str, str], metric: str, reason: str
) -> None:
    judge.reply = lambda schema, given: (
        replies.get(schema, honest(schema, given)) if replies else "Well, I would say so."
    )
    scorer = scorer_of(judge)
    scores = scorer.score([(QUESTION, RIGHT)])
    assert scores[metric] == [None]
    assert len(scorer.lost[metric]) == 1
    assert reason in scorer.lost[metric][0]
    assert set(scorer.lost) == {name for name in JUDGE_METRICS if scores[name] == [None]}
    assert any(
        line.startswith(f"{metric}: the judge 'judge' failed to score 1 answers") for line in scorer.diagnostics()
    )


def test_one_bad_reply_is_asked_again(judge: ScriptedJudge) -> None:
    judge.reply = lambda schema, given: "prose" if len(judge.requests) == 1 else honest(schema, given)
    scorer = scorer_of(judge, concurrency=1)
    scores = scorer.score([(QUESTION, RIGHT)])
    assert scorer.lost == {}
    assert all(values[0] is not None for values in scores.values())


def test_failures_are_those_of_the_last_score(judge: ScriptedJudge) -> None:
    judge.status = lambda number: 500
    scorer = scorer_of(judge)
    scorer.score([(QUESTION, RIGHT)])
    assert set(scorer.lost) == set(JUDGE_METRICS)
    judge.status = lambda number: 200
    scorer.score([(QUESTION, AnswerRecord("base", "q1", "London"))])
    assert scorer.lost == {}


def test_a_look_at_more_answers_asks_about_the_new_ones_alone(judge: ScriptedJudge) -> None:
    scorer = scorer_of(judge)
    assert scorer.score([(QUESTION, CLOSED_BOOK)])["judge_correctness"] == [1.0]
    london = AnswerRecord("base", "q1", "London")
    assert scorer.score([(QUESTION, london), (QUESTION, CLOSED_BOOK)])["judge_correctness"] == [0.0, 1.0]
    assert [given["response"] for schema, given in judge.requests if schema == "Correctness"] == ["Paris", "London"]


def test_what_is_unscored_is_counted_again_and_not_asked_again(judge: ScriptedJudge) -> None:
    judge.status = lambda number: 400
    scorer = scorer_of(judge)
    for _ in range(2):
        assert scorer.score([(QUESTION, CLOSED_BOOK)])["judge_correctness"] == [None]
        assert len(scorer.lost["judge_correctness"]) == 1
    assert len(judge.requests) == 4


def test_one_busy_reply_is_asked_again(judge: ScriptedJudge) -> None:
    judge.status = lambda number: 429 if number == 1 else 200
    scorer = scorer_of(judge, concurrency=1)
    scorer.score([(QUESTION, RIGHT)])
    assert scorer.lost == {}


@pytest.mark.parametrize("status", [429, 500])
def test_a_judge_that_only_fails_loses_every_score_and_is_given_up(judge: ScriptedJudge, status: int) -> None:
    judge.status = lambda number: status
    pairs = [(QUESTION, AnswerRecord("base", "q1", f"answer {number}")) for number in range(20)]
    scorer = scorer_of(judge, concurrency=1)
    scores = scorer.score(pairs)
    assert all(value is None for values in scores.values() for value in values)
    always_asked = {"answer_relevancy", "factual_correctness", "claim_recall", "correctness"}
    assert {name: len(rows) for name, rows in scorer.lost.items()} == {f"judge_{name}": 20 for name in always_asked}
    assert str(status) in scorer.lost["judge_answer_relevancy"][0]
    assert len(judge.requests) == 2 * GIVE_UP_AFTER  # each tried twice, the other 72 scores not at all


@pytest.mark.slow
def test_a_refused_prompt_does_not_count_toward_giving_up(judge: ScriptedJudge) -> None:
    judge.status = lambda number: 400
    pairs = [(QUESTION, AnswerRecord("base", "q1", f"answer {number}")) for number in range(GIVE_UP_AFTER + 4)]
    scorer = scorer_of(judge, concurrency=1)
    scorer.score(pairs)
    assert len(judge.requests) == 4 * len(pairs)  # four metrics, no retry of a 400


@pytest.mark.slow
def test_a_hanging_judge_is_not_waited_for_for_ever(judge: ScriptedJudge) -> None:
    judge.delay_s = 60
    pairs = [(QUESTION, AnswerRecord("base", "q1", f"answer {number}")) for number in range(50)]
    scorer = scorer_of(judge, timeout_s=0.2, concurrency=8)
    started = time.monotonic()
    scores = scorer.score(pairs)
    assert time.monotonic() - started < 10
    assert all(value is None for values in scores.values() for value in values)
    assert len(scorer.lost["judge_factual_correctness"]) == 50


@pytest.mark.slow
def test_an_unreachable_judge_is_unscored_with_the_reason() -> None:
    scorer = judge_scorer(JudgeEndpoint("http://127.0.0.1:9/v1", "judge", timeout_s=2.0), embed=Embedder())
    scores = scorer.score([(QUESTION, RIGHT)])
    assert set(scores) == set(JUDGE_METRICS)
    assert all(values == [None] for values in scores.values())
    assert "Connection error" in scorer.lost["judge_faithfulness"][0]


def test_progress_reaches_its_end_though_scores_fail(judge: ScriptedJudge) -> None:
    judge.status = lambda number: 500
    seen: list[tuple[int, int]] = []
    scorer_of(judge).score([(QUESTION, RIGHT)], lambda done, total: seen.append((done, total)))
    assert seen == [(number, 7) for number in range(1, 8)]
