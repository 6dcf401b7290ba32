import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fakes.engines import FixedRetriever, ScriptedEngine, passage
from openai.types.chat import ChatCompletion

from eval.answers import AnswerCache, AnswerRecord, Asked
from eval.errors import EvalError
from eval.evaluate import (
    BusyClock,
    Patience,
    ask,
    build_scorecard,
    time_first_tokens,
    weigh,
)
from eval.questions import Question
from eval.scorer import Pair
from rag.errors import RagError
from rag.passage import Passage
from router.answering.answerer import Answerer
from router.answering.arm import Arm
from router.answering.engine import EngineRequest, Place
from router.deciding.costs import mean_usage
from router.deciding.scorecard import quantile
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
    seen: list[AnswerRecord] = []
    with AnswerCache(tmp_path / "a.db") as cache:
        assert [cache.get(arm, question, VERSIONS) for arm in ARMS for question in QUESTIONS] == [None] * 4
        first = await ask(ARMS, QUESTIONS, answers, cache, versions=VERSIONS)
        again = await ask(ARMS, QUESTIONS, answers, cache, versions=VERSIONS, on_answer=seen.append)
        assert (len(engine.requests), again, seen) == (4, first, first)
        assert [cache.get(arm, question, VERSIONS) for arm in ARMS for question in QUESTIONS] == first
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
        scorecard = build_scorecard(ARMS, Asked(QUESTIONS, records), [SameText()], primary="same")
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
        assert [
            record is not None
            for record in [cache.get(arm, question, VERSIONS) for arm in ARMS for question in QUESTIONS]
        ] == [True, True, False, False]


class NoIndex:
    """A retriever whose index is gone."""

    name = "docs"

    def search(self, query: str, k: int, **_: object) -> tuple[Passage, ...]:
        raise RagError("index 'docs' is damaged")


async def test_an_error_of_any_package_ends_the_asking_by_itself(tmp_path: Path) -> None:
    answers = Answerer(ScriptedEngine(lambda _: "nine"), {"docs": NoIndex()}, "base")
    with AnswerCache(tmp_path / "a.db") as cache:
        with pytest.raises(RagError, match="index 'docs' is damaged"):
            await ask(ARMS, QUESTIONS, answers, cache, versions=VERSIONS)
        assert [
            record is not None
            for record in [cache.get(arm, question, VERSIONS) for arm in ARMS for question in QUESTIONS]
        ] == [True, True, False, False]


class SameText:
    """1 when the answer is a gold answer; this metric says nothing of failed answers."""

    names = ("same",)
    lost: Mapping[str, Sequence[int]] = {}

    def score(
        self, pairs: Sequence[Pair], progress: Callable[[int, int], None] | None = None
    ) -> dict[str, list[float | None]]:
        return {"same": [None if r.error else float(r.text in q.answers) for q, r in pairs]}

    def diagnostics(self) -> tuple[str, ...]:
        return ("same: a note",)


def test_a_scorecard_keeps_arms_questions_and_clusters_aligned() -> None:
    records = [AnswerRecord(arm.name, q.id, q.answers[0], prompt_tokens=5) for arm in ARMS for q in QUESTIONS]
    records.reverse()  # order must not matter
    scorecard = build_scorecard(ARMS, Asked(QUESTIONS, records), [SameText()], primary="same", training_s={"a@1": 3.0})
    assert scorecard.question_ids == ("q1", "q2")
    assert scorecard.clusters == ("desk", "desk")
    assert [scores.scores["same"] for scores in scorecard.arms] == [(1.0, 1.0), (1.0, 1.0)]
    assert scorecard.arms[1].prompt_tokens == (5, 5)
    assert scorecard.training_s == {"a@1": 3.0}
    assert scorecard.diagnostics == ("same: a note",)


def test_an_unknown_primary_metric_lists_the_known_ones() -> None:
    with pytest.raises(EvalError, match=r"no metric 'f2' for policy\.metric; choose one of: same"):
        build_scorecard(ARMS, Asked(QUESTIONS, ()), [SameText()], primary="f2")


async def test_answers_in_flight_share_the_seconds_of_the_engine() -> None:
    now = iter([0.0, 2.0, 6.0, 9.0, 20.0, 21.0])
    busy = BusyClock(clock=lambda: next(now))
    ends = asyncio.Event(), asyncio.Event()
    # The first begins at 0 s and is alone until 2 s, then both are in flight until 6 s.
    first, second = (asyncio.create_task(busy.share(end.wait())) for end in ends)
    await asyncio.sleep(0)
    ends[0].set()
    assert (await first)[1] == 2 + 4 / 2
    ends[1].set()
    assert (await second)[1] == 4 / 2 + 3  # at 9 s; nothing is in flight until 20 s
    assert (await busy.share(ends[0].wait()))[1] == 1


async def test_engine_seconds_of_all_answers_add_up_to_the_time_asked(tmp_path: Path) -> None:
    answers, _ = answerer(lambda _: "nine")
    with AnswerCache(tmp_path / "a.db") as cache:
        records = await ask(ARMS, QUESTIONS, answers, cache, versions=VERSIONS)
        scorecard = build_scorecard(ARMS, Asked(QUESTIONS, records), [SameText()], primary="same")
    assert all(record.engine_s is not None and 0 < record.engine_s < 1 for record in records)
    assert scorecard.arms[0].engine_s == (records[0].engine_s, records[1].engine_s)


async def test_the_start_of_an_engine_is_in_no_time_that_is_measured(tmp_path: Path) -> None:
    class Starting(ScriptedEngine):
        """One that takes a while to start for whoever asks first."""

        is_up = False

        @asynccontextmanager
        async def hold(self, _model: str) -> AsyncIterator[Place]:
            if not self.is_up:
                await asyncio.sleep(0.5)
            self.is_up = True
            yield Place("http://engine.test/v1")

    asked, timed, alone = (Answerer(Starting(lambda _: "nine"), {}, "base") for _ in range(3))
    prepared = await alone.prepare(ARMS[0], [{"role": "user", "content": "When?"}])
    with AnswerCache(tmp_path / "a.db") as cache:
        (record,), _, answer = await asyncio.gather(
            ask(ARMS[:1], QUESTIONS[:1], asked, cache, versions=VERSIONS),
            time_first_tokens(ARMS[:1], QUESTIONS[:1], timed, cache, versions=VERSIONS),
            alone.answer(prepared),
        )
        first_ms = cache.get_first_token_ms(ARMS[0], QUESTIONS[0], VERSIONS)
    assert None not in (record.engine_s, record.latency_ms, first_ms)
    assert max(1000 * (record.engine_s or 0), record.latency_ms or 0, first_ms or 0, answer.latency_ms) < 400


async def test_search_seconds_are_measured_of_arms_that_search(tmp_path: Path) -> None:
    answers, _ = answerer(lambda _: "nine")
    with AnswerCache(tmp_path / "a.db") as cache:
        records = await ask(ARMS, QUESTIONS, answers, cache, versions=VERSIONS)
        scorecard = build_scorecard(ARMS, Asked(QUESTIONS, records), [SameText()], primary="same")
    base, rag = scorecard.arms
    assert base.retrieval_s == (None, None)
    assert all(seconds is not None and 0 < seconds < 1 for seconds in rag.retrieval_s)
    assert mean_usage(base).retrieval_s == 0.0


async def test_cached_tokens_are_kept_but_for_prompts_that_were_streamed_before(tmp_path: Path) -> None:
    engine = ScriptedEngine(lambda _: "nine", cached_tokens=4)
    answers = Answerer(engine, {"docs": FixedRetriever(passage("The desk opens at nine."))}, "base")
    with AnswerCache(tmp_path / "a.db") as cache:
        records = await ask(ARMS, QUESTIONS, answers, cache, versions=VERSIONS)
        assert [cache.get(ARMS[0], question, VERSIONS) for question in QUESTIONS] == records[:2]
    asked = Asked(QUESTIONS, records, {("base", "q1"): 3.0})
    scorecard = build_scorecard(ARMS, asked, [SameText()], primary="same")
    assert [scores.cached_tokens for scores in scorecard.arms] == [(None, 4), (4, 4)]
    assert mean_usage(scorecard.arms[0]).cached_tokens == 4


def first_tokens(cache: AnswerCache) -> dict[tuple[str, str], float]:
    found = {(arm.name, one.id): cache.get_first_token_ms(arm, one, VERSIONS) for arm in ARMS for one in QUESTIONS}
    return {place: ms for place, ms in found.items() if ms is not None}


async def test_first_tokens_are_timed_once_and_kept(tmp_path: Path) -> None:
    answers, engine = answerer(lambda _: "at nine")
    with AnswerCache(tmp_path / "a.db") as cache:
        await time_first_tokens(ARMS, QUESTIONS[:1], answers, cache, versions=VERSIONS)
        await time_first_tokens(ARMS, QUESTIONS[:1], answers, cache, versions=VERSIONS)
        assert len(engine.requests) == 2
        times = first_tokens(cache)
        records = await ask(ARMS, QUESTIONS, answers, cache, versions=VERSIONS)
    assert set(times) == {("base", "q1"), ("rag", "q1")}
    scorecard = build_scorecard(ARMS, Asked(QUESTIONS, records, times), [SameText()], primary="same")
    assert scorecard.arms[1].ttft_ms == (times["rag", "q1"], None)
    assert quantile(scorecard.arms[1].ttft_ms, 0.5) == times["rag", "q1"]


async def test_an_engine_that_is_away_leaves_the_first_token_unmeasured(tmp_path: Path) -> None:
    def away(_request: EngineRequest) -> str:
        raise EngineUnavailable("restarting")

    answers, _ = answerer(away)
    with AnswerCache(tmp_path / "a.db") as cache:
        await time_first_tokens(ARMS, QUESTIONS, answers, cache, versions=VERSIONS)
        assert first_tokens(cache) == {}


def test_a_question_that_was_not_asked_is_neither_scored_nor_unscored() -> None:
    records = [AnswerRecord("base", "q1", "nine"), AnswerRecord("rag", "q1", "ten"), AnswerRecord("rag", "q2", "here")]
    scorecard = build_scorecard(ARMS, Asked(QUESTIONS, records), [SameText()], primary="same")
    base, rag = scorecard.arms
    assert (base.not_asked, base.num_asked, base.num_unscored("same")) == (("q2",), 1, 0)
    assert (rag.not_asked, rag.scores["same"]) == ((), (0.0, 1.0))


def test_a_failed_answer_scores_0_by_what_decides_and_stays_counted_as_failed() -> None:
    records = [
        *(AnswerRecord("base", q.id, "", error="too long") for q in QUESTIONS),
        AnswerRecord("rag", "q1", "nine"),
        AnswerRecord("rag", "q2", "", error="too long"),
    ]
    scorecard = build_scorecard(ARMS, Asked(QUESTIONS, records), [SameText()], primary="same")
    # Nobody answered q2: the metric says nothing of it, so it may be undefined there.
    assert [scores.scores["same"] for scores in scorecard.arms] == [(0.0, None), (1.0, None)]
    assert [len(scores.errors) for scores in scorecard.arms] == [2, 1]


def test_what_the_metric_says_nothing_of_is_undefined_and_what_it_lost_is_not() -> None:
    records = [AnswerRecord(arm.name, q.id, q.answers[0]) for arm in ARMS for q in QUESTIONS]

    class Silent(SameText):
        def score(self, pairs: Sequence[Pair], progress: object = None) -> dict[str, list[float | None]]:
            return {"same": [None if q.id == "q2" else 1.0 for q, _ in pairs]}

    class Lost(Silent):
        lost: Mapping[str, Sequence[int]] = {"same": [1]}

    silent, lost = (
        build_scorecard(ARMS, Asked(QUESTIONS, records), [one], primary="same") for one in (Silent(), Lost())
    )
    assert (silent.undefined, lost.undefined) == (("q2",), ())


def test_kinds_of_questions_can_have_metrics_of_their_own() -> None:
    questions = [Question("q1", "When?", ("nine",), metadata={"kind": "label"}), Question("q2", "Where?", ("here",))]
    records = [AnswerRecord("base", q.id, "nine") for q in questions]

    class Always(SameText):
        names = ("always",)

        def score(
            self, pairs: Sequence[Pair], progress: Callable[[int, int], None] | None = None
        ) -> dict[str, list[float | None]]:
            return {"always": [0.25] * len(pairs)}

    declared = {"default": "same", "label": "always"}
    scorecard = build_scorecard(ARMS[:1], Asked(questions, records), [SameText(), Always()], primary=declared)
    assert scorecard.primary == "primary"
    assert scorecard.arms[0].scores["primary"] == (0.25, 0.0)
    assert scorecard.metric_of == declared
    assert scorecard.metrics[0] == "primary"


class Weighing(ScriptedEngine):
    """An engine whose prompts are as likely as they are short; it refuses those that say "secret"."""

    async def complete(self, request: EngineRequest) -> ChatCompletion:
        said = await super().complete(request)
        text = str(request.messages[-1]["content"])
        if "secret" in text:
            raise EngineRejected("not said", status=400)
        said.prompt_logprobs = [None, {"1": {"logprob": -float(len(text))}}]  # type: ignore[attr-defined]
        return said


async def test_likelihoods_are_kept_and_a_refused_one_is_none(tmp_path: Path) -> None:
    engine = Weighing(lambda _: "x")
    answers = Answerer(engine, {}, "base")
    texts = [(QUESTIONS[0], "nine"), (QUESTIONS[0], "eleven"), (QUESTIONS[1], "a secret")]
    with AnswerCache(tmp_path / "a.db") as cache:
        assert await weigh(ARMS[0], texts, answers, cache, versions=VERSIONS) == [-4.0, -6.0, None]
        assert await weigh(ARMS[0], texts[:2], answers, cache, versions=VERSIONS) == [-4.0, -6.0]
        assert len(engine.requests) == 3
        moved = {**VERSIONS, "base": {"model": "2"}}
        assert await weigh(ARMS[0], texts[:1], answers, cache, versions=moved) == [-4.0]
        assert len(engine.requests) == 4


async def test_an_engine_that_is_away_is_waited_for_before_a_likelihood_is_given_up(tmp_path: Path) -> None:
    def away(_: EngineRequest) -> str:
        raise EngineUnavailable("restarting")

    answers, _ = answerer(away)
    patience = Patience(limit_s=0.0, pause_s=0.0)
    with AnswerCache(tmp_path / "a.db") as cache, pytest.raises(EngineUnavailable):
        await weigh(ARMS[0], [(QUESTIONS[0], "x")], answers, cache, versions=VERSIONS, patience=patience)
