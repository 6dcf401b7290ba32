import asyncio
from typing import Any, get_args

import pytest
from fakes.engines import FixedRetriever, ScriptedEngine, completion, passage

from router.answering.answerer import Answerer
from router.answering.arm import Arm, Sampling
from router.answering.condense import Condense
from router.answering.engine import EngineRequest
from router.errors import RouterError

DESK = passage("The desk opens at nine.", document="desk", title="Desk")
BOAT = passage("The boat leaves at noon.", document="boat", rank=2, title="Boat")
QUESTION = [{"role": "user", "content": "When does the desk open?"}]


def answerer(reply: str = "nine") -> tuple[Answerer, ScriptedEngine, FixedRetriever]:
    engine, retriever = ScriptedEngine(lambda _request: reply), FixedRetriever(DESK, BOAT)
    return Answerer(engine, {"docs": retriever}, "base-model"), engine, retriever


@pytest.mark.parametrize(
    ("arm", "model", "num_passages"),
    [
        (Arm("base"), "base-model", 0),
        (Arm("rag", index="docs", top_k=1), "base-model", 1),
        (Arm("tuned", adapter="a@1"), "a@1", 0),
        (Arm("hybrid", adapter="a@1", index="docs", top_k=2), "a@1", 2),
    ],
)
async def test_an_arm_is_its_parts(arm: Arm, model: str, num_passages: int) -> None:
    answers, engine, _ = answerer()
    answer = await answers.answer(await answers.prepare(arm, QUESTION))
    assert answer.text == "nine"
    assert (engine.requests[0].model, len(answer.passages)) == (model, num_passages)
    assert (answer.prompt_tokens, answer.generated_tokens) == (7, 3)


@pytest.mark.parametrize("cached_tokens", [None, 0, 4])
async def test_tokens_from_the_prefix_cache_are_told_where_the_engine_says(cached_tokens: int | None) -> None:
    answers = Answerer(ScriptedEngine(lambda _: "nine", cached_tokens=cached_tokens), {}, "base-model")
    answer = await answers.answer(await answers.prepare(Arm("base"), QUESTION))
    assert answer.cached_tokens == cached_tokens


async def test_the_last_user_message_is_searched_with_the_arms_k() -> None:
    answers, _, retriever = answerer()
    turns = [*QUESTION, {"role": "assistant", "content": "nine"}, {"role": "user", "content": "And the boat?"}]
    await answers.prepare(Arm("rag", index="docs", top_k=2, condense="last"), turns)
    assert retriever.queries == [("And the boat?", 2)]


async def test_request_options_win_over_the_arms_sampling() -> None:
    answers, _, _ = answerer()
    prepared = await answers.prepare(Arm("base", sampling=Sampling(max_tokens=5)), QUESTION, {"max_tokens": 9, "n": 2})
    assert prepared.request.options == {"temperature": 0.0, "top_p": 1.0, "max_tokens": 9, "seed": 0, "n": 2}


async def test_an_arm_without_its_index_says_what_to_do() -> None:
    answers, _, _ = answerer()
    with pytest.raises(RouterError, match="arm 'rag' needs index 'gone'"):
        await answers.prepare(Arm("rag", index="gone"), QUESTION)


async def test_a_conversation_without_a_question_is_refused() -> None:
    answers, _, _ = answerer()
    with pytest.raises(RouterError, match="no user message"):
        await answers.prepare(Arm("base"), [{"role": "system", "content": "x"}])


async def test_a_stream_says_the_same_as_an_answer_and_cites_on_its_last_delta() -> None:
    answers, _, _ = answerer("at nine")
    prepared = await answers.prepare(Arm("rag", index="docs", top_k=2), QUESTION)
    whole = await answers.answer(prepared)
    chunks = [chunk async for chunk in answers.stream(prepared)]
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == whole.text
    noted = [getattr(delta, "annotations", None) for delta in deltas]
    assert noted[:-1] == [None] * (len(noted) - 1)
    assert noted[-1] == [citation.annotation() for citation in whole.citations]
    assert [(note["file_id"], note["quote"]) for note in noted[-1]] == [("desk", DESK.text)]


FOLLOW_UP = [*QUESTION, {"role": "assistant", "content": "nine"}, {"role": "user", "content": "And the boat to Skye?"}]


@pytest.mark.parametrize(
    ("condense", "searched"),
    [
        ("last", "And the boat to Skye?"),
        ("recent", "When does the desk open? And the boat to Skye? And the boat to Skye?"),
        ("model", "nine"),
    ],
)
async def test_a_follow_up_is_searched_as_the_arm_condenses_it(condense: Condense, searched: str) -> None:
    answers, engine, retriever = answerer("nine")
    prepared = await answers.prepare(Arm("rag", index="docs", condense=condense), FOLLOW_UP)
    assert (prepared.query, retriever.queries) == (searched, [(searched, 2)])
    assert len(engine.requests) == (condense == "model")
    # The engine is asked the question as it was put, whatever was searched.
    assert str(prepared.request.messages[-1]["content"]).endswith("Question: And the boat to Skye?")


async def test_a_first_question_is_asked_and_searched_alike_in_every_mode() -> None:
    requests = []
    for condense in get_args(Condense):
        answers, engine, retriever = answerer()
        requests.append((await answers.prepare(Arm("rag", index="docs", condense=condense), QUESTION)).request)
        assert (engine.requests, retriever.queries) == ([], [("When does the desk open?", 2)])
    assert requests[0] == requests[1] == requests[2]


async def test_asking_the_engine_for_a_query_counts_as_retrieval_time() -> None:
    class Slow(ScriptedEngine):
        async def complete(self, request: EngineRequest) -> Any:
            await asyncio.sleep(0.05)
            return await super().complete(request)

    answers = Answerer(Slow(lambda _request: "boat"), {"docs": FixedRetriever(BOAT)}, "base-model")
    prepared = await answers.prepare(Arm("rag", index="docs", condense="model"), FOLLOW_UP)
    assert prepared.retrieval_ms >= 50


async def test_an_arm_without_an_index_condenses_nothing() -> None:
    answers, engine, _ = answerer()
    prepared = await answers.prepare(Arm("base", condense="model"), FOLLOW_UP)
    assert (prepared.query, engine.requests) == ("", [])


def likelihoods(*values: float | None) -> Any:
    """What vLLM says of a prompt's tokens: the first has none."""
    tokens = [None if value is None else {"7": {"logprob": value, "rank": 1}} for value in values]

    async def complete(request: EngineRequest) -> Any:
        said = completion("x")
        said.prompt_logprobs = tokens  # type: ignore[attr-defined]
        return said

    return complete


async def test_the_likelihood_of_an_answer_is_that_of_the_prompt_that_ends_in_it() -> None:
    answers, engine, _ = answerer()
    seen: list[EngineRequest] = []

    async def complete(request: EngineRequest) -> Any:
        seen.append(request)
        return await likelihoods(None, -1.5, -0.25)(request)

    engine.complete = complete  # type: ignore[method-assign]
    arm = Arm("hybrid", adapter="a@1", index="docs", top_k=1)
    assert await answers.log_likelihood(arm, QUESTION, "at ten") == -1.75
    served = (await answers.prepare(arm, QUESTION)).request
    assert seen[0].messages == (*served.messages, {"role": "assistant", "content": "at ten"})
    assert (seen[0].model, seen[0].options["max_tokens"]) == ("a@1", 1)
    assert seen[0].extra == {"prompt_logprobs": 0, "add_generation_prompt": False, "continue_final_message": True}


@pytest.mark.parametrize("tokens", [None, [], [None], "no", [None, {}], [None, {"7": {}}], [None, {"7": 3}]])
async def test_an_engine_that_does_not_say_it_gives_none(tokens: object) -> None:
    answers, engine, _ = answerer()

    async def complete(request: EngineRequest) -> Any:
        said = completion("x")
        said.prompt_logprobs = tokens  # type: ignore[attr-defined]
        return said

    engine.complete = complete  # type: ignore[method-assign]
    assert await answers.log_likelihood(Arm("base"), QUESTION, "nine") is None
