"""What each objective makes of real preferences: held-out pairs ranked right, and by how much, before and after.

    python benchmarks/preferences.py --data FOLDER [--sets prefs_rag] [--objectives dpo simpo] [--rows 100]

FOLDER holds the data sets' folders, each with pairs in train.jsonl and test.jsonl. A LoRA of the embedded model is
trained by each objective with its own numbers on the training pairs, and ranks the test pairs that ask none of them;
what was trained before is found. A pair is right where a token of the chosen answer is the likelier, and the margin is
by how much, in nats; intervals are at 95%, over prompts.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arbiter.models import GENERATOR, resolve_model
from eval.report.wording import as_duration, preference_words
from router.answering.prompts import ANSWER
from storage.folders import read_manifest
from tuning.base import ResolvedModel
from tuning.data.feedback import prompt_key, rated_of
from tuning.data.pairs import PreferencePair, load_pairs
from tuning.data.rows import PairRow, RatedRow, Row
from tuning.methods.lora import LoraRecipe
from tuning.objectives.registry import OBJECTIVES
from tuning.recipe import CheckRows
from tuning.training.progress import TrainProgress
from tuning.training.run import train_adapter

SETS = ("prefs_pandalm", "prefs_rag")
PREFERENCES = tuple(name for name, one in OBJECTIVES.items() if one.rewards is not None and one.gives_answers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets' folders")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--objectives", nargs="+", choices=PREFERENCES, default=list(PREFERENCES))
    parser.add_argument("--rows", type=int, help="the first so many pairs of each file; all by default")
    parser.add_argument("--max-length", type=int, default=1024, help="tokens; longer pairs are left out")
    parser.add_argument("--epochs", type=float, help="passes; those of an open recipe by default")
    parser.add_argument("--model", default=GENERATOR)
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("ARBITER_HOME", ".arbiter")))
    options = parser.parse_args()
    base = resolve_model(options.model, home=options.home.resolve())
    head = ("set", "objective", "rows", "pairs", "right before", "right", "margin before", "margin", "gained", "time")
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")
    for name in options.sets:
        train, test = (load_pairs(options.data / name / f"{part}.jsonl")[: options.rows] for part in ("train", "test"))
        learned = {prompt_key(pair.prompt) for pair in train}
        held_out = [pair for pair in test if prompt_key(pair.prompt) not in learned]
        for objective in options.objectives:
            told = measure(base, train, held_out, objective, f"{name}-{objective}".replace("_", "-"), options)
            rows = f"{told['num_rows']:,} (of {told['num_rows'] + told['num_dropped']:,})"
            cells = (name, objective, rows, *preference_words(told["preference"]), as_duration(told["training_s"]))
            print(f"| {' | '.join(cells)} |", flush=True)


def measure(
    base: ResolvedModel,
    train: Sequence[PreferencePair],
    held_out: Sequence[PreferencePair],
    objective: str,
    name: str,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """The manifest of one training."""
    home = options.home.resolve()
    numbers = {"epochs": options.epochs, "max_length": options.max_length}
    adapter = train_adapter(
        base=base,
        rows=rows_of(train, objective),
        recipe=LoraRecipe(objective=OBJECTIVES[objective].settings(), **numbers),
        name=name,
        adapters_dir=home / "adapters",
        work_dir=home / "training",
        provenance={"data": str(options.data)},
        held_out=CheckRows([pair_row(pair) for pair in held_out]),
        progress=lambda now: say(name, now.step, now.num_steps, now),
        reading=lambda done, total: say(name, done, total),
    )
    return read_manifest(adapter.path)


def rows_of(pairs: Sequence[PreferencePair], objective: str) -> list[Row]:
    """Pairs, or both answers of each alone, as the objective learns them."""
    if OBJECTIVES[objective].row is PairRow:
        return [pair_row(pair) for pair in pairs]
    return [RatedRow(tuple(ANSWER.render(one.prompt, ())), one.answer, one.is_wanted) for one in rated_of(pairs)]


def pair_row(pair: PreferencePair) -> PairRow:
    """As an arm without passages is asked."""
    return PairRow(tuple(ANSWER.render(pair.prompt, ())), pair.chosen, pair.rejected)


def say(name: str, done: int, total: int, now: TrainProgress | None = None) -> None:
    """One line that is written over."""
    shown = f"step, loss {now.loss:.3f}, {now.tokens_per_s:.0f} tokens/s" if now is not None else "texts read"
    sys.stderr.write(f"\r{name}: {done}/{total} {shown}   {chr(10) if done == total else ''}")


if __name__ == "__main__":
    main()
