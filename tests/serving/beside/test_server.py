"""The engine of a beside adapter on the tiny base, asked with the official client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from fakes.adapters import ADAPTER
from fakes.processes import engine_groups, members

from router.answering.engine import EngineRequest, HttpEngine
from router.errors import EngineRejected
from serving.beside.request import Text
from serving.beside.server import Served, create_engine, load_served
from serving.engine.beside import beside_engine, build_command
from serving.engine.host import detect_host
from serving.engine.settings import EngineSettings
from serving.engine.vllm import VllmSettings
from tuning.methods.registry import METHODS
from tuning.recipe import Occasion

# It imports torch.
pytestmark = pytest.mark.slow

NAME = "short@12345678"
SEA = [{"role": "user", "content": "what is sea"}]


@pytest.fixture(scope="module", params=["prefix", "bottleneck"])
def adapter_folder(request: pytest.FixtureRequest, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that has moved from where it began."""
    import torch
    from transformers import AutoModelForCausalLM

    method = METHODS[request.param]
    row = {"input_ids": torch.tensor([[4, 11, 6, 3]]), "attention_mask": torch.ones(1, 4)}
    recipe = method.recipe(num_tokens=4) if request.param == "prefix" else method.recipe(width=4)
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    prepared = method.prepare(model, recipe, Occasion(lambda _size, _count: [row], 1))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in prepared.model.parameters():
            if parameter.requires_grad:
                parameter += 0.5 * torch.randn_like(parameter)
    folder = tmp_path_factory.mktemp("adapter")
    method.export(prepared, recipe, folder)
    return folder


@pytest.fixture(scope="module")
def served(tiny_base: Path, adapter_folder: Path) -> Served:
    return load_served(tiny_base, adapter_folder, NAME, max_model_len=64, max_rows=4)


@pytest.fixture
async def client(served: Served) -> AsyncIterator[openai.AsyncOpenAI]:
    transport = httpx2.ASGITransport(app=create_engine(served), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://engine") as http:
        yield openai.AsyncOpenAI(base_url="http://engine/v1", api_key="none", http_client=http, max_retries=0)


def greedy_text(served: Served, messages: list[dict[str, str]], count: int) -> str:
    """By the library's own model, token by token, without a cache."""
    import torch

    ids = served.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    start, model = len(ids), served.generator.model
    for _ in range(count):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids]), past_key_values=served.generator.first_cache()).logits
        ids.append(int(logits[0, -1].argmax()))
        if ids[-1] in served.generator.eos_ids:
            break
    return str(served.tokenizer.decode(ids[start:], skip_special_tokens=True)).strip()


async def test_an_answer_is_the_models_with_its_usage(client: openai.AsyncOpenAI, served: Served) -> None:
    said = await client.chat.completions.create(model=NAME, messages=SEA, max_tokens=6, temperature=0)  # type: ignore[arg-type]
    choice = said.choices[0]
    assert (choice.message.content or "").strip() == greedy_text(served, SEA, 6)
    assert (said.model, said.object, choice.message.role) == (NAME, "chat.completion", "assistant")
    assert said.usage is not None
    assert said.usage.prompt_tokens == len(["[user]", "what", "is", "sea", "[end]", "[assistant]"])
    assert 1 <= said.usage.completion_tokens <= 6
    assert said.usage.total_tokens == said.usage.prompt_tokens + said.usage.completion_tokens


async def test_a_stream_says_the_same_piece_by_piece(client: openai.AsyncOpenAI) -> None:
    asked: Any = {"model": NAME, "messages": SEA, "max_tokens": 8, "temperature": 0.7, "seed": 4}
    whole = await client.chat.completions.create(**asked)
    chunks = [
        chunk
        async for chunk in await client.chat.completions.create(
            **asked, stream=True, stream_options={"include_usage": True}
        )
    ]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason
    assert chunks[-1].usage == whole.usage
    assert len({chunk.id for chunk in chunks}) == 1


async def test_log_probabilities_come_with_each_token(client: openai.AsyncOpenAI) -> None:
    asked: Any = {
        "model": NAME,
        "messages": SEA,
        "max_tokens": 3,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 2,
    }
    said = await client.chat.completions.create(**asked)
    assert said.usage is not None
    assert said.choices[0].logprobs is not None
    content = said.choices[0].logprobs.content or []
    assert len(content) == said.usage.completion_tokens
    for token in content:
        assert token.token == token.top_logprobs[0].token
        assert token.logprob == token.top_logprobs[0].logprob > token.top_logprobs[1].logprob


async def test_an_answer_ends_before_a_stop(client: openai.AsyncOpenAI, served: Served) -> None:
    words = greedy_text(served, SEA, 8).split()
    stop = words[-1]
    said = await client.chat.completions.create(model=NAME, messages=SEA, max_tokens=8, temperature=0, stop=stop)  # type: ignore[arg-type]
    assert (said.choices[0].message.content or "").split() == words[: words.index(stop)]
    assert said.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("fields", "status", "param", "said"),
    [
        ({"model": "other"}, 404, None, f"no model 'other'; this engine serves {NAME}"),
        ({"messages": [{"role": "user", "content": "sea " * 80}]}, 400, "messages", "over the context of 64"),
        ({"max_tokens": 60}, 400, "messages", "6 tokens and 60 of an answer are over the context of 64"),
        ({"max_tokens": 0}, 400, "max_tokens", "max_tokens"),
        ({"temperature": 3.0}, 400, "temperature", "temperature"),
        ({"top_p": 0}, 400, "top_p", "top_p"),
        ({"n": 2}, 400, "n", "n: 2 is not supported; use 1"),
        ({"response_format": {"type": "json_object"}}, 400, "response_format", "not supported"),
        ({"messages": []}, 400, "messages", "messages"),
        (
            {"messages": [{"role": "tool", "content": "x"}]},
            400,
            "messages",
            "the chat template refuses them: no role tool",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "prompt_embeds"}]}]}, 400, "messages", "content"),
        ({"stop": [""]}, 400, "stop", "stop"),
    ],
)
async def test_what_cannot_be_honoured_is_refused_by_name(
    client: openai.AsyncOpenAI, fields: dict[str, Any], status: int, param: str | None, said: str
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        await client.chat.completions.create(model=NAME, messages=SEA, extra_body=fields)
    assert caught.value.status_code == status
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["param"] is None if param is None else str(caught.value.body["param"]).startswith(param)
    assert said in caught.value.body["message"]


async def test_the_models_are_the_adapter_alone(client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == [NAME]


async def test_many_at_once_say_what_each_says_alone(client: openai.AsyncOpenAI, served: Served) -> None:
    questions = ["sea", "north", "what is two", "one two three", "south is what", "green"]

    async def ask(text: str) -> str:
        asked: Any = {"model": NAME, "messages": [{"role": "user", "content": text}], "max_tokens": 9, "temperature": 0}
        return ((await client.chat.completions.create(**asked)).choices[0].message.content or "").strip()

    said = await asyncio.gather(*map(ask, questions))
    assert said == [greedy_text(served, [{"role": "user", "content": text}], 9) for text in questions]


class Pieces:
    """A tokenizer whose tokens are these."""

    def __init__(self, *tokens: str) -> None:
        from tokenizers import Tokenizer, decoders, models

        self.backend_tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, []))
        self.backend_tokenizer.decoder = decoders.Fuse()


@pytest.mark.parametrize(
    ("stops", "pieces", "said"),
    [
        ([], ["ab", "cd"], ["ab", "cd"]),
        (["cd"], ["ab", "cd"], ["ab", ""]),
        (["bc"], ["ab", "cd"], ["a", ""]),
        (["bx"], ["ab", "cd"], ["a", "bcd"]),
        (["d", "b"], ["abcd"], ["a"]),
        (["bcdx"], ["ab", "cd"], ["a", ""]),
    ],
)
def test_nothing_is_said_that_may_become_a_stop(stops: list[str], pieces: list[str], said: list[str]) -> None:
    text = Text(Pieces(*pieces), stops)
    assert [text.add(number) for number in range(len(pieces))] == said
    rest = "".join(pieces)
    assert text.is_stopped == any(stop in rest for stop in stops)
    if not text.is_stopped:
        assert "".join(said) + text.end() == rest


def test_the_command_says_all_that_the_server_needs(tmp_path: Path) -> None:
    settings = VllmSettings("/base", "base", tmp_path / "log", EngineSettings(dtype="bfloat16"), max_num_seqs=5)
    command = build_command(settings, replace(ADAPTER, form="beside"), port=81, host=detect_host())
    assert command[1:3] == ["-m", "serving.beside.server"]
    given = dict(zip(command[3::2], command[4::2], strict=True))
    assert given == {
        "--base": "/base",
        "--adapter": str(ADAPTER.path),
        "--name": ADAPTER.name,
        "--port": "81",
        "--dtype": "bfloat16",
        "--max-model-len": "2048",
        "--max-rows": "5",
    }


@pytest.mark.parametrize("adapter_folder", ["prefix"], indirect=True)
def test_its_process_answers_and_leaves_nothing_behind(tiny_base: Path, adapter_folder: Path, tmp_path: Path) -> None:
    settings = VllmSettings(str(tiny_base), "base", tmp_path / "logs" / "engine.log", EngineSettings(max_model_len=64))
    adapter = replace(ADAPTER, name=NAME, path=adapter_folder, form="beside", rank=0)
    engine = beside_engine(settings, adapter)
    before = engine_groups()
    try:
        engine.start()
        started = engine_groups() - before
        assert len(members(started)) >= 2
        http = HttpEngine(engine.url)

        async def ask(**options: Any) -> str | None:
            said = await http.complete(EngineRequest(NAME, ({"role": "user", "content": "what is sea"},), options))
            return said.choices[0].message.content

        async def asks() -> None:
            assert await ask(max_tokens=4, temperature=0.0) == await ask(max_tokens=4, temperature=0.0, seed=0)
            with pytest.raises(EngineRejected, match="over the context of 64"):
                await ask(max_tokens=64)
            await http.close()

        asyncio.run(asks())
    finally:
        engine.stop()
    assert members(started) == []


def test_an_adapter_that_does_not_fit_is_told_with_the_log(tiny_base: Path, tmp_path: Path) -> None:
    from serving.errors import EngineFailed

    settings = VllmSettings(str(tiny_base), "base", tmp_path / "engine.log")
    engine = beside_engine(settings, replace(ADAPTER, path=tmp_path / "nowhere", form="beside"))
    with pytest.raises(EngineFailed, match=r"(?s)the transformers engine ended before it was ready.*No such file"):
        engine.start()
    assert engine.state == "failed"
