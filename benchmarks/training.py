"""How fast is a training, beside a plain script of TRL's SFTTrainer? `python benchmarks/training.py --data FOLDER`

FOLDER has train.jsonl, and docs.jsonl for `--kind passages`. Each contender is a process of its own that trains the
same LoRA (rank 16 on all linear layers) on the same rows in batches of 8, turn by turn, so that whatever else runs
falls on all of them. Tokens (prompts and completions, padding aside) per second count from the second step to the last.

trl            SFTTrainer as it is: SFTConfig without a word of precision, checkpointing or batching
trl, float32   the same told `bf16=False, gradient_checkpointing=False`, where bfloat16 is slow
unshared       this project, every row worked on whole
ours           this project as it ships
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from arbiter.models import GENERATOR, resolve_model
from router.answering.prompts import ANSWER
from storage.folders import read_manifest
from tuning.base import ResolvedModel
from tuning.data.examples import load_examples
from tuning.data.rows import TrainingRow
from tuning.methods.lora import LoraRecipe
from tuning.objectives.supervised import SUPERVISED
from tuning.training.progress import TrainProgress
from tuning.training.run import train_adapter

RATE, ROWS, RANK, ALPHA = 1e-3, 8, 16, 32
CONTENDERS = ("trl", "trl, float32", "unshared", "ours")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kind", choices=("questions", "passages"), default="questions", help="what a prompt holds")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--model", default=GENERATOR)
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("ARBITER_HOME", ".arbiter")))
    parser.add_argument("--work", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        print(json.dumps(work(options)))
        return
    resolve_model(options.model, home=options.home)  # before the clocks
    print(f"load before: {os.getloadavg()[0]:.1f}\n")
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in options.only}
    for _ in range(options.rounds):
        for name in options.only:
            command = [sys.executable, *sys.argv, "--work", name]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    first = found[options.only[0]]
    print(f"| contender | tokens/s | over {options.only[0]} | loss of the last four steps | precision |")
    print("|---|---|---|---|---|")
    for name, runs in found.items():
        speed = statistics.median(run["tokens_per_s"] for run in runs)
        # Round by round, as neighbours in time.
        ratios = [run["tokens_per_s"] / other["tokens_per_s"] for run, other in zip(runs, first, strict=True)]
        loss = statistics.fmean(runs[-1]["losses"][-4:])
        print(f"| {name} | {speed:.0f} | {statistics.median(ratios):.2f} | {loss:.3f} | {runs[-1]['precision']} |")
    print(f"\n{options.rows} rows of {first[0]['mean_tokens']:.0f} tokens, {options.rounds} rounds")


def work(options: argparse.Namespace) -> dict[str, Any]:
    """One contender's training in this process."""
    base = resolve_model(options.model, home=options.home)
    rows = rows_of(options)
    with tempfile.TemporaryDirectory() as folder:
        if options.work.startswith("trl"):
            return train_plainly(base, rows, Path(folder), is_told=options.work != "trl")
        return train_here(base, rows, Path(folder), shares=options.work == "ours")


def rows_of(options: argparse.Namespace) -> list[TrainingRow]:
    """Questions as an adapter is asked them; with the passage that holds the answer, as an arm that retrieves is."""
    examples = load_examples(options.data / "train.jsonl")[: options.rows]
    if options.kind == "questions":
        return [TrainingRow(tuple(ANSWER.ask(example.text, ())), example.answer) for example in examples]
    lines = (options.data / "docs.jsonl").read_text(encoding="utf-8").splitlines()
    texts = {row["id"]: row["text"] for row in map(json.loads, lines)}
    prompts = [f"{texts[example.document_ids[0]]}\n\n{example.text}" for example in examples]
    return [
        TrainingRow(tuple(ANSWER.ask(prompt, ())), example.answer)
        for prompt, example in zip(prompts, examples, strict=True)
    ]


def train_plainly(base: ResolvedModel, rows: Sequence[TrainingRow], folder: Path, *, is_told: bool) -> dict[str, Any]:
    """The script that TRL's documentation begins with."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    stamps: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]  # the library has no types
        def on_step_end(self, *_: Any, **__: Any) -> None:
            stamps.append(time.perf_counter())

    # Without a GPU the defaults are refused unless the CPU is asked for.
    told: dict[str, bool] = {} if torch.cuda.is_available() else {"use_cpu": True}
    if is_told:
        told |= {"bf16": False, "gradient_checkpointing": False}
    dataset = Dataset.from_list(
        [{"prompt": list(row.prompt), "completion": [{"role": "assistant", "content": row.completion}]} for row in rows]
    )
    config = SFTConfig(
        str(folder),
        per_device_train_batch_size=ROWS,
        num_train_epochs=1,
        learning_rate=RATE,
        logging_steps=1,
        report_to="none",
        **told,
    )
    lora = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = SFTTrainer(base.path, args=config, train_dataset=dataset, peft_config=lora, callbacks=[Clock()])
    trainer.train()
    lengths = [len(row["input_ids"]) for row in trainer.train_dataset]
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    precision = "float32" if is_told else f"bf16={config.bf16}"
    return summary(lengths, stamps, losses, precision)


def train_here(base: ResolvedModel, rows: Sequence[TrainingRow], folder: Path, *, shares: bool) -> dict[str, Any]:
    """The project's own training of the same."""
    stamps: list[float] = []
    tokens: list[int] = []

    def note(progress: TrainProgress) -> None:
        stamps.append(time.perf_counter())
        tokens.append(progress.num_tokens)

    adapter = train_adapter(
        base=base,
        rows=rows,
        recipe=LoraRecipe(rank=RANK, alpha=ALPHA, learning_rate=RATE, epochs=1, batch_size=ROWS, warmup_fraction=0.0),
        objective=SUPERVISED if shares else replace(SUPERVISED, shared_loss=None),
        name="speed",
        adapters_dir=folder / "adapters",
        work_dir=folder / "training",
        provenance={},
        progress=note,
        checkpoint_every_s=1e9,
    )
    manifest = read_manifest(adapter.path)
    speed = (tokens[-1] - tokens[0]) / (stamps[-1] - stamps[0])
    return {
        "tokens_per_s": speed,
        "losses": manifest["loss_curve"],
        "precision": manifest["precision"],
        "mean_tokens": manifest["num_tokens"] / manifest["num_rows"],
    }


def summary(lengths: Sequence[int], stamps: Sequence[float], losses: Sequence[float], precision: str) -> dict[str, Any]:
    """Of rows in an order of the library's own: each step is taken to be a mean one."""
    per_step = sum(lengths) / len(stamps)
    return {
        "tokens_per_s": per_step * (len(stamps) - 1) / (stamps[-1] - stamps[0]),
        "losses": list(losses),
        "precision": precision,
        "mean_tokens": statistics.fmean(lengths),
    }


if __name__ == "__main__":
    main()
