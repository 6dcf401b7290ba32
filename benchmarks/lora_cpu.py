"""Adapter throughput over base throughput on a CPU, with and without the plugin: `python benchmarks/lora_cpu.py`.

Starts vLLM twice with two random rank-16 adapters on every linear layer. Prompts are random token ids, none asked
twice, so the prefix cache helps nobody. Figures and conclusions are kept in docs/experiments/lora-cpu.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from arbiter.models import GENERATOR, resolve_model
from serving.engine.settings import EngineSettings
from serving.engine.vllm import VllmServer, VllmSettings

VOCABULARY = (1000, 40000)  # ordinary tokens of SmolLM2
MODES = {"base": ["base"], "one adapter": ["a"], "two adapters + base": ["a", "b", "base"]}


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests sent at once. The rate counts prompt tokens when only one token is generated, else generated tokens."""

    prompts: int
    prompt_tokens: int
    new_tokens: int

    @property
    def counted_tokens(self) -> int:
        return self.prompts * (self.prompt_tokens if self.new_tokens == 1 else self.new_tokens)


WORKLOADS = {
    "prefill": Workload(prompts=32, prompt_tokens=240, new_tokens=1),
    "decode": Workload(prompts=32, prompt_tokens=8, new_tokens=64),
    "both": Workload(prompts=32, prompt_tokens=240, new_tokens=32),
}


def main() -> None:
    options = parse_options()
    model = resolve_model(options.model, home=options.home, progress=show)
    runs: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        adapters = {name: write_adapter(model.path, Path(folder) / name, seed) for seed, name in enumerate("ab")}
        for plugin in ("on", "off") if options.plugin == "both" else (options.plugin,):
            # No slot to spare: vLLM's own operators read the last one for "no adapter", and an empty one would hide it.
            engine = EngineSettings(**{"max_loras": 2, **options.engine})
            settings = VllmSettings(model.path, "base", Path(folder) / f"vllm-{plugin}.log", engine, **options.setting)
            environment = {**os.environ, **options.env, "ARBITER_CPU_LORA": "1" if plugin == "on" else "0"}
            runs[plugin] = measure(settings, environment, adapters, options)
    given = {**options.engine, **options.setting}
    report = {"settings": given, "env": options.env, "repeat": options.repeat, "plugin": runs}
    print(json.dumps(report) if options.json else as_table(report))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=GENERATOR)
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("ARBITER_HOME", ".arbiter")))
    parser.add_argument("--plugin", choices=["both", "on", "off"], default="both")
    parser.add_argument("--workload", choices=[*WORKLOADS, "all"], default="all")
    parser.add_argument("--repeat", type=int, default=1, help="the median counts")
    parser.add_argument("--setting", nargs="*", default=[], metavar="KEY=VALUE", help="fields of VllmSettings")
    parser.add_argument("--engine", nargs="*", default=[], metavar="KEY=VALUE", help="fields of EngineSettings")
    parser.add_argument("--env", nargs="*", default=[], metavar="KEY=VALUE", help="environment of the engine")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.setting = {key: number_or_text(value) for key, value in pairs(options.setting)}
    options.engine = {key: number_or_text(value) for key, value in pairs(options.engine)}
    options.env = dict(pairs(options.env))
    return options


def pairs(items: list[str]) -> Iterator[tuple[str, str]]:
    for item in items:
        key, _, value = item.partition("=")
        yield key, value


def number_or_text(value: str) -> int | str:
    return int(value) if value.isdecimal() else value


def write_adapter(model_path: str, folder: Path, seed: int) -> Path:
    """A LoRA adapter with random A and B: as costly as a trained one, and strong enough to change the answers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(model_path), LoraConfig(r=16, lora_alpha=16, target_modules="all-linear")
    )
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    model.save_pretrained(folder)
    return folder


def measure(
    settings: VllmSettings, environment: dict[str, str], adapters: dict[str, Path], options: argparse.Namespace
) -> dict[str, Any]:
    server = VllmServer(settings, environment=environment)
    started = time.monotonic()
    try:
        server.start()
        startup_s = time.monotonic() - started
        show(f"engine ready after {startup_s:.0f} s, plugin {environment['ARBITER_CPU_LORA']}")
        for name, path in adapters.items():
            server.load_adapter(name, path)
        rng = random.Random(0)
        names = WORKLOADS if options.workload == "all" else [options.workload]
        rates: dict[str, dict[str, float]] = {}
        for name in names:
            warm_up = Workload(prompts=4, prompt_tokens=16, new_tokens=4)
            for models in MODES.values():
                asyncio.run(rate(server.url, warm_up, models, rng))
            rates[name] = {}
            for mode, models in MODES.items():
                tries = [asyncio.run(rate(server.url, WORKLOADS[name], models, rng)) for _ in range(options.repeat)]
                rates[name][mode] = round(statistics.median(tries), 1)
                show(f"{name}, {mode}: {rates[name][mode]} tokens/s")
        wrong = asyncio.run(wrong_base_answers(server.url, rng))
    finally:
        server.stop()
    return {"startup_s": round(startup_s, 1), "tokens_per_s": rates, "wrong_base_answers": wrong}


async def rate(url: str, workload: Workload, models: list[str], rng: random.Random) -> float:
    """Tokens a second when all requests of a workload are sent at once, `models` taking turns."""
    prompts = [random_prompt(rng, workload.prompt_tokens) for _ in range(workload.prompts)]
    asked = [(models[i % len(models)], prompt) for i, prompt in enumerate(prompts)]
    started = time.perf_counter()
    await complete(url, asked, workload.new_tokens)
    return workload.counted_tokens / (time.perf_counter() - started)


async def wrong_base_answers(url: str, rng: random.Random) -> str:
    """How many base requests are answered in another way once adapters share their batch, as `wrong/asked`."""
    prompts = [random_prompt(rng, 24) for _ in range(8)]
    alone = await complete(url, [("base", prompt) for prompt in prompts], 16)
    mixed = await complete(url, [(name, prompt) for prompt in prompts for name in ("a", "base", "b")], 16)
    wrong = sum(left != right for left, right in zip(alone, mixed[1::3], strict=True))
    return f"{wrong}/{len(prompts)}"


def random_prompt(rng: random.Random, tokens: int) -> list[int]:
    return [rng.randrange(*VOCABULARY) for _ in range(tokens)]


async def complete(url: str, asked: list[tuple[str, list[int]]], new_tokens: int) -> list[str]:
    limits = httpx.Limits(max_connections=len(asked))
    async with httpx.AsyncClient(trust_env=False, timeout=600.0, limits=limits) as client:

        async def ask(model: str, prompt: list[int]) -> str:
            body = {
                "model": model,
                "prompt": prompt,
                "max_tokens": new_tokens,
                "temperature": 0,
                "ignore_eos": True,
            }
            reply = await client.post(f"{url}/completions", json=body)
            reply.raise_for_status()
            return str(reply.json()["choices"][0]["text"])

        return await asyncio.gather(*(ask(model, prompt) for model, prompt in asked))


def as_table(report: dict[str, Any]) -> str:
    lines = [
        "| plugin | workload | base | one adapter | two adapters + base | one adapter / base | mixed / base |",
        "|---|---|---|---|---|---|---|",
    ]
    for plugin, run in report["plugin"].items():
        for name, rates in run["tokens_per_s"].items():
            base, one, mixed = (rates[mode] for mode in MODES)
            lines.append(f"| {plugin} | {name} | {base} | {one} | {mixed} | {one / base:.2f} | {mixed / base:.2f} |")
    for plugin, run in report["plugin"].items():
        lines.append(
            f"plugin {plugin}: ready after {run['startup_s']} s; "
            f"base answers that a mixed batch changed: {run['wrong_base_answers']}"
        )
    return "\n".join(lines)


def show(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
