"""What a training's numbers are worth: scores by rows and passes, with intervals, on sets nobody here wrote.

    python benchmarks/training_numbers.py train --data FOLDER --out SCORES.jsonl [--rows 40 75] [--passes 3 8]
    python benchmarks/training_numbers.py table SCORES.jsonl
    python benchmarks/training_numbers.py curve SCORES.jsonl

FOLDER holds the data sets' folders. `train` makes a closed-book LoRA of so many rows, each sample part of the next, and
scores its greedy answers to test questions by the set's metric; without `--passes` as many as a recipe makes that
leaves them open. What the file has already is not done again; `--part 1/2` does every second training, for two
processes of one thread each. `table` shows 3 passes beside those of an open recipe, `curve` how far off the forecasts
from three sizes were at larger ones.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from arbiter import build
from arbiter.config.loading import load_config
from arbiter.curve import nested
from arbiter.pipeline import Pipeline
from eval.learning_curve import fit_curve
from router.deciding.statistics import mean_interval, paired_difference
from tuning.automatic import settled
from tuning.methods.lora import LoraRecipe
from tuning.recipe import known

METRICS = {
    "banking20": "label_accuracy",
    "restaurant8k": "json_f1",
    "pubmedqa": "label_accuracy",
    "popqa": "contains",
    "squad": "token_f1",
}
ALWAYS = 3.0  # what every number of rows had before
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train")
    train.add_argument("--data", type=Path, required=True, help="folder of the data sets' folders")
    train.add_argument("--out", type=Path, required=True, help="JSON lines, one a training")
    train.add_argument("--sets", nargs="+", choices=list(METRICS), default=list(METRICS))
    train.add_argument("--rows", type=int, nargs="+", default=[40, 75, 150, 300])
    train.add_argument("--passes", type=float, nargs="+", help="epochs; those of an open recipe by default")
    train.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the samples and the trainings")
    train.add_argument("--questions", type=int, default=150)
    train.add_argument("--part", default="1/1")
    train.add_argument("--home", type=Path, default=Path(os.environ.get("ARBITER_HOME", ".arbiter")))
    for name in ("table", "curve"):
        commands.add_parser(name).add_argument("scores", type=Path)
    given = parser.parse_args()
    if given.command == "train":
        train_all(given)
    else:
        rows = read(given.scores)
        print("\n".join(table(rows) if given.command == "table" else curve(rows)))


def read(path: Path) -> list[Row]:
    """The lines that are there."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def key(row: Row) -> tuple[str, int, float, int]:
    return row["set"], row["rows"], float(row["passes"]), row["seed"]


def left_open(num_rows: int) -> float:
    """The passes that a recipe makes which says nothing of them."""
    return known(settled(LoraRecipe(), num_rows).epochs)


def train_all(given: argparse.Namespace) -> None:
    place, parts = map(int, given.part.split("/"))
    sizes = [(num_rows, passes) for num_rows in given.rows for passes in given.passes or [left_open(num_rows)]]
    wanted = list(itertools.product(sizes, given.seeds, given.sets))
    for (num_rows, passes), seed, name in wanted[place - 1 :: parts]:
        if (name, num_rows, passes, seed) in set(map(key, read(given.out))):
            continue
        row = measure(given.data / name, name, num_rows, passes, seed, given.questions, given.home.resolve())
        with given.out.open("a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")
        print({name: value for name, value in row.items() if name not in ("scores", "clusters")}, flush=True)


def measure(folder: Path, name: str, num_rows: int, passes: float, seed: int, questions: int, home: Path) -> Row:
    """One training, and the score of each of its answers."""
    from tuning.training.run import train_adapter

    overrides = {
        "data": str(folder),
        "policy.metric": METRICS[name],
        "limits.questions": str(questions),
        "limits.repeats": "drop",
        "limits.contradictions": "drop",
        "seed": str(seed),
        **{f"arms.{arm}": "null" for arm in ("fewshot", "rag", "tuned_rag", "hybrid")},
        "adapters.raft": "null",
        "adapters.closed_book.epochs": str(passes),
    }
    pipeline = Pipeline(load_config(None, [f"{name}={value}" for name, value in overrides.items()]), home=home)
    config, data = pipeline.config, pipeline.data
    sample = nested(data.examples, [num_rows], seed)[0]
    began = time.monotonic()
    adapter = train_adapter(
        base=pipeline.base,
        rows=build.training_rows(config, "closed_book", sample, None),
        recipe=config.adapters["closed_book"],
        name="closed-book",
        adapters_dir=home / "adapters",
        work_dir=home / "training",
        provenance={},
    )
    trained_s = time.monotonic() - began
    asked = build.check_rows(config, "closed_book", data.questions, None)
    answers = answer(pipeline.base.path, adapter.path, asked)
    return {
        "set": name,
        "rows": num_rows,
        "passes": passes,
        "seed": seed,
        "metric": METRICS[name],
        "training_s": round(adapter.training_s or trained_s, 1),
        "loss": adapter.final_loss,
        "scores": pipeline.scoring.score_texts(data.questions, answers),
        "clusters": [question.cluster for question in data.questions],
    }


def answer(base: str, adapter: Path, rows: Sequence[Any]) -> list[str]:
    """Greedy answers of an adapter to the prompts of rows."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tuning.objectives.supervised import SUPERVISED
    from tuning.training.measuring import generate

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), str(adapter))
    tokenizer = AutoTokenizer.from_pretrained(base)
    encoded = [SUPERVISED.encode(tokenizer, row) for row in rows]
    with torch.no_grad():
        return generate(model.merge_and_unload().eval(), encoded, tokenizer)


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Scores of every size with 3 passes and with those of an open recipe, and the difference on the same questions."""
    found = {key(row): row for row in rows}
    yield "| set | metric | rows | passes | score | open | score | gain |"
    yield "|---" * 8 + "|"
    for name, num_rows, seed in sorted({(row["set"], row["rows"], row["seed"]) for row in rows}):
        before = found.get((name, num_rows, ALWAYS, seed))
        after = found.get((name, num_rows, left_open(num_rows), seed))
        if before is None or after is None or before is after:
            continue
        gain = paired_difference(after["scores"], before["scores"], after["clusters"], margin=0.05)
        cells = [name, before["metric"], f"{num_rows}", f"{ALWAYS:g}", _score(before), f"{left_open(num_rows):g}"]
        yield f"| {' | '.join(cells)} | {_score(after)} | {gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}) |"


def _score(row: Row) -> str:
    found = mean_interval(row["scores"], row["clusters"])
    return f"{found.mean:.2f} ({found.low:.2f} to {found.high:.2f}), {row['training_s']:.0f} s"


def curve(rows: Sequence[Row]) -> Iterator[str]:
    """What three sizes say of each larger one of a set and seed, and how far that was off."""
    yield "| set | seed | from | of | forecast | 90% interval | was | within | bend |"
    yield "|---" * 9 + "|"
    held, bends = list[bool](), list[float]()
    opened = [row for row in rows if float(row["passes"]) == left_open(row["rows"])]
    for name, seed in sorted({(row["set"], row["seed"]) for row in opened}):
        by_size = {row["rows"]: row for row in opened if (row["set"], row["seed"]) == (name, seed)}
        sizes = sorted(by_size)
        for end in range(3, len(sizes)):
            some = sizes[end - 3 : end]
            clusters = by_size[some[0]]["clusters"]
            found = fit_curve(some, [by_size[size]["scores"] for size in some], clusters, seed=seed)
            for size in sizes[end:]:
                forecast, was = found.forecast(size), mean_interval(by_size[size]["scores"], clusters)
                held.append(forecast.low <= was.mean <= forecast.high)
                bends.append(
                    (_log_odds(was.mean, len(clusters)) - _log_odds(forecast.mean)) / math.log2(size / some[-1])
                )
                yield (
                    f"| {name} | {seed} | {', '.join(map(str, some))} | {size} | {forecast.mean:.2f} | "
                    f"{forecast.low:.2f} to {forecast.high:.2f} | {was.mean:.2f} | {'yes' if held[-1] else 'no'} | "
                    f"{bends[-1]:+.2f} |"
                )
    yield ""
    size = math.sqrt(statistics.fmean(bend**2 for bend in bends)) if bends else math.nan
    yield f"within its interval: {sum(held)} of {len(held)}; bend of a doubling: {size:.2f} (root of the mean square)"


def _log_odds(share: float, questions: int = 0) -> float:
    """Of a share, or with half a right and half a wrong answer more of so many questions."""
    share = (share * questions + 0.5) / (questions + 1) if questions else share
    return math.log(share / (1 - share))


if __name__ == "__main__":
    main()
