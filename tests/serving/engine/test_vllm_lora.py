"""A batch that mixes the base model and two adapters in a real engine, token by token against merged weights."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.engine.settings import EngineSettings
from serving.engine.vllm import VllmServer, VllmSettings
from serving.errors import EngineFailed

pytestmark = pytest.mark.model

NEW_TOKENS = 24
ADAPTERS = ("first@1", "second@2")
MODELS = ("base", *ADAPTERS)
QUESTIONS = (
    "What is the capital of France?",
    "Write one sentence about rivers.",
    "List three colours.",
    # Long enough that whole cache blocks (128 tokens on a CPU) are shared by requests of one model, and of one only.
    "Summarise this. " + "The harbour office opens at nine, and the ferry to the island leaves every hour. " * 20,
)


@dataclass(frozen=True, slots=True)
class Reply:
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]


@pytest.fixture(scope="module")
def adapters(smollm2_path: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two adapters on every linear layer, random but strong enough to change the answers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folders: dict[str, Path] = {}
    for seed, name in enumerate(ADAPTERS):
        torch.manual_seed(seed)
        config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(smollm2_path), config)
        for key, weight in model.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(weight, std=0.02)
        folders[name] = tmp_path_factory.mktemp("adapter")
        model.save_pretrained(folders[name])
    return folders


@pytest.fixture(scope="module")
def engine(vllm_server: VllmServer, adapters: dict[str, Path]) -> VllmServer:
    for name, folder in adapters.items():
        vllm_server.load_adapter(name, folder)
    return vllm_server


@pytest.fixture(scope="module")
def prompts(smollm2_path: str) -> list[list[int]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2_path)
    return [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_dict=True
        )["input_ids"]
        for question in QUESTIONS
    ]


def ask(server: VllmServer, model: str, prompt: list[int]) -> Reply:
    body = {
        "model": model,
        "prompt": prompt,
        "max_tokens": NEW_TOKENS,
        "temperature": 0,
        "ignore_eos": True,
        "logprobs": 0,
        "return_token_ids": True,
    }
    reply = httpx.post(server.url + "/completions", json=body, timeout=300, trust_env=False)
    reply.raise_for_status()
    choice = reply.json()["choices"][0]
    return Reply(tuple(choice["token_ids"]), tuple(choice["logprobs"]["token_logprobs"]))


@pytest.fixture(scope="module")
def mixed(engine: VllmServer, prompts: list[list[int]]) -> dict[tuple[str, int], Reply]:
    """The answers of every model to every prompt, all asked at once."""
    asked = [(model, number) for number in range(len(prompts)) for model in MODELS]
    with ThreadPoolExecutor(len(asked)) as pool:
        replies = pool.map(lambda each: ask(engine, each[0], prompts[each[1]]), asked)
        return dict(zip(asked, replies, strict=True))


def reference(model: Any, prompt: list[int], reply: Reply) -> tuple[list[int], list[float]]:
    """The greedy token of each position and the log-probability of the given one, from one pass over prompt + reply."""
    import torch

    with torch.inference_mode():
        logits = model(torch.tensor([prompt + list(reply.tokens)])).logits[0, len(prompt) - 1 : -1]
    logprobs = logits.log_softmax(-1)
    chosen = logprobs[range(NEW_TOKENS), list(reply.tokens)]
    return logits.argmax(-1).tolist(), chosen.tolist()


def test_every_answer_of_a_mixed_batch_equals_the_same_request_alone(
    engine: VllmServer, prompts: list[list[int]], mixed: dict[tuple[str, int], Reply]
) -> None:
    alone = {(model, number): ask(engine, model, prompts[number]) for model, number in mixed}

    assert {key: reply.tokens for key, reply in mixed.items()} == {key: reply.tokens for key, reply in alone.items()}
    assert all(len(reply.tokens) == NEW_TOKENS for reply in alone.values())


def test_the_three_models_answer_differently(mixed: dict[tuple[str, int], Reply]) -> None:
    for left, right in itertools.combinations(MODELS, 2):
        assert any(mixed[left, number].tokens != mixed[right, number].tokens for number in range(len(QUESTIONS)))


@pytest.mark.parametrize("name", MODELS)
def test_every_token_of_a_mixed_batch_is_the_one_of_merged_weights(
    name: str,
    smollm2_path: str,
    adapters: dict[str, Path],
    prompts: list[list[int]],
    mixed: dict[tuple[str, int], Reply],
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(smollm2_path)
    if name in adapters:
        model = PeftModel.from_pretrained(model, adapters[name]).merge_and_unload()

    for number, prompt in enumerate(prompts):
        reply = mixed[name, number]
        greedy, logprobs = reference(model, prompt, reply)
        assert list(reply.tokens) == greedy
        # float32 in another order of operations.
        assert reply.logprobs == pytest.approx(logprobs, abs=1e-4)


def test_cached_blocks_are_reused_but_not_across_models(
    engine: VllmServer, prompts: list[list[int]], mixed: dict[tuple[str, int], Reply]
) -> None:
    def hits() -> float:
        text = httpx.get(engine.url.removesuffix("/v1") + "/metrics", trust_env=False).text
        lines = [line for line in text.splitlines() if line.startswith("vllm:prefix_cache_hits_total{")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    long_prompt = len(prompts) - 1
    before = hits()
    again = {model: ask(engine, model, prompts[long_prompt]).tokens for model in MODELS}

    assert hits() - before >= 3 * 128
    assert again == {model: mixed[model, long_prompt].tokens for model in MODELS}


def test_an_engine_without_room_for_its_cache_says_so(smollm2_path: str, tmp_path: Path) -> None:
    settings = VllmSettings(smollm2_path, "base", tmp_path / "vllm.log", EngineSettings(kv_cache_gib=9999))

    with pytest.raises(EngineFailed) as caught:
        VllmServer(settings).start()

    assert "9999" in str(caught.value)
    assert "-m serving.engine.vllm_launch --model" in str(caught.value)
