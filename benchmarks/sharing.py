"""What other work on the machine costs: `python benchmarks/sharing.py --data FOLDER`, FOLDER with a train.jsonl.

Trains, embeds and generates beside so many busy single-threaded processes, in turn, round after round, so that whatever
else runs falls on all of them. Of N busy processes on a machine one has a fair share of 1/N of it: `kept` is the speed
beside the others over the idle speed of the same run, which should be at least three quarters of that. Units are tokens
trained on, passages, and generated tokens. `--env NAME=VALUE` sets something for the workers, such as OMP_WAIT_POLICY.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx
import psutil

from arbiter.models import EMBEDDER, GENERATOR, resolve_model
from rag.embedding.embedder import SentenceTransformerEmbedder
from router.answering.prompts import ANSWER
from serving.engine.vllm import VllmServer, VllmSettings
from tuning.data.examples import Question, load_examples
from tuning.data.rows import closed_book_rows
from tuning.methods.lora import LoraRecipe
from tuning.training.progress import TrainProgress
from tuning.training.run import train_adapter

Report = Callable[[float], None]
"""Called with the units done since the last call."""

LOOP = "import time\nend = time.monotonic() + float(__import__('sys').argv[1])\nwhile time.monotonic() < end: pass"
REQUESTS, NEW_TOKENS, PASSAGES = 8, 24, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.jsonl")
    parser.add_argument("--run", nargs="+", choices=list(WORKERS), default=list(WORKERS))
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=30.0, help="of one measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--env", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("ARBITER_HOME", ".arbiter")))
    parser.add_argument("--work", choices=list(WORKERS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options)
        return
    print(f"load before: {os.getloadavg()[0]:.1f}\n")
    print("| what | busy processes beside it | units/s | units/CPU s | kept | fair share |")
    print("|---|---|---|---|---|---|")
    for name in options.run:
        speeds = measure(name, options)
        idle = statistics.median(speed for speed, _ in speeds[options.busy[0]])
        for busy, pairs in speeds.items():
            speed, per_cpu = (statistics.median(values) for values in zip(*pairs, strict=True))
            print(
                f"| {name} | {busy} | {speed:.1f} | {per_cpu:.1f} | {speed / idle:.2f} | {1 / (busy + 1):.2f} |",
                flush=True,
            )


def measure(name: str, options: argparse.Namespace) -> dict[int, list[tuple[float, float]]]:
    """For each number of busy processes, units a second and a second of processor time, once a round."""
    environment = {**os.environ, **dict(pair.split("=", 1) for pair in options.env)}
    command = [sys.executable, __file__, "--work", name, "--data", str(options.data), "--home", str(options.home)]
    found: dict[int, list[tuple[float, float]]] = {busy: [] for busy in options.busy}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as worker:
        assert worker.stdout is not None
        lines = iter(worker.stdout.readline, "")
        try:
            next(lines)  # what is built once is paid for by the first of them
            for _ in range(options.rounds):
                for busy in options.busy:
                    with others(busy, options.seconds * 10):
                        found[busy].append(rates(lines, options.seconds))
        finally:
            worker.terminate()
    return found


def rates(lines: Iterator[str], seconds: float) -> tuple[float, float]:
    """From the first report that begins in this phase to the first after `seconds`."""
    next(lines)
    begun, _, cpu = map(float, next(lines).split())
    now, units, done, spent = begun, 0.0, 0.0, cpu
    while now < begun + seconds:
        now, units, spent = map(float, next(lines).split())
        done += units
    return done / (now - begun), done / (spent - cpu)


@contextlib.contextmanager
def others(count: int, most_s: float) -> Iterator[None]:
    """Busy processes in sessions of their own, as another person's would be."""
    loops = [
        subprocess.Popen([sys.executable, "-S", "-c", LOOP, str(most_s)], start_new_session=True) for _ in range(count)
    ]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def work(options: argparse.Namespace) -> None:
    """Do one kind of work for ever; a line for each piece: the clock, its units, the processor time so far."""

    def report(units: float) -> None:
        me = psutil.Process()
        family = [me, *me.children(recursive=True)]
        spent = sum(sum(process.cpu_times()[:2]) for process in family)
        print(time.monotonic(), units, spent, flush=True)

    WORKERS[options.work](load_examples(options.data / "train.jsonl"), options.home, report)


def train(examples: Sequence[Question], home: Path, report: Report) -> None:
    base = resolve_model(GENERATOR, home=home)
    done = 0

    def progress(now: TrainProgress) -> None:
        nonlocal done
        report(now.num_tokens - done)
        done = now.num_tokens

    with tempfile.TemporaryDirectory() as folder:
        train_adapter(
            base=base,
            rows=closed_book_rows(examples[:400], ANSWER.render),
            recipe=LoraRecipe(epochs=1000, batch_size=8),
            name="sharing",
            adapters_dir=Path(folder) / "adapters",
            work_dir=Path(folder) / "work",
            provenance={},
            progress=progress,
            checkpoint_every_s=1e9,
        )


def embed(examples: Sequence[Question], home: Path, report: Report) -> None:
    embedder = SentenceTransformerEmbedder(resolve_model(EMBEDDER, home=home).path, name=EMBEDDER)
    texts = [" ".join(example.text for example in examples[i : i + 8]) for i in range(PASSAGES)]
    while True:
        embedder.embed(texts)
        report(len(texts))


def generate(examples: Sequence[Question], home: Path, report: Report) -> None:
    base = resolve_model(GENERATOR, home=home)
    with tempfile.TemporaryDirectory() as folder:
        settings = VllmSettings(model_path=base.path, served_name=base.name, log_path=Path(folder) / "engine.log")
        with VllmServer(settings) as engine:
            number = 0
            while True:
                questions = [examples[(number + i) % len(examples)].text for i in range(REQUESTS)]
                number += REQUESTS
                report(asyncio.run(ask(engine.url, base.name, [f"{number} {question}" for question in questions])))


async def ask(url: str, model: str, prompts: Sequence[str]) -> int:
    """Send the prompts at once; gives the number of generated tokens."""
    async with httpx.AsyncClient(trust_env=False, timeout=600) as client:
        bodies = [
            {"model": model, "prompt": prompt, "max_tokens": NEW_TOKENS, "ignore_eos": True, "temperature": 0}
            for prompt in prompts
        ]
        replies = await asyncio.gather(*(client.post(f"{url}/completions", json=body) for body in bodies))
    return sum(int(reply.json()["usage"]["completion_tokens"]) for reply in replies)


WORKERS = {"training": train, "embedding": embed, "engine": generate}

if __name__ == "__main__":
    main()
