"""A merged adapter has an engine of its own, from its first request to unload; the base's goes on with its adapters."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from fakes.engines import placed

from arbiter.console import Console
from router.answering.engine import EngineRequest, HttpEngine
from serving.engine.engine import open_engine
from serving.engine.settings import EngineSettings
from tuning.base import ResolvedModel
from tuning.data.rows import TrainingRow
from tuning.export.adapters import Adapter
from tuning.methods.registry import METHODS
from tuning.training.run import train_adapter

pytestmark = pytest.mark.model

ROWS = [TrainingRow(({"role": "user", "content": f"What is {n} and {n}?"},), f"It is {2 * n}.") for n in range(4)]


def trained(method: str, base: ResolvedModel, home: Path, **numbers: Any) -> Adapter:
    recipe = METHODS[method].recipe(epochs=2, batch_size=2, **numbers)
    return train_adapter(
        base=base, rows=ROWS, recipe=recipe, name=method, adapters_dir=home, work_dir=home / "work", provenance={}
    )


async def answers(http: HttpEngine, *models: str) -> dict[str, str | None]:
    options = {"max_tokens": 8, "temperature": 0}
    requests = [EngineRequest(name, tuple(ROWS[3].prompt), options) for name in models]
    said = {one.model: (await http.complete(one)).choices[0].message.content for one in requests}
    await http.close()
    return said


def logprobs_of(model: Any, ids: list[int]) -> list[float]:
    import torch

    with torch.inference_mode():
        found = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    return [float(value) for value in found[range(len(ids) - 1), ids[1:]]]


def test_a_merged_adapter_is_asked_at_its_own_engine_and_answers_as_what_was_trained(
    smollm2_path: str, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = ResolvedModel("base", "r1", smollm2_path)
    merged = trained("dora", base, tmp_path, rank=4, learning_rate=0.01, layers=(0, 1))
    light = trained("lora", base, tmp_path, rank=4, learning_rate=0.01, layers=(0, 1))
    settings = EngineSettings(max_model_len=512, kv_cache_gib=1)
    before = {child.pid for child in psutil.Process().children()}
    with open_engine(
        settings,
        base,
        {"light": light},
        log_path=tmp_path / "vllm.log",
        max_num_seqs=4,
        step=Console(stderr=StringIO()).step,
    ) as engine:
        engine.expect(merged)  # the first request starts its engine
        urls = [asyncio.run(placed(engine.hold, name)).url for name in (merged.name, light.name, "base")]
        url = urls[0]
        assert url != engine.url == urls[1] == urls[2]
        assert engine.is_ready()
        said = asyncio.run(answers(HttpEngine(engine.url, hold=engine.hold), "base", light.name, merged.name))
        assert said["base"] not in (said[light.name], said[merged.name])

        tokenizer = AutoTokenizer.from_pretrained(merged.path)
        ids = tokenizer.apply_chat_template([*ROWS[3].prompt], add_generation_prompt=True, return_dict=True)[
            "input_ids"
        ]
        body = {"model": merged.name, "prompt": ids, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
        reply = httpx.post(f"{url}/completions", json=body, timeout=300, trust_env=False).json()
        served = [next(iter(place.values()))["logprob"] for place in reply["choices"][0]["prompt_logprobs"][1:]]

        engine.unload(merged)
        assert asyncio.run(placed(engine.hold, merged.name)).url == engine.url
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/models", trust_env=False)
        assert engine.is_ready()
    assert {child.pid for child in psutil.Process().children()} <= before
    trained_model = AutoModelForCausalLM.from_pretrained(merged.path, dtype=torch.float32)
    assert served == pytest.approx(logprobs_of(trained_model, ids), abs=1e-3)


def test_a_merged_adapter_of_another_base_is_refused_before_an_engine_starts(tmp_path: Path) -> None:
    from fakes.adapters import ADAPTER

    from serving.errors import ServingError

    base = ResolvedModel("org/base", "r2", "")
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    with (
        pytest.raises(ServingError, match="trained on revision 'r1', not 'r2'"),
        open_engine(
            EngineSettings(),
            replace(base, path=str(tmp_path)),
            {"it": replace(ADAPTER, form="merged", rank=0)},
            log_path=tmp_path / "vllm.log",
            max_num_seqs=4,
            step=Console(stderr=StringIO()).step,
        ),
    ):
        pass
