"""What forking the engine's processes saves: `python benchmarks/engine_start.py`.

Starts the CPU engine as vLLM does (every process spawned) and as Arbiter does (forked from the first), in turn, round
after round. Each time: seconds and processor seconds until ready, memory (shared pages counted once), generated
tokens/s for 8 requests at once, and seconds until ready again after its engine core was killed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import psutil

from arbiter.models import GENERATOR, resolve_model
from serving.engine.host import detect_host
from serving.engine.vllm import VllmServer, VllmSettings, build_command, build_environment

MODULES = {"spawned": "vllm.entrypoints.openai.api_server", "forked": "serving.engine.vllm_launch"}
COLUMNS = ("ready s", "CPU s", "memory MiB", "tokens/s", "ready again s")
REQUESTS, NEW_TOKENS, BATCHES = 8, 24, 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("ARBITER_HOME", ".arbiter")))
    options = parser.parse_args()
    model = resolve_model(GENERATOR, home=options.home).path
    print(f"load before: {os.getloadavg()[0]:.1f}\n")
    print(f"| processes | {' | '.join(COLUMNS)} |")
    print("|---" * (len(COLUMNS) + 1) + "|", flush=True)
    found: dict[str, list[Sequence[float]]] = {name: [] for name in MODULES}
    for _ in range(options.rounds):
        for name, module in MODULES.items():
            found[name].append(measure(model, module))
            show(name, found[name][-1])
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in found.items()}
    show("**forked / spawned**", [a / b for a, b in zip(medians["forked"], medians["spawned"], strict=True)])


def show(name: str, numbers: Sequence[float]) -> None:
    print(f"| {name} | {' | '.join(f'{number:.2f}' for number in numbers)} |", flush=True)


def measure(model: str, module: str) -> Sequence[float]:
    """The columns' numbers, from one engine."""
    host = detect_host()
    with tempfile.TemporaryDirectory() as folder:
        settings = VllmSettings(model, "base", Path(folder) / "engine.log")

        def command(port: int) -> list[str]:
            python, dash_m, _, *arguments = build_command(settings, port=port, host=host)
            return [python, dash_m, module, *arguments]

        environment = build_environment(settings, host=host, base=os.environ)
        started = time.monotonic()
        with VllmServer(settings, command=command, environment=environment) as engine:
            ready_s = time.monotonic() - started
            family = psutil.Process().children(recursive=True)
            cpu_s = sum(sum(process.cpu_times()[:2]) for process in family)
            memory = sum(process.memory_full_info().pss for process in family) / 2**20
            started = time.monotonic()
            tokens = sum(asyncio.run(ask(engine.url, batch)) for batch in range(BATCHES))
            speed = tokens / (time.monotonic() - started)
            return ready_s, cpu_s, memory, speed, kill(engine, family)


def kill(engine: VllmServer, family: Sequence[psutil.Process]) -> float:
    next(process for process in family if "EngineCore" in " ".join(process.cmdline())).kill()
    killed = time.monotonic()
    while engine.state == "ready":
        time.sleep(0.05)
    while not engine.is_ready():
        time.sleep(0.05)
    return time.monotonic() - killed


async def ask(url: str, batch: int) -> int:
    """Sends a batch of requests at once; gives the number of generated tokens."""
    async with httpx.AsyncClient(trust_env=False, timeout=600) as client:
        prompts = [f"{batch} {number} Say what a harbour office does." for number in range(REQUESTS)]
        wanted = {"model": "base", "max_tokens": NEW_TOKENS, "ignore_eos": True, "temperature": 0}
        replies = await asyncio.gather(
            *(client.post(f"{url}/completions", json=wanted | {"prompt": prompt}) for prompt in prompts)
        )
    return sum(int(reply.json()["usage"]["completion_tokens"]) for reply in replies)


if __name__ == "__main__":
    main()
