"""What each kind of export is, once vLLM has it: log-probabilities of a real engine against the trained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.engine.vllm import VllmServer
from tuning.base import ResolvedModel
from tuning.data.rows import TrainingRow
from tuning.methods.registry import METHODS
from tuning.objectives.objective import IGNORED
from tuning.objectives.supervised import encode_completion
from tuning.training.run import train_adapter

pytestmark = pytest.mark.model

ROWS = [TrainingRow(({"role": "user", "content": f"What is {n} and {n}?"},), f"It is {2 * n}.") for n in range(4)]
# Every way of writing an adapter: as it is, as a difference, without what was given up, converted.
KINDS: dict[str, dict[str, Any]] = {
    "lora": {"rank": 4, "rank_pattern": {"down_proj": 8}, "alpha_pattern": {"q_proj": 64}},
    "rslora": {"rank": 8},
    "pissa": {"rank": 4, "target_modules": ("q_proj", "v_proj")},
    "adalora": {"rank": 2, "first_rank": 4},
    "loha": {"rank": 3},
}


@pytest.mark.parametrize("method", KINDS)
def test_an_engine_answers_as_what_was_trained(
    method: str, vllm_server: VllmServer, smollm2_path: str, tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    given = {"learning_rate": 0.01, "epochs": 2, "batch_size": 2, "layers": (0, 1), **KINDS[method]}
    adapter = train_adapter(
        base=ResolvedModel("base", "r1", smollm2_path),
        rows=ROWS,
        recipe=METHODS[method].recipe(**given),
        name=method,
        adapters_dir=tmp_path / "adapters",
        work_dir=tmp_path / "training",
        provenance={},
    )
    tokenizer = AutoTokenizer.from_pretrained(smollm2_path)
    ids = tokenizer.apply_chat_template([*ROWS[3].prompt], add_generation_prompt=True, return_dict=True)["input_ids"]
    vllm_server.load_adapter(adapter.name, adapter.path)
    try:
        body = {"model": adapter.name, "prompt": ids, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
        reply = httpx.post(vllm_server.url + "/completions", json=body, timeout=300, trust_env=False).json()
        for row in ROWS:
            asked = {"model": adapter.name, "messages": [*row.prompt], "max_tokens": 1, "return_token_ids": True}
            chat = httpx.post(vllm_server.url + "/chat/completions", json=asked, timeout=300, trust_env=False).json()
            learned = encode_completion(tokenizer, row)
            assert chat["prompt_token_ids"] == list(learned.input_ids[: learned.labels.count(IGNORED)])
    finally:
        vllm_server.unload_adapter(adapter.name)
    served = [next(iter(place.values()))["logprob"] for place in reply["choices"][0]["prompt_logprobs"][1:]]

    model = AutoModelForCausalLM.from_pretrained(smollm2_path, dtype=torch.float32)
    bare = _logprobs(model, ids)
    trained = _logprobs(PeftModel.from_pretrained(model, str(adapter.path)), ids)
    assert max(abs(a - b) for a, b in zip(trained, bare, strict=True)) > 0.05
    assert served == pytest.approx(trained, abs=1e-3)


def _logprobs(model: Any, ids: list[int]) -> list[float]:
    import torch

    with torch.inference_mode():
        found = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    return [float(value) for value in found[range(len(ids) - 1), ids[1:]]]
