"""From the last step of a training to the first answer of its adapter: `python benchmarks/first_answer.py`.

An engine serves the base model all the time, as beside a training on one machine. Each method's adapter is trained on
a few rows, published after its gate, loaded, and asked for one token; what is served whole has an engine started for
it. Prints seconds, each the median of `--rounds`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import get_args

from arbiter.console import Console
from arbiter.models import GENERATOR, resolve_model
from router.answering.engine import EngineRequest, HttpEngine
from serving.engine.engine import OpenEngine, open_engine
from serving.engine.settings import EngineSettings
from tuning.base import ResolvedModel
from tuning.data.rows import TrainingRow
from tuning.methods.registry import METHODS
from tuning.recipe import Form
from tuning.training.progress import TrainProgress
from tuning.training.run import train_adapter

ROWS = [TrainingRow(({"role": "user", "content": f"What is {n} and {n}?"},), f"It is {2 * n}.") for n in range(16)]
COLUMNS = ("published", "loaded", "answered", "in all")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=["lora", "pissa", "prompt", "half"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("ARBITER_HOME", ".arbiter")))
    options = parser.parse_args()
    base = resolve_model(GENERATOR, home=options.home)
    print(f"load before: {os.getloadavg()[0]:.1f}\n")
    print(f"| method | served as | {' | '.join(f'{column} s' for column in COLUMNS)} |")
    print("|---" * (len(COLUMNS) + 2) + "|", flush=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        open_engine(
            EngineSettings(max_lora_rank=64),
            base,
            {},
            log_path=Path(folder) / "engine.log",
            max_num_seqs=16,
            forms=get_args(Form),
            own_engines=0,
            step=Console().step,
        ) as engine,
    ):
        for method in options.methods:
            found = [measure(method, base, engine, Path(folder), seed) for seed in range(options.rounds)]
            medians = [statistics.median(column) for column in zip(*found, strict=True)]
            shown = " | ".join(f"{seconds:.1f}" for seconds in medians)
            print(f"| {method} | {METHODS[method].form} | {shown} |", flush=True)


def measure(method: str, base: ResolvedModel, engine: OpenEngine, folder: Path, seed: int) -> tuple[float, ...]:
    """The columns' seconds, from one training."""
    last_step = 0.0

    def note(progress: TrainProgress) -> None:
        nonlocal last_step
        if progress.step == progress.num_steps:
            last_step = time.monotonic()

    adapter = train_adapter(
        base=base,
        rows=ROWS,
        recipe=METHODS[method].recipe(epochs=1, seed=seed),
        name=method,
        adapters_dir=folder / "adapters",
        work_dir=folder / "training",
        provenance={},
        progress=note,
    )
    published = time.monotonic()
    engine.load(adapter)
    loaded = time.monotonic()
    asked = EngineRequest(adapter.name, ROWS[0].prompt, {"max_tokens": 1, "temperature": 0})
    asyncio.run(HttpEngine(engine.url, timeout_s=600, hold=engine.hold).complete(asked))
    answered = time.monotonic()
    engine.unload(adapter)
    return published - last_step, loaded - published, answered - loaded, answered - last_step


if __name__ == "__main__":
    main()
