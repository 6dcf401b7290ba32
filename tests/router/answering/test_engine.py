import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx2
import pytest
from fakes.engines import Wire

from router.answering.engine import EngineRequest, HttpEngine, Place, TextRequest
from router.errors import EngineRejected, EngineUnavailable

ASK = EngineRequest(model="m", messages=({"role": "user", "content": "When?"},), options={"max_tokens": 4, "seed": 1})


def refusal(message: str, param: str | None = None) -> dict[str, object]:
    return {"error": {"message": message, "type": "x", "param": param, "code": None}}


async def test_a_request_carries_model_messages_and_options_and_nothing_else() -> None:
    wire = Wire()
    completion = await wire.engine.complete(ASK)
    assert completion.choices[0].message.content == "Nine"
    assert json.loads(wire.bodies[0]) == {
        "model": "m",
        "messages": [{"role": "user", "content": "When?"}],
        "max_tokens": 4,
        "seed": 1,
    }


async def test_fields_that_only_some_engines_know_go_beside_the_messages() -> None:
    wire = Wire()
    await wire.engine.complete(replace(ASK, extra={"prompt_logprobs": 0, "continue_final_message": True}))
    body = json.loads(wire.bodies[0])
    assert (body["prompt_logprobs"], body["continue_final_message"]) == (0, True)
    assert body["messages"] == [{"role": "user", "content": "When?"}]


async def test_a_text_or_its_tokens_go_as_they_are() -> None:
    bodies: list[tuple[str, object]] = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        bodies.append((request.url.path, json.loads(request.content)))
        choice = {"index": 0, "text": "x", "finish_reason": "length", "prompt_logprobs": [None]}
        body = {"id": "c", "object": "text_completion", "created": 0, "model": "m", "choices": [choice]}
        return httpx2.Response(200, json=body)

    client = httpx2.AsyncClient(transport=httpx2.MockTransport(handle))
    engine = HttpEngine("http://engine.test/v1", client=client)
    for text in ("Nine", (5, 3)):
        told = await engine.complete_text(TextRequest("m", text, {"max_tokens": 1}, {"prompt_logprobs": 2}))
        assert told.choices[0].prompt_logprobs == [None]  # type: ignore[attr-defined]  # vLLM's own
    usual = {"model": "m", "max_tokens": 1, "prompt_logprobs": 2}
    assert bodies == [("/v1/completions", {**usual, "prompt": text}) for text in ("Nine", [5, 3])]


async def test_what_is_no_json_is_an_engine_that_is_none() -> None:
    def handle(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, text="<html>Welcome</html>", headers={"content-type": "text/html"})

    engine = HttpEngine("http://engine.test", client=httpx2.AsyncClient(transport=httpx2.MockTransport(handle)))
    for work in (engine.complete(ASK), engine.complete_text(TextRequest("m", "Nine"))):
        with pytest.raises(EngineUnavailable, match="answered no JSON; its URL must be that of an API, ending in /v1"):
            await work


async def test_many_messages_are_sent_without_being_gone_through() -> None:
    messages = tuple({"role": "user", "content": "x"} for _ in range(4000))
    wire = Wire()
    await wire.engine.complete(ASK)
    started = time.process_time()
    await wire.engine.complete(replace(ASK, messages=messages))
    assert time.process_time() - started < 0.2
    assert json.loads(wire.bodies[1])["messages"] == list(messages)


async def test_a_stream_asks_for_usage_and_yields_the_chunks() -> None:
    wire = Wire()
    chunks = [chunk async for chunk in wire.engine.stream(ASK)]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Nine"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 10
    assert json.loads(wire.bodies[0])["stream_options"] == {"include_usage": True}


async def test_a_model_is_held_until_its_answer_ends() -> None:
    held: list[str] = []

    @asynccontextmanager
    async def hold(model: str) -> AsyncIterator[Place]:
        held.append(model)
        yield Place("http://engine.test/v1")
        held.remove(model)

    def handle(request: httpx2.Request) -> httpx2.Response:
        assert held == ["m"]
        return wire._handle(request)

    wire = Wire()
    client = httpx2.AsyncClient(transport=httpx2.MockTransport(handle))
    engine = HttpEngine("http://engine.test/v1", hold=hold, client=client)
    await engine.complete(ASK)
    assert held == []
    stream = engine.stream(ASK)
    await anext(stream)
    assert held == ["m"]
    _ = [chunk async for chunk in stream]
    assert held == []


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_refused_request_says_why_and_which_parameter(status: int) -> None:
    wire = Wire(status, refusal("temperature must be non-negative", "temperature"))
    with pytest.raises(EngineRejected, match="temperature must be non-negative") as caught:
        await wire.engine.complete(ASK)
    assert (caught.value.status, caught.value.param) == (status, "temperature")


@pytest.mark.parametrize("status", [404, 429, 500, 503])
async def test_an_engine_in_trouble_is_unavailable(status: int) -> None:
    with pytest.raises(EngineUnavailable, match=str(status)):
        await Wire(status, refusal("engine is dead")).engine.complete(ASK)


@pytest.mark.parametrize(
    "fault", [httpx2.ConnectError("refused"), httpx2.ReadTimeout("slow"), httpx2.RemoteProtocolError("torn")]
)
async def test_a_silent_engine_is_unavailable_whole_or_streamed(fault: Exception) -> None:
    wire = Wire(fault=fault)
    with pytest.raises(EngineUnavailable, match=r"engine\.test"):
        await wire.engine.complete(ASK)
    with pytest.raises(EngineUnavailable, match=r"engine\.test"):
        _ = [chunk async for chunk in wire.engine.stream(ASK)]


async def test_our_own_mistakes_are_not_blamed_on_the_engine() -> None:
    with pytest.raises(TypeError):
        await Wire().engine.complete(EngineRequest(model="m", messages=(), options={"no_such_option": 1}))
