import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from fakes.engines import FixedRetriever, ScriptedEngine, passage

from eval.answers import AnswerCache, AnswerRecord
from eval.errors import EvalError
from eval.evaluate import Patience, ask, build_scorecard, recall
from eval.metrics import Pair
from eval.questions import Question
from router.answerer import Answerer
from router.arm import Arm
from router.engine import EngineRequest
from router.errors import EngineRejected, EngineUnavailable

ARMS = [Arm("base"), Arm("rag", index="docs", top_k=1)]
QUESTIONS = [Question("q1", "When?", ("nine",), ("desk",)), Question("q2", "Where?", ("here",), ("desk",))]
VERSIONS = {"base": {"model": "1"}, "rag": {"model": "1", "index": "v1"}}


def asked_text(request: EngineRequest) -> str:
    return str(request.messages[-1]["content"]).rpartition("Question: ")[2]


def answerer(reply: Callable[[EngineRequest], str]) -> tuple[Answerer, ScriptedEngine]:
    engine = ScriptedEngine(reply)
    return Answerer(engine, {"docs": FixedRetriever(passage("The desk opens at nine."))}, "base"), engine


async def test_every_arm_answers_every_question_in_order(tmp_path: Path) -> None:
    answers, _ = answerer(lambda request: f"to {asked_text(request)}")
    with AnswerCache(tmp_path / "a.db") as cache:
        records = await ask(ARMS, QUESTIONS, answers, cache, versions=VERSIONS)
    assert [(r.arm, r.question_id, r.text) for r in records] == [
        ("base", "q1", "to When?"),
        ("base", "q2", "to Where?"),
        ("rag", "q1", "to When?"),
        ("rag", "q2", "to Where?"),
    ]
    assert records[2].passages == ("The desk opens at nine.",)


async def test_a_second_run_generates_nothing_and_a_new_index_asks_its_arm_again(tmp_path: Path) -> None:
    answers, engine = answerer(lambda _: "nine")
    seen: list[bool] = []
    with AnswerCache(tmp_path / "a.db") as cache:
        assert recall(ARMS, QUESTIONS, cache, VERSIONS) == [None] * 4
        first = await ask(ARMS, QUESTIONS, answers, cache, versions=VERSIONS)
        again = await ask(
            ARMS, QUESTIONS, answers, cache, versions=VERSIONS, on_answer=lambda _, cached: seen.append(cached)
        )
        assert (len(engine.requests), again, seen) == (4, first, [True] * 4)
        assert recall(ARMS, QUESTIONS, cache, VERSIONS) == first
        moved = {**VERSIONS, "rag": {"model": "1", "index": "v2"}}
        await ask(ARMS, QUESTIONS, answers, cache, versions=moved)
        assert len(engine.requests) == 6


async def test_an_interrupted_run_resumes(tmp_path: Path) -> None:
    def dies_late(request: EngineRequest) -> str:
        if len(engine.requests) == 4:
            raise asyncio.CancelledError
        return "nine"

    answers, engine = answerer(dies_late)
    with AnswerCache(tmp_path / "a.db") as cache:
        with pytest.raises(asyncio.CancelledError):
            await ask(ARMS, QUESTIONS, answers, cache, versions=VERSIONS, concurrency=1)
        engine.reply = lambda _: "nine"
        await ask(ARMS, QUESTIONS, answers, cache, versions=VERSIONS, concurrency=1)
    assert len(engine.requests) == 5  # three kept, one cut off, one asked again


async def test_a_refused_question_is_an_error_and_the_rest_go_on(tmp_path: Path) -> None:
    def refuses(request: EngineRequest) -> str:
        if asked_text(request) == "When?":
            raise EngineRejected("the prompt is too long", status=400)
        return "here"

    answers, _ = answerer(refuses)
    with AnswerCache(tmp_path / "a.db") as cache:
        records = await ask(ARMS, QUESTIONS, answers, cache, versions=VERSIONS)
        assert [record.error for record in records] == ["the prompt is too long", None] * 2
        scorecard = build_scorecard(ARMS, QUESTIONS, records, [SameText()], primary="same")
    assert scorecard.by_name("base").scores["same"] == (None, 1.0)
    assert scorecard.by_name("base").errors == {"q1": "the prompt is too long"}


async def test_a_restarting_engine_is_waited_for(tmp_path: Path) -> None:
    def away_twice(request: EngineRequest) -> str:
        if len(engine.requests) <= 2:
            raise EngineUnavailable("restarting")
        return "nine"

    answers, engine = answerer(away_twice)
    with AnswerCache(tmp_path / "a.db") as cache:
        patience = Patience(limit_s=60, pause_s=0.001)
        records = await ask(ARMS[:1], QUESTIONS[:1], answers, cache, versions=VERSIONS, patience=patience)
    assert records[0].text == "nine"
    assert len(engine.requests) == 3


async def test_an_engine_that_stays_away_ends_the_run_with_answers_kept(tmp_path: Path) -> None:
    def gone_for_rag(request: EngineRequest) -> str:
        if "[1]" in str(request.messages[-1]["content"]):
            raise EngineUnavailable("the engine is gone")
        return "nine"

    answers, _ = answerer(gone_for_rag)
    with AnswerCache(tmp_path / "a.db") as cache:
        with pytest.raises(EngineUnavailable, match="the engine is gone"):
            await ask(ARMS, QUESTIONS, answers, cache, versions=VERSIONS, patience=Patience(limit_s=0.05, pause_s=0.01))
        assert [record is not None for record in recall(ARMS, QUESTIONS, cache, VERSIONS)] == [True, True, False, False]


class SameText:
    """1 when the answer is a gold answer; failed answers have no score."""

    names = ("same",)

    def score(
        self, pairs: Sequence[Pair], progress: Callable[[int, int], None] | None = None
    ) -> dict[str, list[float | None]]:
        return {"same": [None if r.error else float(r.text in q.answers) for q, r in pairs]}

    def diagnostics(self) -> tuple[str, ...]:
        return ("same: a note",)


def test_a_scorecard_keeps_arms_questions_and_clusters_aligned() -> None:
    records = [AnswerRecord(arm.name, q.id, q.answers[0], prompt_tokens=5) for arm in ARMS for q in QUESTIONS]
    records.reverse()  # order must not matter
    scorecard = build_scorecard(ARMS, QUESTIONS, records, [SameText()], primary="same", training_s={"a@1": 3.0})
    assert scorecard.question_ids == ("q1", "q2")
    assert scorecard.clusters == ("desk", "desk")
    assert [scores.scores["same"] for scores in scorecard.arms] == [(1.0, 1.0), (1.0, 1.0)]
    assert scorecard.arms[1].prompt_tokens == (5, 5)
    assert scorecard.training_s == {"a@1": 3.0}
    assert scorecard.diagnostics == ("same: a note",)


def test_an_unknown_primary_metric_lists_the_known_ones() -> None:
    with pytest.raises(EvalError, match=r"no metric 'f2' for policy\.metric; choose one of: same"):
        build_scorecard(ARMS, QUESTIONS, [], [SameText()], primary="f2")
