"""A mixture of agents in an evaluation: planted complementarity, and what is asked and counted."""

import json
from dataclasses import asdict
from pathlib import Path

from fakes.engines import ScriptedEngine

from eval.answers import AnswerCache, AnswerRecord, Asked
from eval.evaluate import ask, build_scorecard, time_first_tokens
from eval.questions import Question
from eval.scorer import Scorer
from router.answering.answerer import Answerer
from router.answering.arm import Arm
from router.answering.engine import EngineRequest
from router.deciding.arm_table import make_table
from router.deciding.policy import Policy
from router.deciding.recommend import recommend
from router.errors import EngineRejected
from storage.records import from_json

EVEN, ODD = Arm("even", adapter="even@1"), Arm("odd", adapter="odd@1")
PANEL = Arm("panel", proposers=(EVEN, ODD))
ARMS = [PANEL, EVEN, ODD]
QUESTIONS = tuple(Question(f"q{i}", f"What is {i}?", (f"value-{i}",), (f"d{i}",)) for i in range(80))
VERSIONS = {arm.name: {"model": "1"} for arm in ARMS}
SCORER = Scorer(("right",), lambda question, record: [float(record.text == question.answers[0])])


def reply(request: EngineRequest) -> str:
    """Each proposer knows half of the values; the mixture takes a proposal that claims to know, and knows none."""
    asked = str(request.messages[-1]["content"])
    if request.model == "base":
        said = [line[2:] for line in asked.splitlines() if line.startswith("> ")]
        return next((text for text in said if text.startswith("value-")), "unknown")
    number = int(asked.removeprefix("What is ").rstrip("?"))
    return f"value-{number}" if number % 2 == (request.model == "odd@1") else "unknown"


async def asked_of(path: Path, engine: ScriptedEngine, arms: list[Arm] = ARMS) -> list[AnswerRecord]:
    with AnswerCache(path / "a.db") as cache:
        return await ask(arms, QUESTIONS, Answerer(engine, {}, "base"), cache, versions=VERSIONS)


async def test_a_mixture_beats_the_best_single_arm_under_planted_complementarity(tmp_path: Path) -> None:
    records = await asked_of(tmp_path, ScriptedEngine(reply))
    card = build_scorecard(ARMS, Asked(QUESTIONS, tuple(records)), [SCORER], primary="right")
    means = {scores.arm.name: sum(map(float, scores.column("right"))) / len(QUESTIONS) for scores in card.arms}
    assert means == {"panel": 1.0, "even": 0.5, "odd": 0.5}
    decision = recommend(make_table(card, Policy()))
    assert (decision.verdict, decision.arm) == ("winner", "panel")


async def test_a_proposal_is_asked_once_and_counted_in_the_mixture_all_the_same(tmp_path: Path) -> None:
    engine = ScriptedEngine(reply, cached_tokens=1)
    records = await asked_of(tmp_path, engine)
    assert len(engine.requests) == 3 * len(QUESTIONS)
    panel, even, odd = records[0], records[80], records[160]
    assert (panel.prompt_tokens, panel.generated_tokens, panel.cached_tokens) == (21, 9, 3)
    assert [(one.arm, one.text) for one in panel.proposals] == [("even", "value-0"), ("odd", "unknown")]
    slowest = max(even.latency_ms or 0, odd.latency_ms or 0)
    assert (panel.latency_ms or 0) > slowest
    assert (panel.engine_s or 0) > (even.engine_s or 0) + (odd.engine_s or 0)
    assert from_json(AnswerRecord, json.dumps(asdict(panel))) == panel
    assert await asked_of(tmp_path, engine) == records
    assert len(engine.requests) == 3 * len(QUESTIONS)
    # Proposers of other names are the same ones.
    renamed = Arm("panel", proposers=(Arm("a", adapter="even@1"), Arm("b", adapter="odd@1")))
    again = await asked_of(tmp_path, engine, [renamed])
    assert [one.arm for one in again[0].proposals] == ["a", "b"]
    assert len(engine.requests) == 3 * len(QUESTIONS)


async def test_what_is_measured_of_a_mixture_is_what_is_served(tmp_path: Path) -> None:
    measured, served = ScriptedEngine(reply), ScriptedEngine(reply)
    await asked_of(tmp_path, measured, [PANEL])
    answers = Answerer(served, {}, "base")
    await answers.answer(await answers.prepare(PANEL, QUESTIONS[3].messages))
    assert all(request in measured.requests for request in served.requests)


async def test_a_failed_proposer_is_in_the_record_and_without_any_the_mixture_fails(tmp_path: Path) -> None:
    def refuses(request: EngineRequest) -> str:
        if request.model == "odd@1" or (request.model == "even@1" and "What is 3?" in str(request.messages)):
            raise EngineRejected("too long", status=400)
        return reply(request)

    records = await asked_of(tmp_path, ScriptedEngine(refuses), [PANEL])
    assert [(one.arm, one.error) for one in records[0].proposals] == [("even", None), ("odd", "too long")]
    assert (records[0].text, records[0].prompt_tokens) == ("value-0", 14)
    assert records[3].error == "no proposer of arm 'panel' answered: even: too long; odd: too long"


async def test_the_first_token_of_a_mixture_comes_after_its_slowest_proposer(tmp_path: Path) -> None:
    engine = ScriptedEngine(reply)
    answers = Answerer(engine, {}, "base")
    with AnswerCache(tmp_path / "a.db") as cache:
        await time_first_tokens([PANEL], QUESTIONS[:1], answers, cache, versions=VERSIONS)
        assert (cache.get_first_token_ms(PANEL, QUESTIONS[0], VERSIONS), engine.requests) == (None, [])
        proposed = await ask([EVEN, ODD], QUESTIONS[:1], answers, cache, versions=VERSIONS)
        await time_first_tokens([PANEL], QUESTIONS[:1], answers, cache, versions=VERSIONS)
        found = cache.get_first_token_ms(PANEL, QUESTIONS[0], VERSIONS)
    assert found is not None
    assert found > max(record.latency_ms or 0 for record in proposed)
    assert len(engine.requests) == 3
