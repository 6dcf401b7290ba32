"""Prompts of numbers in a real vLLM, and what is served beside it: log-probabilities against the trained weights."""

from __future__ import annotations

import asyncio
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from fakes.processes import engine_groups, members

from arbiter.console import Console
from router.answering.engine import EngineRequest, HttpEngine
from router.errors import EngineRejected
from serving.engine.engine import open_engine
from serving.engine.settings import EngineSettings
from tuning.base import ResolvedModel
from tuning.data.rows import TrainingRow
from tuning.export.adapters import Adapter
from tuning.export.opening import open_exported
from tuning.methods.registry import METHODS
from tuning.training.run import train_adapter

pytestmark = pytest.mark.model

ROWS = [TrainingRow(({"role": "user", "content": f"What is {n} and {n}?"},), f"It is {2 * n}.") for n in range(4)]
ASKED = tuple(ROWS[3].prompt)
KINDS: dict[str, dict[str, Any]] = {
    "prompt": {"num_tokens": 6, "learning_rate": 0.05},
    "p_tuning": {"num_tokens": 6, "learning_rate": 0.01},
    "prefix": {"num_tokens": 6, "learning_rate": 0.05},
    "bottleneck": {"width": 8, "learning_rate": 0.01},
    "lora": {"rank": 4, "learning_rate": 0.01, "layers": (0, 1)},
}


def trained(method: str, base: ResolvedModel, home: Path) -> Adapter:
    recipe = METHODS[method].recipe(epochs=2, batch_size=2, **KINDS[method])
    return train_adapter(
        base=base, rows=ROWS, recipe=recipe, name=method, adapters_dir=home, work_dir=home / "work", provenance={}
    )


def test_every_form_answers_as_what_was_trained(smollm2_path: str, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = ResolvedModel("base", "r1", smollm2_path)
    adapters = {method: trained(method, base, tmp_path) for method in KINDS}
    first = {name: adapters[name] for name in ("prompt", "prefix", "lora")}
    options = {"max_tokens": 6, "temperature": 0, "logprobs": True}
    before = engine_groups()
    with open_engine(
        EngineSettings(max_model_len=512, kv_cache_gib=1),
        base,
        first,
        log_path=tmp_path / "logs" / "engine.log",
        max_num_seqs=4,
        step=Console(stderr=StringIO()).step,
    ) as engine:
        engine.load(adapters["p_tuning"])
        engine.load(adapters["bottleneck"])

        async def ask() -> dict[str, Any]:
            http = HttpEngine(engine.url, hold=engine.hold)
            # All at once, so that they share batches.
            names = ["base", *(adapter.name for adapter in adapters.values())]
            said = await asyncio.gather(*(http.complete(EngineRequest(name, ASKED, options)) for name in names))
            prompt = EngineRequest(adapters["prompt"].name, ASKED, options)
            pieces = [chunk async for chunk in http.stream(prompt)]
            text = "".join(chunk.choices[0].delta.content or "" for chunk in pieces if chunk.choices)
            assert text == said[names.index(prompt.model)].choices[0].message.content
            assert pieces[-1].usage is not None
            assert {chunk.model for chunk in pieces} == {prompt.model}
            stopped = EngineRequest(prompt.model, ASKED, {**options, "stop": [text.strip()[-1:]]})
            assert len((await http.complete(stopped)).choices[0].message.content or "") < len(text)
            # A text cannot say where the numbers go.
            with pytest.raises(EngineRejected, match="reserved placeholder"):
                await http.complete(EngineRequest("base", ({"role": "user", "content": "<prompt_embeds>"},), options))
            await http.close()
            return dict(zip(["base", *adapters], said, strict=True))

        answers = asyncio.run(ask())
        for adapter in adapters.values():
            engine.unload(adapter)
        assert engine.is_ready()
        # vLLM is left: the engines of a prefix and of a bottleneck ended with their adapters.
        started = engine_groups() - before
        assert len(started) == 1
    assert members(started) == []

    tokenizer = AutoTokenizer.from_pretrained(smollm2_path)
    ids = tokenizer.apply_chat_template([*ASKED], add_generation_prompt=True, return_dict=True)["input_ids"]
    bare = logprobs_of(
        AutoModelForCausalLM.from_pretrained(smollm2_path, dtype=torch.float32), tokenizer, ids, answers["base"]
    )
    assert bare[0] == pytest.approx(bare[1], abs=1e-3)
    for method, adapter in adapters.items():
        plain = AutoModelForCausalLM.from_pretrained(smollm2_path, dtype=torch.float32)
        unmoved = logprobs_of(plain, tokenizer, ids, answers[method])[1]
        model = open_exported(adapter.form, plain, adapter.path, AutoModelForCausalLM.from_pretrained)
        served, expected = logprobs_of(model, tokenizer, ids, answers[method])
        assert served == pytest.approx(expected, abs=1e-3), method
        assert max(abs(a - b) for a, b in zip(expected, unmoved, strict=True)) > 0.05, method
        usage = answers[method].usage
        assert usage.prompt_tokens == len(ids) + (6 if adapter.form == "prompt" else 0)


def logprobs_of(model: Any, tokenizer: Any, ids: list[int], answer: Any) -> tuple[list[float], list[float]]:
    """Those of the answer's tokens: as served, and as the model has them."""
    import torch

    told = answer.choices[0].logprobs.content
    said = [tokenizer.convert_tokens_to_ids(tokenizer.tokenize(one.token))[0] for one in told]
    with torch.inference_mode():
        found = model.eval()(input_ids=torch.tensor([ids + said])).logits[0, len(ids) - 1 : -1].log_softmax(-1)
    return [one.logprob for one in told], [float(value) for value in found[range(len(said)), said]]
