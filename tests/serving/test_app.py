import asyncio
import json
import logging
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from fakes.embedders import WordEmbedder
from fakes.endpoints import ARMS, DESK, client_of, listening, make_served
from fakes.engines import ScriptedEngine, Wire
from fakes.logs import Logged
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from eval.answers import AnswerCache
from eval.evaluate import ask
from eval.questions import Question
from router.answering.answerer import Answerer
from router.answering.arm import Arm, Sampling
from router.answering.engine import EngineRequest
from router.answering.prompts import Prompt
from router.answering.topics import TopicChooser
from router.errors import EngineRejected, EngineUnavailable
from serving.app import create_app
from serving.errors import ServingError
from serving.http.errors import error_body, error_response
from serving.http.served import CurrentDecision
from storage.errors import UnfitValue

ASKED: list[Any] = [{"role": "user", "content": "When does the desk open?"}]


def test_models_lists_auto_and_every_arm_with_root_and_parent() -> None:
    with client_of(make_served(ScriptedEngine(lambda _: "nine"))) as client:
        models = {model.id: model for model in client.models.list()}
        assert list(models) == ["auto", "base", "rag", "hybrid"]
        assert models["hybrid"].model_dump()["root"] == "raft@1"
        assert models["hybrid"].model_dump()["parent"] == "org/base"
        assert client.models.retrieve("rag").model_dump()["parent"] is None


@pytest.mark.parametrize(
    ("model", "arm", "engine_model"),
    [
        ("auto", "hybrid", "raft@1"),
        ("base", "base", "org/base"),
        ("rag", "rag", "org/base"),
        ("org/base:raft@1", "org/base:raft@1", "raft@1"),
    ],
)
def test_a_completion_says_which_arm_answered(model: str, arm: str, engine_model: str) -> None:
    engine = ScriptedEngine(lambda _: "nine")
    with client_of(make_served(engine)) as client:
        reply = client.chat.completions.with_raw_response.create(model=model, messages=ASKED)
    completion = reply.parse()
    assert (completion.model, completion.choices[0].message.content) == (arm, "nine")
    assert completion.usage is not None
    assert completion.usage.total_tokens == 10
    assert engine.requests[0].model == engine_model
    assert reply.headers["x-arbiter-arm"] == arm
    assert reply.headers["x-arbiter-decision"] == "dec_1"
    assert reply.headers["x-arbiter-confidence"] == "0.975"
    assert reply.headers["x-arbiter-request-id"]


@pytest.mark.parametrize(("question", "chosen"), [("the tide", "tide@1"), ("who?", "org/base")])
def test_an_arm_with_topics_says_which_adapter_it_chose(question: str, chosen: str) -> None:
    engine, embedder = ScriptedEngine(lambda _: "nine"), WordEmbedder()
    chooser = TopicChooser(("tide@1",), embedder.embed(["tide"]).astype(np.float64), 0.2, embedder)
    served = replace(
        make_served(engine, arm="memory"),
        arms={"memory": Arm("memory", adapter="set@1")},
        answerer=Answerer(engine, {}, "org/base", {"set@1": chooser}),
    )
    asked: list[Any] = [{"role": "user", "content": question}]
    with client_of(served) as client:
        whole = client.chat.completions.with_raw_response.create(model="auto", messages=asked)
        streamed = client.chat.completions.with_raw_response.create(model="auto", messages=asked, stream=True)
    assert whole.parse().model_dump()["arbiter"]["chosen"] == chosen
    assert (whole.headers["x-arbiter-chosen"], streamed.headers["x-arbiter-chosen"]) == (chosen, chosen)
    assert [request.model for request in engine.requests] == [chosen, chosen]


def test_citations_are_annotations_and_the_passages_ride_along() -> None:
    with client_of(make_served(ScriptedEngine(lambda _: "nine"))) as client:
        reply = client.chat.completions.with_raw_response.create(model="rag", messages=ASKED)
    body = json.loads(reply.text)
    assert body["choices"][0]["message"]["annotations"] == [
        {
            "type": "file_citation",
            "file_id": "desk",
            "filename": "Desk",
            "index": 4,
            "rank": 1,
            "quote": DESK.text,
            "start": 0,
            "end": len(DESK.text),
        }
    ]
    told = body["arbiter"]
    assert (told["query"], told["passages"][0]["text"]) == ("When does the desk open?", DESK.text)
    assert {"source", "page", "headings"} <= set(told["passages"][0])


def test_a_stream_has_the_same_text_ends_with_done_and_cites() -> None:
    engine = ScriptedEngine(lambda _: "at nine sharp")
    with listening(create_app(CurrentDecision(make_served(engine)))) as url:
        body = {"model": "auto", "messages": ASKED, "stream": True}
        reply = httpx.post(f"{url}/v1/chat/completions", json=body)
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
            chunks = list(client.chat.completions.create(model="auto", messages=ASKED, stream=True))
            with_usage = list(
                client.chat.completions.create(
                    model="auto", messages=ASKED, stream=True, stream_options={"include_usage": True}
                )
            )
    lines = [line for line in reply.text.split("\n") if line]
    assert lines[-1] == "data: [DONE]"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "at nine sharp"
    last = chunks[-1].choices[0]
    assert last.finish_reason == "stop"
    assert last.delta.model_dump()["annotations"][0]["file_id"] == "desk"
    assert {chunk.model for chunk in chunks} == {"hybrid"}
    assert all(chunk.usage is None for chunk in chunks)
    assert with_usage[-1].usage is not None
    assert with_usage[-1].usage.total_tokens == 10


@pytest.mark.parametrize("stream", [False, True])
def test_half_a_surrogate_pair_does_not_end_an_answer(stream: bool) -> None:
    engine = ScriptedEngine(lambda _: "at \ud83d nine")
    with listening(create_app(CurrentDecision(make_served(engine)))) as url:
        reply = httpx.post(f"{url}/v1/chat/completions", json={"model": "auto", "messages": ASKED, "stream": stream})
    assert reply.status_code == 200
    assert "\ufffd" in reply.text
    assert reply.text.rstrip().endswith("data: [DONE]") or not stream


async def test_what_is_measured_is_what_is_served_byte_for_byte(tmp_path: Path) -> None:
    question = "When does the desk open?"
    for arm in ARMS.values():
        measured, shown = Wire(), Wire()
        with AnswerCache(tmp_path / f"{arm.name}.db") as cache:
            answerer = make_served(measured.engine).answerer
            await ask([arm], [Question("q", question, ("nine",))], answerer, cache, versions={arm.name: {}})
        transport = httpx.ASGITransport(app=create_app(CurrentDecision(make_served(shown.engine))))
        async with httpx.AsyncClient(transport=transport, base_url="http://arbiter.test") as client:
            body = {"model": arm.name, "messages": [{"role": "user", "content": question}]}
            reply = await client.post("/v1/chat/completions", json=body)
            streamed = await client.post("/v1/chat/completions", json={**body, "stream": True})
        assert reply.status_code == streamed.status_code == 200
        assert measured.bodies[0] == shown.bodies[0]
        # A stream differs in nothing but being one.
        extra = {"stream": True, "stream_options": {"include_usage": True}}
        assert json.loads(shown.bodies[1]) == {**json.loads(measured.bodies[0]), **extra}


def failing(error: Exception) -> ScriptedEngine:
    def fail(_request: EngineRequest) -> str:
        raise error

    return ScriptedEngine(fail)


@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_that_is_away_is_503_with_retry_after_then_recovers(stream: bool) -> None:
    engine = failing(EngineUnavailable("the engine is restarting"))
    with listening(create_app(CurrentDecision(make_served(engine)))) as url:
        body = {"model": "base", "messages": ASKED, "stream": stream}
        away = httpx.post(f"{url}/v1/chat/completions", json=body)
        engine.reply = lambda _request: "nine"
        back = httpx.post(f"{url}/v1/chat/completions", json=body)
    assert (away.status_code, away.headers["retry-after"]) == (503, "2")
    assert away.json()["error"] == {
        "message": "the engine is restarting",
        "type": "server_error",
        "param": None,
        "code": "engine_unavailable",
    }
    assert back.status_code == 200


def test_a_stream_that_tears_ends_with_an_error_event() -> None:
    class Tearing(ScriptedEngine):
        async def stream(self, request: EngineRequest) -> Any:
            count = 0
            async for chunk in super().stream(request):
                if count == 2:
                    raise EngineUnavailable("the engine broke off")
                count += 1
                yield chunk

    with client_of(make_served(Tearing(lambda _: "one two three"))) as client:
        stream = client.chat.completions.create(model="base", messages=ASKED, stream=True)
        with pytest.raises(openai.APIError, match="broke off"):
            list(stream)


def test_the_engines_refusal_is_passed_on() -> None:
    engine = failing(EngineRejected("temperature must be >= 0", status=400, param="temperature"))
    with client_of(make_served(engine)) as client, pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="base", messages=ASKED, temperature=0.1)
    assert caught.value.param == "temperature"


def test_an_unknown_model_lists_the_known_ones() -> None:
    with client_of(make_served(ScriptedEngine(lambda _: ""))) as client:
        with pytest.raises(openai.NotFoundError, match="this server has auto, base, rag, hybrid") as caught:
            client.chat.completions.create(model="gpt-9", messages=ASKED)
        assert caught.value.code == "model_not_found"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("gpt-9")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b'{"messages": 5}', 400),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', 400),
        (b" " * (8 * 2**20 + 1), 413),
    ],
)
def test_a_bad_body_is_an_openai_error_and_not_a_500(body: bytes, status: int) -> None:
    with listening(create_app(CurrentDecision(make_served(ScriptedEngine(lambda _: ""))))) as url:
        reply = httpx.post(f"{url}/v1/chat/completions", content=body)
    assert reply.status_code == status
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


def test_a_key_is_asked_for_when_one_is_set() -> None:
    what = make_served(ScriptedEngine(lambda _: "nine"))
    with client_of(what, key="wrong", api_key="secret") as client, pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model="auto", messages=ASKED)
    with client_of(what, key="secret", api_key="secret") as client:
        assert client.chat.completions.create(model="auto", messages=ASKED).choices[0].message.content == "nine"


def test_an_adapter_by_its_name_is_asked_as_the_arm_that_answers_with_it() -> None:
    engine = ScriptedEngine(lambda _: "nine")
    plain = Prompt("brief", system="Answer in one word.")
    arms = {
        "hybrid": ARMS["hybrid"],
        "tuned": Arm(
            "tuned", adapter="raft@1", prompt=plain, top_k=0, sampling=Sampling(temperature=0.7, max_tokens=9)
        ),
    }
    with client_of(replace(make_served(engine), arms=arms)) as client:
        client.chat.completions.create(model="org/base:raft@1", messages=ASKED)
        client.chat.completions.create(model="tuned", messages=ASKED)
    by_adapter, by_arm = engine.requests
    assert by_adapter == by_arm
    assert by_adapter.options["max_tokens"] == 9


def test_pages_ask_for_the_key_as_the_api_does_and_a_browser_can_send_it(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text("<title>questions and gold answers</title>")
    app = create_app(CurrentDecision(make_served(ScriptedEngine(lambda _: ""), report=report)), api_key="secret")
    with listening(app) as url:
        for path in ("/health", "/ready"):
            assert httpx.get(url + path).status_code == 200
        for path in ("/", "/v1/nothing", "/nothing", "/openapi.json", "/docs"):
            asked = httpx.get(url + path)
            assert (asked.status_code, "gold" in asked.text) == (401, False)
            assert asked.headers["www-authenticate"].startswith("Basic realm=")
            assert asked.json()["error"]["code"] == "invalid_api_key"
        assert "gold" in httpx.get(url, auth=("anyone", "secret")).text
        assert "gold" in httpx.get(url, headers={"Authorization": "Bearer secret"}).text
        for wrong in (("secret", ""), ("", "secre"), ("", "secret2"), ("", "sécret")):
            assert httpx.get(url, auth=wrong).status_code == 401
        for header in ("Basic", "Basic !", "Basic c2VjcmV0", "secret", "Digest secret"):
            assert httpx.get(url, headers={"Authorization": header}).status_code == 401
        # A browser adds what it was told to the requests of other sites' pages, too; those must change nothing.
        body = {"model": "auto", "messages": ASKED}
        assert httpx.post(f"{url}/v1/chat/completions", json=body, auth=("anyone", "secret")).status_code == 401


def test_a_key_may_have_any_letters() -> None:
    app = create_app(CurrentDecision(make_served(ScriptedEngine(lambda _: ""))), api_key="schlüssel")
    with listening(app) as url:
        assert httpx.get(f"{url}/v1/models", headers={"Authorization": "Bearer schlüssel".encode()}).is_success
        assert httpx.get(f"{url}/v1/models", auth=("anyone", "schlüssel")).is_success


def test_health_is_the_process_and_ready_is_the_engine(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text("<title>decided</title>")
    with listening(
        create_app(CurrentDecision(make_served(ScriptedEngine(lambda _: ""), ready=False, report=report)))
    ) as url:
        assert httpx.get(f"{url}/health").status_code == 200
        assert httpx.get(f"{url}/ready").status_code == 503
        assert "decided" in httpx.get(url).text
    with listening(create_app(CurrentDecision(make_served(ScriptedEngine(lambda _: ""))))) as url:
        assert httpx.get(f"{url}/ready").status_code == 200
        assert httpx.get(url).status_code == 404


def test_unknown_routes_and_methods_are_openai_errors() -> None:
    with listening(create_app(CurrentDecision(make_served(ScriptedEngine(lambda _: ""))))) as url:
        assert httpx.get(f"{url}/v1/nothing").json()["error"]["type"] == "not_found_error"
        not_that_way = httpx.get(f"{url}/v1/chat/completions")
        assert (not_that_way.status_code, not_that_way.headers["allow"]) == (405, "POST")
        assert httpx.put(f"{url}/v1/decisions").headers["allow"] == "GET, POST"
        # The engine's runtime LoRA endpoints must not be reachable from outside.
        assert httpx.post(f"{url}/v1/load_lora_adapter", json={"lora_name": "x"}).status_code == 404


def test_a_request_id_is_echoed_when_it_is_harmless() -> None:
    with listening(create_app(CurrentDecision(make_served(ScriptedEngine(lambda _: ""))))) as url:
        assert httpx.get(f"{url}/health", headers={"x-request-id": "abc-1"}).headers["x-arbiter-request-id"] == "abc-1"
        odd = httpx.get(f"{url}/health", headers={"x-request-id": "a b<c>"}).headers["x-arbiter-request-id"]
        assert odd != "a b<c>"


def test_arms_are_listed_with_their_parts_and_what_was_measured() -> None:
    with listening(create_app(CurrentDecision(make_served(ScriptedEngine(lambda _: ""))))) as url:
        arms = {arm["id"]: arm for arm in httpx.get(f"{url}/v1/arbiter/arms").json()["data"]}
        assert list(arms) == ["base", "rag", "hybrid"]
        hybrid = arms["hybrid"]
        assert (hybrid["kind"], hybrid["adapter"], hybrid["index"]) == ("hybrid", "raft@1", "docs")
        assert (hybrid["prompt"], hybrid["is_decided"], hybrid["measured"]) == ("answer", True, None)
        assert httpx.get(f"{url}/v1/arbiter/arms/rag").json() == arms["rag"]
        assert arms["rag"]["measured"] == {"metric": "token_f1", "score": 0.5}
        assert httpx.get(f"{url}/v1/arbiter/arms/gpt-9").status_code == 404


def test_every_route_under_v1_asks_for_the_key() -> None:
    app = create_app(CurrentDecision(make_served(ScriptedEngine(lambda _: ""))), api_key="secret")
    with listening(app) as url:
        for path in ("/v1/models", "/v1/models/rag", "/v1/arbiter/arms", "/v1/arbiter/arms/rag"):
            assert httpx.get(url + path).status_code == 401
            assert httpx.get(url + path, headers={"Authorization": "Bearer secret"}).status_code == 200


def test_the_documentation_is_served_without_another_server() -> None:
    with listening(create_app(CurrentDecision(make_served(ScriptedEngine(lambda _: ""))))) as url:
        page = httpx.get(f"{url}/docs").text
        links = re.findall(r"""(?:src|href)=["']([^"']+)""", page)
        assert len(links) == 3
        for link in links:
            assert httpx.get(url + link).status_code == 200
        assert '"validatorUrl": null' in page
        assert "//" not in page.replace("<!-- `SwaggerUIBundle` is now available on the page -->", "").replace("</", "")
        schema = httpx.get(f"{url}/openapi.json").json()
    chat = schema["paths"]["/v1/chat/completions"]["post"]
    assert {"200", "400", "401", "404", "413", "503"} <= set(chat["responses"])
    assert "422" not in json.dumps(schema)
    assert schema["components"]["schemas"]["ChatBody"]["examples"][0]["model"] == "auto"
    assert schema["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
def test_a_body_that_another_sites_page_could_send_is_refused(kind: str | None) -> None:
    with listening(create_app(CurrentDecision(make_served(ScriptedEngine(lambda _: ""))))) as url:
        headers = {"Content-Type": kind} if kind else {}
        body = json.dumps({"messages": ASKED})
        reply = httpx.post(f"{url}/v1/chat/completions", content=body, headers=headers)
    assert reply.status_code == 400
    assert "Content-Type: application/json" in reply.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_stops_its_answer(stream: bool, logged_requests: Logged) -> None:
    asked, stopped = threading.Event(), threading.Event()

    class Silent(ScriptedEngine):
        async def complete(self, request: EngineRequest) -> ChatCompletion:
            asked.set()
            try:
                await asyncio.sleep(60)
            finally:
                stopped.set()
            raise AssertionError

        async def stream(self, request: EngineRequest) -> AsyncIterator[ChatCompletionChunk]:
            await self.complete(request)
            async for part in super().stream(request):
                yield part

    with listening(create_app(CurrentDecision(make_served(Silent(lambda _: ""))))) as url:
        with socket.create_connection(("127.0.0.1", httpx.URL(url).port)) as leaving:
            body = json.dumps({"messages": ASKED, "stream": stream}).encode()
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
            leaving.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
            assert asked.wait(10)
        assert stopped.wait(10)
    assert "status=499" in logged_requests.text


@pytest.mark.parametrize(("stream", "words"), [(False, 0), (True, 0), (True, 1)])
def test_what_is_in_flight_when_the_server_stops_is_told_so(stream: bool, words: int, logged_requests: Logged) -> None:
    asked = threading.Event()

    class Stuck(ScriptedEngine):
        async def complete(self, request: EngineRequest) -> ChatCompletion:
            asked.set()
            await asyncio.sleep(60)
            raise AssertionError

        async def stream(self, request: EngineRequest) -> AsyncIterator[ChatCompletionChunk]:
            parts = super().stream(request)
            for _ in range(words):
                yield await anext(parts)
            await self.complete(request)

    def post() -> httpx.Response:
        return httpx.post(f"{url}/v1/chat/completions", json={"messages": ASKED, "stream": stream}, timeout=20)

    of_uvicorn = logging.getLogger("uvicorn.error")
    with ThreadPoolExecutor(1) as client:
        app = create_app(CurrentDecision(make_served(Stuck(lambda _: "nine sharp"))))
        with listening(app, log_level="warning", stops_after_s=0) as url:
            of_uvicorn.addHandler(logged_requests)
            waiting = client.submit(post)
            assert asked.wait(10)
        of_uvicorn.removeHandler(logged_requests)
        reply = waiting.result(10)
    told = json.loads(reply.text.split("data: ")[-1])["error"]
    assert (told["message"], told["type"], told["code"]) == (
        "the server stopped before this was answered; ask again",
        "server_error",
        "unavailable",
    )
    if words:
        assert (reply.status_code, reply.text.count("data: ")) == (200, 2)
        assert "stream broke off arm=hybrid: the server stopped" in logged_requests.text
    else:
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "2")
        assert "status=503 arm=hybrid" in logged_requests.text
    assert "Cancel 1 running task(s)" in logged_requests.text
    assert "Traceback" not in logged_requests.text


@pytest.mark.slow
def test_the_first_chat_does_not_wait_for_imports() -> None:
    code = "import sys, serving.app; sys.exit('openai.resources.chat.completions' not in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_full_disk_is_503_and_says_so() -> None:
    error = ServingError("'decisions.db' cannot be written: the disk is full")
    assert error_response(error).status_code == 503
    assert error_body(error)["error"] == {
        "message": "'decisions.db' cannot be written: the disk is full",
        "type": "server_error",
        "param": None,
        "code": "unavailable",
    }


def test_a_value_that_the_database_cannot_keep_is_400() -> None:
    refused = error_response(UnfitValue("a value is none that the database keeps: no NUL"))
    assert (refused.status_code, json.loads(refused.body)["error"]["code"]) == (400, "invalid_value")
    assert "retry-after" not in refused.headers


async def test_a_path_cannot_forge_a_line_of_the_log(logged_requests: Logged) -> None:
    transport = httpx.ASGITransport(app=create_app(CurrentDecision(make_served(ScriptedEngine(lambda _: "nine")))))
    async with httpx.AsyncClient(transport=transport, base_url="http://arbiter.test") as client:
        await client.get("/v1/a%0d%0aINFO%20forged%1b[31m")
    assert [
        record.getMessage().split(" status")[0] for record in logged_requests.records if record.name == "arbiter.http"
    ] == ["GET /v1/a%0D%0AINFO%20forged%1B%5B31m"]


def test_a_body_that_is_broken_off_is_no_fault_of_the_server(logged_requests: Logged) -> None:
    with listening(create_app(CurrentDecision(make_served(ScriptedEngine(lambda _: "nine"))))) as url:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        for rest in (b"Content-Length: 100\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"):
            with socket.create_connection(("127.0.0.1", httpx.URL(url).port or 0)) as sent:
                sent.sendall(head + rest)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and "POST /v1/chat" not in logged_requests.text:
            time.sleep(0.01)
        time.sleep(0.2)
    assert "Traceback" not in logged_requests.text
    assert "status=400" in logged_requests.text


@pytest.mark.parametrize("stream", [False, True])
def test_a_mixture_is_asked_like_any_other_arm(stream: bool) -> None:
    engine = ScriptedEngine(lambda request: "nine" if "> at nine" in str(request.messages) else "at nine")
    panel = Arm("panel", proposers=(ARMS["rag"], ARMS["hybrid"]))
    served = replace(make_served(engine, arm="panel"), arms={**ARMS, "panel": panel})
    with client_of(served) as client:
        assert "panel" in [model.id for model in client.models.list()]
        if stream:
            chunks = client.chat.completions.create(model="auto", messages=ASKED, stream=True)
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        else:
            reply = client.chat.completions.with_raw_response.create(model="auto", messages=ASKED)
            text = reply.parse().choices[0].message.content or ""
            assert reply.headers["x-arbiter-arm"] == "panel"
            told = json.loads(reply.text)
            assert told["usage"]["total_tokens"] == 30
            assert told["arbiter"]["kind"] == "mixture"
            assert told["arbiter"]["proposals"] == [
                {"arm": name, "text": "at nine", "error": None} for name in ("rag", "hybrid")
            ]
            assert [one["file_id"] for one in told["choices"][0]["message"]["annotations"]] == ["desk"]
    assert text == "nine"
    assert [request.model for request in engine.requests] == ["org/base", "raft@1", "org/base"]
